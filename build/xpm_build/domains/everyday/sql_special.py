"""Questions about one table that need more than conditions: CASE, ranks, running totals, years and months, CTEs."""

from xpm_build.domains.everyday.asking import Asker, Unfit, where
from xpm_build.domains.everyday.schema import Column, Table
from xpm_build.domains.everyday.sql_joins import Pair, pair_of
from xpm_build.domains.everyday.sql_plain import Question, names_of

_LABELS = (
    ("high", "low"),
    ("big", "small"),
    ("expensive", "cheap"),
    ("yes", "no"),
    ("old", "new"),
    ("top", "normal"),
    ("gold", "standard"),
    ("A", "B"),
    ("long", "short"),
    ("good", "bad"),
    ("large", "small"),
    ("ok", "too low"),
)


def _named_table(asker: Asker) -> tuple[Table, Column] | None:
    """A table with one naming column and a number."""
    fitting = [each for each in asker.schema.tables.values() if len(each.naming) == 1 and asker.measurable(each)]
    if not fitting:
        return None
    table = asker.show(asker.rng.choice(fitting))
    return table, table.naming[0]


def case(asker: Asker) -> Question:
    found = _named_table(asker)
    if found is None:
        raise Unfit
    table, naming = found
    column = asker.any(asker.measurable(table))
    value = asker.conditions.number(column)
    asker.literals.append(value)
    words = {
        "nouns": asker.nouns(table),
        "one": asker.one(table),
        "name": asker.mention(table, naming),
        "col": asker.mention(table, column),
        "n": str(value),
    }
    if asker.rng.random() < 0.2:
        test = f"CASE WHEN {column.name} > {value} THEN 1 ELSE 0 END"
        other = f"CASE WHEN {column.name} > {value} THEN 0 ELSE 1 END"
        return asker.speaker.say("case_count", **words), f"SELECT SUM({test}), SUM({other}) FROM {table.name}"
    a, b = asker.rng.choice(_LABELS)
    request = asker.speaker.say("case", a=a, b=b, **words)
    test = f"CASE WHEN {column.name} > {value} THEN '{a}' ELSE '{b}' END"
    return request, f"SELECT {naming.name}, {test} FROM {table.name}"


def ranks(asker: Asker) -> Question:
    found = _named_table(asker)
    if found is None:
        raise Unfit
    table, naming = found
    column = asker.any(asker.measurable(table))
    groups = [each for each in asker.groupable(table) if each != column]
    conditions = [each for each in asker.some_conditions(table, (0.2, 0.0)) if each.column != column]
    words = {
        "np": asker.np(table, conditions),
        "name": asker.mention(table, naming),
        "col": asker.mention(table, column),
    }
    source = f"FROM {table.name}{where(conditions)}"
    draw = asker.rng.random()
    if draw < 0.3 and groups:
        group = asker.any(groups)
        request = asker.speaker.say("rank_within", group=asker.mention(table, group), **words)
        over = f"RANK() OVER (PARTITION BY {group.name} ORDER BY {column.name} DESC)"
        return request, f"SELECT {naming.name}, {group.name}, {over} {source}"
    if draw < 0.5:
        request = asker.speaker.say("row_number", **words)
        return request, f"SELECT {naming.name}, ROW_NUMBER() OVER (ORDER BY {column.name}) {source}"
    return asker.speaker.say(
        "rank", **words
    ), f"SELECT {naming.name}, RANK() OVER (ORDER BY {column.name} DESC) {source}"


def running(asker: Asker) -> Question:
    """Running totals, and the value before."""
    fitting = [each for each in asker.schema.tables.values() if each.of("date") and asker.addable(each)]
    if not fitting:
        raise Unfit
    table = asker.show(asker.rng.choice(fitting))
    date, column = asker.any(table.of("date")), asker.any(asker.addable(table))
    words = {"np": asker.np(table), "date": asker.mention(table, date), "col": asker.mention(table, column)}
    if asker.rng.random() < 0.3:
        over = f"LAG({column.name}) OVER (ORDER BY {date.name})"
        return asker.speaker.say("lag", **words), f"SELECT {date.name}, {column.name}, {over} FROM {table.name}"
    over = f"SUM({column.name}) OVER (ORDER BY {date.name})"
    return asker.speaker.say("running_total", **words), f"SELECT {date.name}, {over} FROM {table.name}"


def dated(asker: Asker) -> Question:
    """Counts per year, sums per month."""
    fitting = [each for each in asker.schema.tables.values() if each.of("date")]
    if not fitting:
        raise Unfit
    table = asker.show(asker.rng.choice(fitting))
    date = asker.any(table.of("date"))
    words = {"np": asker.np(table), "col": asker.mention(table, date)}
    numbers = asker.addable(table)
    if numbers and asker.rng.random() < 0.45:
        column = asker.any(numbers)
        kind = asker.rng.choice(("sum", "sum", "avg"))
        agg = asker.speaker.say(kind, col=asker.mention(table, column))
        month = f"strftime('%Y-%m', {date.name})"
        request = asker.speaker.say("sum_by_month", agg=agg, **words)
        return request, f"SELECT {month}, {kind.upper()}({column.name}) FROM {table.name} GROUP BY {month}"
    year = f"strftime('%Y', {date.name})"
    return asker.speaker.say("by_year", **words), f"SELECT {year}, COUNT(*) FROM {table.name} GROUP BY {year}"


def common_table(asker: Asker) -> Question:
    """A CTE, where one is asked for."""
    pair: Pair | None = pair_of(asker, named=True)
    if pair is None:
        raise Unfit
    numbers = asker.addable(pair.child)
    if not numbers:
        raise Unfit
    column = asker.any(numbers)
    value = asker.conditions.number(column) * asker.rng.randint(1, 4)
    asker.literals.append(value)
    agg = asker.speaker.say("sum", col=asker.mention(pair.child, column))
    shown = asker.mentions(pair.parent, pair.naming)
    request = f"{shown} of {asker.nouns(pair.parent)} whose {agg} of {asker.nouns(pair.child)} is over {value}"
    inner = f"SELECT {pair.by.name}, SUM({column.name}) AS total FROM {pair.child.name} GROUP BY {pair.by.name}"
    return asker.speaker.say("cte", request=request), (
        f"WITH totals AS ({inner}) SELECT {names_of(pair.naming, pair.p + '.')} FROM {pair.parent.name} {pair.p} "
        f"JOIN totals t ON t.{pair.by.name} = {pair.p}.{pair.parent.key.name} WHERE t.total > {value}"
    )
