"""Questions about the rows of one table together: sums and averages, groups, what is above the average."""

from xpm_build.domains.everyday.asking import Asker, Unfit, where
from xpm_build.domains.everyday.conditions import AFTER, quoted
from xpm_build.domains.everyday.schema import Column, Table
from xpm_build.domains.everyday.sql_plain import DOERS, Question, chosen_columns, names_of, spoken_count, superlatives
from xpm_build.domains.everyday.worlds import plural
from xpm_build.domains.speech import ENGLISH


def aggregated(asker: Asker, table: Table, qualifier: str = "") -> tuple[str, str] | None:
    """An aggregate as (what is said, SQL); None if the table has nothing to aggregate."""
    options = [("avg", each) for each in asker.measurable(table)] + [("sum", each) for each in asker.addable(table)]
    options += [(kind, each) for each in asker.measurable(table) for kind in ("max", "min")]
    if asker.speaker.language == ENGLISH:
        options += [(kind, each) for each in table.of("date") for kind in ("max_date", "min_date")]
    if not options:
        return None
    weights = [{"avg": 4, "sum": 5, "max": 2, "min": 1.5}.get(kind, 0.6) for kind, _ in options]
    kind, column = asker.rng.choices(options, weights=weights)[0]
    mention = asker.mention(table, column)
    if asker.speaker.language == ENGLISH and mention != column.name and asker.rng.random() < 0.1:
        mention = f"{table.entity.one} {mention}"
    said = asker.speaker.say(kind, col=mention)
    return said, f"{kind[:3].upper()}({qualifier}{column.name})"


def aggregate(asker: Asker) -> Question:
    table = asker.table("number")
    found = aggregated(asker, table)
    if found is None:
        raise Unfit
    said, sql = found
    name = sql[4:-1]
    owners = [each for each in asker.schema.tables.values() if any(column.name == name for column in each.columns)]
    if len(owners) == 1 and asker.speaker.language == ENGLISH and asker.rng.random() < 0.3:
        return asker.speaker.say("aggregate_bare", agg=said), f"SELECT {sql} FROM {table.name}"
    conditions = asker.some_conditions(table, (0.5, 0.12))
    request = asker.speaker.say("aggregate", agg=said, np=asker.np(table, conditions))
    return request, f"SELECT {sql} FROM {table.name}{where(conditions)}"


def worth(asker: Asker) -> Question:
    """The sum of a product of two columns: the value of the stock, what was taken."""
    found = [
        (table, first, second, words)
        for table in asker.schema.tables.values()
        for first in table.of("number")
        for second in table.of("number")
        for (one, other), words in _PRODUCTS.items()
        if (first.meaning.name, second.meaning.name) == (one, other)
    ]
    if not found:
        raise Unfit
    table, first, second, words = asker.rng.choice(found)
    asker.show(table)
    conditions = asker.some_conditions(table, (0.35, 0.0))
    conditions = [each for each in conditions if each.column not in (first, second)]
    request = asker.speaker.say("product", worth=asker.rng.choice(words), np=asker.np(table, conditions))
    return request, f"SELECT SUM({first.name} * {second.name}) FROM {table.name}{where(conditions)}"


_PRODUCTS = {
    ("price", "stock"): ("value of the stock", "stock value", "inventory value", "price times stock"),
    ("quantity", "price"): ("revenue", "turnover", "price times quantity", "sales value"),
    ("count", "price"): ("value", "price times number", "traded value"),
    ("price", "seats"): ("price times seats", "revenue if every seat is sold"),
    ("price", "tickets"): ("ticket revenue", "takings", "price times tickets sold"),
    ("wage", "hours_sum"): ("wages", "labor cost"),
    ("minutes", "servings"): ("minutes times servings",),
    ("price", "mileage"): ("price times mileage",),
    ("hours", "price"): ("hours times price", "price by hours"),
    ("fee", "spaces"): ("hourly takings when full", "fee times spaces"),
    ("beds", "price"): ("price times beds",),
}


def _grouped_table(asker: Asker, *, with_number: bool = False) -> Table | None:
    fitting = [
        each
        for each in asker.schema.tables.values()
        if asker.groupable(each) and (not with_number or asker.measurable(each))
    ]
    return asker.show(asker.rng.choice(fitting)) if fitting else None


def _sorted_groups(asker: Asker, sql: str) -> tuple[str, str]:
    """Perhaps an order by what was counted: (what is said, ORDER BY)."""
    if asker.speaker.language != ENGLISH or asker.rng.random() > 0.28:
        return "", ""
    kind = asker.rng.choice(("most_first", "most_first", "least_first"))
    return asker.speaker.say(kind), f" ORDER BY {sql}{' DESC' if kind == 'most_first' else ''}"


def group_count(asker: Asker) -> Question:
    table = _grouped_table(asker)
    if table is None:
        raise Unfit
    column = asker.any(asker.groupable(table))
    conditions = [each for each in asker.some_conditions(table, (0.25, 0.0)) if each.column != column]
    said, order = _sorted_groups(asker, "COUNT(*)")
    if said and asker.rng.random() < 0.12:
        is_down = asker.rng.random() < 0.4
        said = asker.speaker.say("desc" if is_down else "asc", col=asker.mention(table, column))
        order = f" ORDER BY {column.name}{' DESC' if is_down else ''}"
    request = asker.speaker.say("group_count", np=asker.np(table, conditions), col=asker.mention(table, column)) + said
    grouped = f"{where(conditions)} GROUP BY {column.name}"
    return request, f"SELECT {column.name}, COUNT(*) FROM {table.name}{grouped}{order}"


def group_aggregate(asker: Asker) -> Question:
    table = _grouped_table(asker, with_number=True)
    if table is None:
        raise Unfit
    column = asker.any(asker.groupable(table))
    for _ in range(6):
        found = aggregated(asker, table)
        if found is not None and f"({column.name})" not in found[1]:
            break
    else:
        raise Unfit
    text, sql = found
    conditions = [each for each in asker.some_conditions(table, (0.25, 0.0)) if each.column != column]
    said, order = _sorted_groups(asker, sql)
    noun = asker.np(table, conditions)
    request = asker.speaker.say("group_agg", agg=text, np=noun, col=asker.mention(table, column))
    having = ""
    if not said and asker.speaker.language == ENGLISH and asker.rng.random() < 0.15:
        cmp, comparison = compared_count(asker, most=2 if conditions else 8)
        cols = asker.mentions(table, [column], many=True)
        request = asker.speaker.say("having_group", group=request, cols=cols, cmp=cmp, nouns=asker.nouns(table))
        having = f" HAVING COUNT(*) {comparison}"
    return (
        request + said,
        f"SELECT {column.name}, {sql} FROM {table.name}{where(conditions)} GROUP BY {column.name}{having}{order}",
    )


def measured(asker: Asker) -> Question:
    """Average humidity per room, where a table holds several kinds of values."""
    found = [
        (table, kind, value)
        for table in asker.schema.tables.values()
        for kind in table.of("text")
        for value in table.of("number")
        if (kind.meaning.name, value.meaning.name) == ("quantity_kind", "value")
    ]
    if not found:
        raise Unfit
    table, kind, value = asker.rng.choice(found)
    asker.show(table)
    name = asker.conditions.text(kind)
    asker.literals.append(name)
    function = asker.rng.choice(("avg", "avg", "max", "min"))
    agg = asker.speaker.say(function, col=name)
    if asker.rng.random() < 0.25:
        agg += f" ({kind.name} = {name})"
    tests = [f"{kind.name} = {quoted(name)}"]
    groups = [each for each in asker.groupable(table) if each != kind]
    sql = f"{function.upper()}({value.name})"
    if groups and asker.rng.random() < 0.5:
        group = asker.any(groups)
        request = f"{agg} {asker.rng.choice(('per', 'by', 'for each', 'in each'))} {asker.mention(table, group)}"
        return request, f"SELECT {group.name}, {sql} FROM {table.name} WHERE {tests[0]} GROUP BY {group.name}"
    others = [each for each in asker.some_conditions(table, (0.6, 0.0)) if each.column not in (kind, value)]
    others = [each for each in others if each.place == AFTER]
    for each in others:
        asker.literals += each.values
    request = " ".join([asker.speaker.say("aggregate_bare", agg=agg), *(each.text for each in others)])
    tests += [each.sql() for each in others]
    return request, f"SELECT {sql} FROM {table.name} WHERE {' AND '.join(tests)}"


def group_top(asker: Asker) -> Question:
    """The most common city; the genres, highest average rating first; rooms without a sensor of some kind."""
    table = _grouped_table(asker)
    texts = [each for each in asker.groupable(table) if each.kind == "text"] if table is not None else []
    if table is None or not texts:
        raise Unfit
    column = asker.any(texts)
    said, draw = asker.mention(table, column), asker.rng.random()
    words = {"col": said, "cols": many_of(said)}
    conditions = [each for each in asker.some_conditions(table, (0.25, 0.0)) if each.column != column]
    if draw < 0.2 and conditions and all(each.form not in ("null", "not_null") for each in conditions):
        request = asker.speaker.say("group_without", np=asker.np(table, conditions), **words)
        tests = " AND ".join([*(each.sql() for each in conditions), f"{column.name} IS NOT NULL"])
        inner = f"SELECT {column.name} FROM {table.name} WHERE {tests}"
        return request, f"SELECT DISTINCT {column.name} FROM {table.name} WHERE {column.name} NOT IN ({inner})"
    words["np"] = asker.np(table, conditions)
    sql, kind, is_ranked = "COUNT(*)", "", draw > 0.75
    numbers = asker.measurable(table)
    if numbers and asker.rng.random() < 0.45:
        number = asker.any(numbers)
        function = asker.rng.choice(("avg", "sum", "sum") if number.meaning.adds else ("avg",))
        sql, kind = f"{function.upper()}({number.name})", "_agg"
        words["agg"] = asker.speaker.say(function, col=asker.mention(table, number))
    request = asker.speaker.say(f"{'group_ranked' if is_ranked else 'group_top'}{kind}", **words)
    grouped = f"{where(conditions)} GROUP BY {column.name} ORDER BY {sql} DESC{'' if is_ranked else ' LIMIT 1'}"
    return request, f"SELECT {column.name} FROM {table.name}{grouped}"


def compared_count(asker: Asker, most: int = 10) -> tuple[str, str]:
    """(what is said, comparison) of a number of rows: ("at least 3", ">= 3")."""
    number = asker.rng.randint(1, most)
    kind, operator = asker.rng.choices(
        (("more_than", ">"), ("at_least", ">="), ("fewer_than", "<")), weights=(5, 3, 1)
    )[0]
    if kind != "more_than":
        number += 1
    if kind == "more_than" and number == 1 and asker.rng.random() < 0.5:
        return "more than one", "> 1"
    asker.literals.append(number)
    return asker.speaker.say(kind, n=spoken_count(asker, number)), f"{operator} {number}"


def having(asker: Asker) -> Question:
    table = _grouped_table(asker)
    if table is None:
        raise Unfit
    column = asker.any(asker.groupable(table))
    cols = many_of(asker.mention(table, column))
    measured = [each for each in asker.measurable(table) if each != column]
    if measured and asker.rng.random() < 0.45:
        number = asker.any(measured)
        kind = asker.rng.choice(("avg", "avg", "sum") if number.meaning.adds else ("avg",))
        value = asker.conditions.number(number) * (1 if kind == "avg" else asker.rng.randint(2, 9))
        word, operator = asker.rng.choice((("above", ">"), ("above", ">"), ("below", "<")))
        cmp = asker.speaker.say(word, n=asker.conditions.spoken_number(value))
        asker.literals.append(value)
        agg = asker.speaker.say(kind, col=asker.mention(table, number))
        words = {"cols": cols, "nouns": asker.nouns(table), "col": asker.mention(table, number), "n": str(value)}
        if kind == "sum" and operator == ">" and asker.rng.random() < 0.5:
            request = asker.speaker.say("having_sum", **words)
        else:
            request = asker.speaker.say("having_agg", agg=agg, cmp=cmp, **words)
        condition = f"{kind.upper()}({number.name}) {operator} {value}"
    else:
        cmp, comparison = compared_count(asker)
        is_doer = column.meaning.name in DOERS and asker.rng.random() < 0.5
        kind = "having_who" if is_doer else "having_count"
        request = asker.speaker.say(kind, cols=cols, cmp=cmp, nouns=asker.nouns(table))
        condition = f"COUNT(*) {comparison}"
    return request, f"SELECT {column.name} FROM {table.name} GROUP BY {column.name} HAVING {condition}"


def many_of(said: str) -> str:
    """Several of a column, as it is called."""
    return said if said.endswith("s") or "_" in said else plural(said)


def distinct(asker: Asker) -> Question:
    table = _grouped_table(asker)
    if table is None:
        raise Unfit
    column = asker.any(asker.groupable(table))
    conditions = [each for each in asker.some_conditions(table, (0.3, 0.0)) if each.column != column]
    noun, cols = asker.np(table, conditions), many_of(asker.mention(table, column))
    if asker.rng.random() < 0.45:
        request = asker.speaker.say("count_distinct", cols=cols, np=noun)
        return request, f"SELECT COUNT(DISTINCT {column.name}) FROM {table.name}{where(conditions)}"
    request = asker.speaker.say("distinct", cols=cols, col=asker.mention(table, column), np=noun)
    return request, f"SELECT DISTINCT {column.name} FROM {table.name}{where(conditions)}"


def average(asker: Asker) -> Question:
    """Above the average, below it, the same as a certain one's, the best of each group."""
    table = asker.table("number")
    measured = asker.measurable(table)
    if not measured:
        raise Unfit
    column, noun, draw = asker.any(measured), asker.np(table), asker.rng.random()
    said = asker.mention(table, column)
    if draw < 0.55:
        kind, operator = asker.rng.choice((("above_average", ">"), ("above_average", ">"), ("below_average", "<")))
        request = asker.speaker.say(kind, np=noun, col=said)
        inner = f"SELECT AVG({column.name}) FROM {table.name}"
        return request, f"SELECT * FROM {table.name} WHERE {column.name} {operator} ({inner})"
    groups = [each for each in asker.groupable(table) if each != column]
    if draw < 0.75 and groups:
        return _best_of_each(asker, table, groups)
    naming = table.naming
    if len(naming) == 1 and groups:
        shared, value = asker.any(groups), asker.conditions.text(naming[0])
        asker.literals.append(value)
        request = asker.speaker.say("same_as", np=noun, col=asker.mention(table, shared), v=value)
        inner = f"SELECT {shared.name} FROM {table.name} WHERE {naming[0].name} = {quoted(value)}"
        return request, f"SELECT * FROM {table.name} WHERE {shared.name} IN ({inner})"
    raise Unfit


def _best_of_each(asker: Asker, table: Table, groups: list[Column]) -> Question:
    found = superlatives(asker, table)
    if not found:
        raise Unfit
    word, column, is_greatest = asker.rng.choice(found)
    group = asker.any(groups)
    if group == column:
        raise Unfit
    request = asker.speaker.say("max_per_group", sup=word, one=asker.one(table), col=asker.mention(table, group))
    alias = table.name[0].lower()
    function = "MAX" if is_greatest else "MIN"
    inner = f"SELECT {function}({column.name}) FROM {table.name} WHERE {group.name} = {alias}.{group.name}"
    what = "*"
    if asker.rng.random() < 0.4:
        columns = chosen_columns(asker, table)
        what = names_of(columns)
        request = f"{request}{asker.rng.choice((', ', ': ', ', just ', ' - '))}{asker.mentions(table, columns)}"
    return request, f"SELECT {what} FROM {table.name} {alias} WHERE {column.name} = ({inner})"
