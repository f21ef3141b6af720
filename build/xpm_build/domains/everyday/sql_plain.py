"""Questions about one table: rows, columns, counts, sums, groups, the best and the first, above the average."""

from collections.abc import Callable

from xpm_build.domains.everyday.asking import Asker, Unfit, where
from xpm_build.domains.everyday.conditions import AFTER, Condition, quoted
from xpm_build.domains.everyday.schema import Column, Table
from xpm_build.domains.everyday.worlds import plural
from xpm_build.domains.speech import ENGLISH

Question = tuple[str, str]
"""What is asked, and the SQL without its semicolon."""


def names_of(columns: list[Column], qualifier: str = "") -> str:
    return ", ".join(f"{qualifier}{each.name}" for each in columns)


def rows(asker: Asker, shares: tuple[float, float] = (0.8, 0.12), form: str = "") -> Question:
    table = asker.table()
    conditions = asker.conditions_on(table, 1, form=form) if form else asker.some_conditions(table, shares)
    kind = "who_are" if _is_about_people(asker, table) and asker.rng.random() < 0.08 else "rows"
    request = asker.speaker.say(kind, np=asker.np(table, conditions))
    return request, f"SELECT * FROM {table.name}{where(conditions)}"


def _is_about_people(asker: Asker, table: Table) -> bool:
    return table.entity.is_people and asker.speaker.language == ENGLISH


def two(asker: Asker) -> Question:
    """Rows, columns or a count, with two conditions or three."""
    table = asker.table()
    joiner = "or" if asker.rng.random() < 0.25 else "and"
    conditions = asker.conditions_on(table, 3 if asker.rng.random() < 0.1 else 2)
    noun = asker.np(table, conditions, joiner=joiner)
    clause = where(conditions, joiner=joiner.upper())
    draw = asker.rng.random()
    if draw < 0.6:
        return asker.speaker.say("rows", np=noun), f"SELECT * FROM {table.name}{clause}"
    if draw < 0.8:
        return asker.speaker.say("count", np=noun), f"SELECT COUNT(*) FROM {table.name}{clause}"
    columns = chosen_columns(asker, table)
    request = asker.speaker.say("select", cols=asker.mentions(table, columns, many=True), np=noun)
    return request, f"SELECT {names_of(columns)} FROM {table.name}{clause}"


def chosen_columns(asker: Asker, table: Table, most: int = 3) -> list[Column]:
    """Columns that somebody may want to see, the naming one often among them."""
    count = min(asker.rng.choices((1, 2, 3), weights=(6, 4, 1.5))[0], most)
    columns = [each for each in table.columns if each.kind not in ("key", "reference", "flag")]
    if not columns:
        raise Unfit
    naming = table.naming
    if naming and asker.rng.random() < 0.7:
        others = [each for each in columns if each not in naming]
        return naming[:count] + asker.rng.sample(others, min(max(0, count - len(naming)), len(others)))
    return asker.rng.sample(columns, min(count, len(columns)))


def select(asker: Asker, shares: tuple[float, float] = (0.6, 0.08)) -> Question:
    table = asker.table()
    columns = chosen_columns(asker, table)
    conditions = asker.some_conditions(table, shares)
    cols = asker.mentions(table, columns, many=True)
    request = asker.speaker.say("select", cols=cols, np=asker.np(table, conditions))
    return request, f"SELECT {names_of(columns)} FROM {table.name}{where(conditions)}"


def everyone(asker: Asker) -> Question:
    """ "Everybody born before 1990", "anything under 20": the rows, without a word for them."""
    table = asker.table()
    condition = _plain_one(asker, table, is_one=False)
    if condition is None or (len(asker.schema.tables) > 1 and asker.rng.random() < 0.3):
        raise Unfit
    asker.literals += condition.values
    kind = "everyone" if table.entity.is_people else "whats"
    return asker.speaker.say(kind, post=condition.text), f"SELECT * FROM {table.name}{where([condition])}"


def who(asker: Asker) -> Question:
    people = [each for each in asker.schema.tables.values() if each.entity.is_people and each.naming]
    if not people:
        raise Unfit
    table = asker.show(asker.rng.choice(people))
    condition = _plain_one(asker, table)
    if condition is None:
        raise Unfit
    asker.literals += condition.values
    kind = "everyone_names" if condition.place == AFTER and asker.rng.random() < 0.3 else "who"
    request = asker.speaker.say(kind, post=condition.text, nouns=asker.nouns(table))
    return request, f"SELECT {names_of(table.naming)} FROM {table.name}{where([condition])}"


def _plain_one(asker: Asker, table: Table, *, is_one: bool = True) -> Condition | None:
    """A condition that goes behind "who is", or with ``is_one`` False behind "everyone" alone."""
    for _ in range(8):
        condition = asker.conditions_on(table, 1, one=True)[0]
        first = condition.text.split(" ")[0]
        if condition.place == AFTER and not is_one and first not in ("that", "except"):
            return condition
        if (
            first not in ("who", "with", "that", "whose", "where", "without", "of", "not", "except")
            and not condition.hint
        ):
            return condition
    return None


def named(asker: Asker) -> Question:
    """Asked with the identifiers themselves, so that it needs no schema."""
    table = asker.table()
    columns = chosen_columns(asker, table)
    conditions: list[Condition] = []
    if asker.rng.random() < 0.6:
        column = asker.any(table.of("number", "text", "flag"))
        form = asker.rng.choice(("eq", "gt", "lt", "ge", "ne")) if column.kind == "number" else "eq"
        conditions.append(asker.conditions.draw(table, column, form=form))
    said = ""
    if conditions:
        condition = conditions[0]
        asker.literals += condition.values
        operator, _, value = condition.tail.partition(" ")
        word = asker.rng.choice(_OPERATOR_WORDS.get(operator, ("=",)))
        said = asker.speaker.say("named_where", cond=f"{condition.column.name} {word} {value}")
    draw = asker.rng.random()
    if draw < 0.65:
        cols = asker.rng.choice((", ", ", ", " and ")).join(each.name for each in columns)
        request = asker.speaker.say("named", cols=cols, table=table.name, where=said)
        return request, f"SELECT {names_of(columns)} FROM {table.name}{where(conditions)}"
    kind, what = ("named_all", "*") if draw < 0.85 else ("named_count", "COUNT(*)")
    request = asker.speaker.say(kind, table=table.name, where=said)
    return request, f"SELECT {what} FROM {table.name}{where(conditions)}"


_OPERATOR_WORDS = {
    "=": ("=", "is", "equals", "="),
    "<>": ("is not", "!=", "<>", "is different from"),
    ">": (">", "is greater than", "over", "is more than", "above"),
    "<": ("<", "is less than", "under", "is below"),
    ">=": (">=", "is at least", "at least"),
}


def count(asker: Asker, shares: tuple[float, float] = (0.72, 0.1)) -> Question:
    table = asker.table()
    conditions = asker.some_conditions(table, shares)
    request = asker.speaker.say("count", np=asker.np(table, conditions))
    return request, f"SELECT COUNT(*) FROM {table.name}{where(conditions)}"


def of_form(form: str) -> Callable[[Asker], Question]:
    """A family that is about one form of condition, whatever is asked of the rows."""

    def make(asker: Asker) -> Question:
        table = asker.table(*{"like": ("text",), "between": ("number",), "null": ("text",)}.get(form, ()))
        conditions = asker.conditions_on(table, 1, form=form)
        if conditions[0].form not in _FORMS_OF[form]:
            raise Unfit
        noun = asker.np(table, conditions)
        draw = asker.rng.random()
        if draw < 0.55:
            return asker.speaker.say("rows", np=noun), f"SELECT * FROM {table.name}{where(conditions)}"
        if draw < 0.75:
            return asker.speaker.say("count", np=noun), f"SELECT COUNT(*) FROM {table.name}{where(conditions)}"
        columns = chosen_columns(asker, table)
        if conditions[0].column.kind == "text" and asker.rng.random() < 0.4:
            columns = [conditions[0].column]
        request = asker.speaker.say("select", cols=asker.mentions(table, columns, many=True), np=noun)
        return request, f"SELECT {names_of(columns)} FROM {table.name}{where(conditions)}"

    return make


_FORMS_OF = {
    "like": ("starts", "ends", "contains"),
    "null": ("null", "not_null"),
    "in": ("in",),
    "between": ("between",),
}


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
    said = asker.speaker.say(kind, col=asker.mention(table, column))
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


def group_top(asker: Asker) -> Question:
    """The most common city; the genres, those with the highest average rating first; rooms without a sensor of some kind."""
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
        request = asker.speaker.say("having_agg", cols=cols, agg=agg, cmp=cmp, nouns=asker.nouns(table))
        condition = f"{kind.upper()}({number.name}) {operator} {value}"
    else:
        cmp, comparison = compared_count(asker)
        request = asker.speaker.say("having_count", cols=cols, cmp=cmp, nouns=asker.nouns(table))
        condition = f"COUNT(*) {comparison}"
    return request, f"SELECT {column.name} FROM {table.name} GROUP BY {column.name} HAVING {condition}"


def many_of(said: str) -> str:
    """Several of a column, as it is called."""
    return said if said.endswith("s") or "_" in said else plural(said)


def superlatives(asker: Asker, table: Table) -> list[tuple[str, Column, bool]]:
    """(wording, column, whether it means the greatest) of a table, without those that two columns share."""
    found: list[tuple[str, Column, bool]] = []
    for column in table.of("number", "date"):
        for kind, is_greatest in (("most", True), ("least", False), ("latest", True), ("first", False)):
            found += [(each, column, is_greatest) for each in column.meaning.say(kind)]
    words = [each for each, _, _ in found]
    return [each for each in found if words.count(each[0]) == 1]


def superlative(asker: Asker) -> Question:
    """The cheapest one, the newest one, who earns the most."""
    table = asker.table()
    who_words = [
        (each, column, kind == "who_most")
        for column in table.of("number")
        for kind in ("who_most", "who_least")
        for each in column.meaning.say(kind)
    ]
    if who_words and table.naming and asker.rng.random() < 0.45:
        verb, column, is_greatest = asker.rng.choice(who_words)
        request = asker.speaker.say("who_sup", verb=verb, nouns=asker.nouns(table))
        order = f" ORDER BY {column.name}{' DESC' if is_greatest else ''} LIMIT 1"
        return request, f"SELECT {names_of(table.naming)} FROM {table.name}{order}"
    found = superlatives(asker, table)
    if not found:
        raise Unfit
    word, column, is_greatest = asker.rng.choice(found)
    conditions = [each for each in asker.some_conditions(table, (0.4, 0.04), one=True) if each.column != column]
    order = f"{where(conditions)} ORDER BY {column.name}{' DESC' if is_greatest else ''} LIMIT 1"
    noun = f"{word} {asker.np(table, conditions, one=True)}"
    group = [each for each in table.of("text") if each.meaning.name in _DOERS]
    if group and asker.rng.random() < 0.25:
        column = asker.any(group)
        request = asker.speaker.say("sup_group", col=asker.mention(table, column), sup=noun)
        return request, f"SELECT {column.name} FROM {table.name}{order}"
    if asker.rng.random() < 0.3:
        columns = chosen_columns(asker, table, most=2)
        request = asker.speaker.say("sup_select", cols=asker.mentions(table, columns), sup=noun)
        return request, f"SELECT {names_of(columns)} FROM {table.name}{order}"
    return asker.speaker.say("sup", sup=noun), f"SELECT * FROM {table.name}{order}"


_DOERS = (
    "owner",
    "by",
    "by_person",
    "vendor",
    "assignee",
    "manager_name",
    "maker",
    "author",
    "artist",
    "director",
    "by_first",
)
_NUMBER_WORDS = "zero one two three four five six seven eight nine ten".split()


def spoken_count(asker: Asker, number: int) -> str:
    is_word = number < len(_NUMBER_WORDS) and asker.speaker.language == ENGLISH and asker.rng.random() < 0.4
    return _NUMBER_WORDS[number] if is_word else str(number)


def top(asker: Asker) -> Question:
    """The n cheapest ones, the last n, the n with the highest something."""
    table = asker.table("number")
    number = asker.rng.choice((2, 3, 3, 5, 5, 10, 10, 20, asker.rng.randint(2, 25)))
    spoken = spoken_count(asker, number)
    conditions = asker.some_conditions(table, (0.3, 0.0))
    english = asker.speaker.language == ENGLISH
    found = superlatives(asker, table) if english else []
    if english and asker.rng.random() < 0.08:
        request = asker.speaker.say("limit", n=spoken, np=asker.np(table, conditions))
        return request, f"SELECT * FROM {table.name}{where(conditions)} LIMIT {number}"
    if found and asker.rng.random() < 0.65:
        word, column, is_greatest = asker.rng.choice(found)
        conditions = [each for each in conditions if each.column != column]
        kind = "latest_n" if column.kind == "date" and is_greatest and word == "newest" else "top"
        request = asker.speaker.say(kind, n=spoken, sup=word, latest=word, np=asker.np(table, conditions))
    else:
        measured = asker.measurable(table)
        if not measured:
            raise Unfit
        column, is_greatest = asker.any(measured), not english or asker.rng.random() < 0.7
        conditions = [each for each in conditions if each.column != column]
        kind = "top_by" if is_greatest else "bottom_by"
        request = asker.speaker.say(kind, n=spoken, np=asker.np(table, conditions), col=asker.mention(table, column))
    asker.literals.append(number)
    what = "*"
    if english and asker.rng.random() < 0.2:
        columns = chosen_columns(asker, table, most=2)
        what = names_of(columns)
        request = f"{request}{asker.rng.choice((', just ', ', only ', ': ', ' - '))}{asker.mentions(table, columns)}"
    order = f" ORDER BY {column.name}{' DESC' if is_greatest else ''} LIMIT {number}"
    return request, f"SELECT {what} FROM {table.name}{where(conditions)}{order}"


def order(asker: Asker) -> Question:
    """Rows or columns in an order."""
    draw = asker.rng.random()
    table = asker.table()
    conditions = asker.some_conditions(table, (0.5, 0.0))
    noun = asker.np(table, conditions)
    if draw < 0.5:
        columns = chosen_columns(asker, table)
        request = asker.speaker.say("select", cols=asker.mentions(table, columns, many=True), np=noun)
        what = names_of(columns)
    else:
        columns, what = [], "*"
        request = asker.speaker.say("rows", np=noun)
    said, sql = _ordered(asker, table, columns)
    return request + said, f"SELECT {what} FROM {table.name}{where(conditions)}{sql}"


def _ordered(asker: Asker, table: Table, columns: list[Column]) -> tuple[str, str]:
    english = asker.speaker.language == ENGLISH
    found = superlatives(asker, table) if english else []
    if found and asker.rng.random() < 0.3:
        word, column, is_greatest = asker.rng.choice(found)
        return asker.speaker.say("sup_order", sup=word), f" ORDER BY {column.name}{' DESC' if is_greatest else ''}"
    options = [each for each in columns or table.columns if each.kind in ("number", "text", "date")]
    column = asker.any(options or table.of("number", "text", "date"))
    kind = (
        asker.rng.choice(("asc", "desc")) if column.kind != "text" else asker.rng.choice(("asc", "asc", "asc", "desc"))
    )
    suffix = {"text": "_text", "date": "_date"}.get(column.kind, "") if english else ""
    said = asker.speaker.say(kind + suffix, col=asker.mention(table, column))
    more = ""
    others = [each for each in options if each != column]
    if english and others and asker.rng.random() < 0.1:
        second = asker.any(others)
        said += f"{asker.rng.choice((', then by ', ' and then ', ' then '))}{asker.mention(table, second)}"
        more = f", {second.name}"
    return said, f" ORDER BY {column.name}{' DESC' if kind == 'desc' else ''}{more}"


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
