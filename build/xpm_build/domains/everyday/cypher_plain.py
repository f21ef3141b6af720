"""Questions about the nodes of one label, and changes of one node."""

from collections.abc import Sequence

from xpm_build.domains.everyday.asking import Asker, Unfit
from xpm_build.domains.everyday.conditions import AFTER, Condition, Value
from xpm_build.domains.everyday.schema import Column, Table
from xpm_build.domains.everyday.sql_groups import many_of
from xpm_build.domains.everyday.sql_plain import chosen_columns, spoken_count, superlatives
from xpm_build.domains.speech import ENGLISH

Question = tuple[str, str]
"""What is asked, and the Cypher."""


def quoted(value: Value) -> str:
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'" if isinstance(value, str) else str(value)


def variable(name: str, *taken: str) -> str:
    """A short name for nodes of a label or links of a type that no other has."""
    name = name.lower()
    options = (name[0], name[:2], name[-1], "x")
    return next(
        each for each in options if each.isalpha() and each not in taken and each not in ("as", "in", "or", "is")
    )


def compared(condition: Condition, alias: str) -> str:
    """A condition in Cypher."""
    name, values = f"{alias}.{condition.column.name}", condition.values
    if condition.form == "between":
        return f"{name} >= {quoted(values[0])} AND {name} <= {quoted(values[1])}"
    if condition.form in ("in", "not_in"):
        listed = f"{name} IN [{', '.join(map(quoted, dict.fromkeys(values)))}]"
        return f"NOT {listed}" if condition.form == "not_in" else listed
    if condition.form in ("starts", "ends", "contains"):
        operator = {"starts": "STARTS WITH", "ends": "ENDS WITH", "contains": "CONTAINS"}[condition.form]
        return f"{name} {operator} {quoted(values[0])}"
    if values:
        return f"{name} {condition.tail.split(' ', 1)[0]} {quoted(values[0])}"
    return f"{name} {condition.tail}"


def where(conditions: Sequence[Condition], alias: str, joiner: str = "AND") -> str:
    """`` WHERE …``; "" without conditions."""
    return f" WHERE {f' {joiner} '.join(compared(each, alias) for each in conditions)}" if conditions else ""


def properties(alias: str, columns: Sequence[Column]) -> str:
    return ", ".join(f"{alias}.{each.name}" for each in columns)


def match(table: Table) -> tuple[str, str]:
    """(variable, MATCH clause) of all nodes of a label."""
    alias = variable(table.name)
    return alias, f"MATCH ({alias}:{table.name})"


def anchor(asker: Asker, table: Table) -> tuple[str, str]:
    """A node by its name: (how it is said, pattern's properties); its literal is noted.

    Raises:
        Unfit: nothing names the nodes of that label.
    """
    naming = table.naming
    if len(naming) != 1:
        raise Unfit
    value = asker.conditions.text(naming[0])
    asker.literals.append(value)
    said = asker.conditions.spoken_text(value)
    if asker.speaker.language == ENGLISH and asker.rng.random() < 0.2:
        said = f"{asker.one(table)} {said}" if asker.rng.random() < 0.4 else f"the {asker.one(table)} {said}"
    return said, f"{{{naming[0].name}: {quoted(value)}}}"


def rows(asker: Asker) -> Question:
    table = asker.table()
    conditions = asker.some_conditions(table, (0.8, 0.1))
    alias, clause = match(table)
    is_english = asker.speaker.language == ENGLISH
    if len(conditions) == 1 and is_english and conditions[0].place == AFTER and asker.rng.random() < 0.15:
        asker.literals += conditions[0].values
        request = asker.speaker.say("everyone" if table.entity.is_people else "whats", post=conditions[0].text)
    else:
        request = asker.speaker.say("rows", np=asker.np(table, conditions))
    return request, f"{clause}{where(conditions, alias)} RETURN {alias}"


def two(asker: Asker) -> Question:
    table = asker.table()
    if len(table.columns) < 2:
        raise Unfit
    joiner = "or" if asker.rng.random() < 0.25 else "and"
    conditions = asker.conditions_on(table, 2)
    alias, clause = match(table)
    request = asker.speaker.say("rows", np=asker.np(table, conditions, joiner=joiner))
    return request, f"{clause}{where(conditions, alias, joiner.upper())} RETURN {alias}"


def select(asker: Asker) -> Question:
    table = asker.table()
    columns = chosen_columns(asker, table, most=2)
    conditions = asker.some_conditions(table, (0.7, 0.08))
    alias, clause = match(table)
    cols = asker.mentions(table, columns, many=True)
    request = asker.speaker.say("select", cols=cols, np=asker.np(table, conditions))
    return request, f"{clause}{where(conditions, alias)} RETURN {properties(alias, columns)}"


def count(asker: Asker) -> Question:
    table = asker.table()
    conditions = asker.some_conditions(table, (0.75, 0.08))
    alias, clause = match(table)
    request = asker.speaker.say("count", np=asker.np(table, conditions))
    return request, f"{clause}{where(conditions, alias)} RETURN count({alias})"


def aggregated(asker: Asker, table: Table, alias: str) -> tuple[str, str]:
    """An aggregate of a property as (what is said, Cypher).

    Raises:
        Unfit: there is no property to aggregate.
    """
    options = [("avg", each) for each in asker.measurable(table)] + [("sum", each) for each in asker.addable(table)]
    options += [(kind, each) for each in asker.measurable(table) for kind in ("max", "min")]
    if not options:
        raise Unfit
    kind, column = asker.rng.choice(options)
    return asker.speaker.say(kind, col=asker.mention(table, column)), f"{kind}({alias}.{column.name})"


def aggregate(asker: Asker) -> Question:
    table = asker.table("number")
    alias, clause = match(table)
    said, cypher = aggregated(asker, table, alias)
    owners = [
        each
        for each in asker.schema.tables.values()
        if cypher.rpartition(".")[2][:-1] in [column.name for column in each.columns]
    ]
    if len(owners) == 1 and asker.speaker.language == ENGLISH and asker.rng.random() < 0.2:
        return asker.speaker.say("aggregate_bare", agg=said), f"{clause} RETURN {cypher}"
    conditions = asker.some_conditions(table, (0.5, 0.0))
    request = asker.speaker.say("aggregate", agg=said, np=asker.np(table, conditions))
    return request, f"{clause}{where(conditions, alias)} RETURN {cypher}"


def _grouped(asker: Asker) -> tuple[Table, Column]:
    fitting = [each for each in asker.schema.tables.values() if asker.groupable(each)]
    if not fitting:
        raise Unfit
    table = asker.show(asker.rng.choice(fitting))
    return table, asker.any(asker.groupable(table))


def group(asker: Asker) -> Question:
    """Counts or aggregates per property."""
    table, column = _grouped(asker)
    alias, clause = match(table)
    words = {"np": asker.np(table), "col": asker.mention(table, column)}
    others = [each for each in asker.measurable(table) if each != column]
    if others and asker.rng.random() < 0.45:
        number = asker.any(others)
        kind = asker.rng.choice(("avg", "avg", "max", "min", *(("sum", "sum") if number.meaning.adds else ())))
        agg = asker.speaker.say(kind, col=asker.mention(table, number))
        request = asker.speaker.say("group_agg", agg=agg, **words)
        return request, f"{clause} RETURN {alias}.{column.name}, {kind}({alias}.{number.name})"
    request = asker.speaker.say("group_count", **words)
    return ordered_count(asker, request, clause, f"{alias}.{column.name}", alias)


def ordered_count(asker: Asker, request: str, clause: str, shown: str, counted: str) -> Question:
    """A count per something, now and then the most first."""
    if asker.speaker.language == ENGLISH and asker.rng.random() < 0.25:
        said = asker.speaker.say("most_first")
        return request + said, f"{clause} RETURN {shown}, count({counted}) AS n ORDER BY n DESC"
    return request, f"{clause} RETURN {shown}, count({counted})"


def distinct(asker: Asker) -> Question:
    table, column = _grouped(asker)
    alias, clause = match(table)
    said = asker.mention(table, column)
    cols = many_of(said)
    if asker.rng.random() < 0.4:
        request = asker.speaker.say("count_distinct", cols=cols, np=asker.np(table))
        return request, f"{clause} RETURN count(DISTINCT {alias}.{column.name})"
    request = asker.speaker.say("distinct", cols=cols, col=said, np=asker.np(table))
    return request, f"{clause} RETURN DISTINCT {alias}.{column.name}"


def superlative(asker: Asker) -> Question:
    table = asker.table("number")
    found = superlatives(asker, table)
    if not found:
        raise Unfit
    word, column, is_greatest = asker.rng.choice(found)
    alias, clause = match(table)
    conditions = [each for each in asker.some_conditions(table, (0.3, 0.0), one=True) if each.column != column]
    order = f"ORDER BY {alias}.{column.name}{' DESC' if is_greatest else ''} LIMIT"
    if asker.rng.random() < 0.5:
        number = asker.rng.choice((2, 3, 3, 5, 5, 10, asker.rng.randint(2, 20)))
        conditions = [each for each in asker.some_conditions(table, (0.2, 0.0)) if each.column != column]
        words = {"n": spoken_count(asker, number), "sup": word, "np": asker.np(table, conditions)}
        asker.literals.append(number)
        return asker.speaker.say("top", **words), f"{clause}{where(conditions, alias)} RETURN {alias} {order} {number}"
    noun = f"{word} {asker.np(table, conditions, one=True)}"
    clause += where(conditions, alias)
    if asker.rng.random() < 0.35:
        columns = chosen_columns(asker, table, most=2)
        request = asker.speaker.say("sup_select", cols=asker.mentions(table, columns), sup=noun)
        return request, f"{clause} RETURN {properties(alias, columns)} {order} 1"
    return asker.speaker.say("sup", sup=noun), f"{clause} RETURN {alias} {order} 1"


def order(asker: Asker) -> Question:
    table = asker.table("number")
    alias, clause = match(table)
    number = asker.rng.choice((3, 5, 10, asker.rng.randint(2, 20)))
    measured = asker.measurable(table)
    if asker.rng.random() < 0.35 and measured:
        column, noun = asker.any(measured), asker.np(table)
        asker.literals.append(number)
        request = asker.speaker.say("top_by", n=spoken_count(asker, number), np=noun, col=asker.mention(table, column))
        return request, f"{clause} RETURN {alias} ORDER BY {alias}.{column.name} DESC LIMIT {number}"
    columns = chosen_columns(asker, table, most=2)
    column = asker.any(columns)
    conditions = asker.some_conditions(table, (0.25, 0.0))
    cols = asker.mentions(table, columns, many=True)
    request = asker.speaker.say("select", cols=cols, np=asker.np(table, conditions))
    kind = asker.rng.choice(("asc", "desc"))
    suffix = "_text" if column.kind == "text" and asker.speaker.language == ENGLISH else ""
    request += asker.speaker.say(kind + suffix, col=asker.mention(table, column))
    direction = " DESC" if kind == "desc" else ""
    returned = f"RETURN {properties(alias, columns)} ORDER BY {alias}.{column.name}{direction}"
    return request, f"{clause}{where(conditions, alias)} {returned}"


# changes


def _value(asker: Asker, column: Column) -> Value:
    return asker.conditions.text(column) if column.kind == "text" else asker.conditions.number(column)


def _pairs(asker: Asker, table: Table, chosen: Sequence[Column]) -> tuple[str, str]:
    values = [_value(asker, each) for each in chosen]
    style = asker.speaker.frame("pair")
    said = []
    for column, value in zip(chosen, values, strict=True):
        asker.literals.append(value)
        spoken = asker.conditions.spoken_text(value) if isinstance(value, str) else str(value)
        said.append(asker.speaker.fill(style, col=asker.mention(table, column), v=spoken))
    joined = ", ".join(said)
    if len(said) > 1 and asker.rng.random() < 0.4 and asker.speaker.language == ENGLISH:
        joined = f"{', '.join(said[:-1])} and {said[-1]}"
    written = ", ".join(f"{column.name}: {quoted(value)}" for column, value in zip(chosen, values, strict=True))
    return joined, f"{{{written}}}"


def create(asker: Asker) -> Question:
    table = asker.table()
    others = [each for each in table.columns if each not in table.naming]
    chosen = table.naming + asker.rng.sample(others, asker.rng.randint(min(1, len(others)), min(3, len(others))))
    if asker.speaker.language == ENGLISH and asker.rng.random() < 0.22:
        said, written = _pairs(asker, table, chosen[:1])
        return asker.speaker.say("merge_node", one=asker.one(table), pairs=said), f"MERGE (:{table.name} {written})"
    said, written = _pairs(asker, table, chosen)
    return asker.speaker.say("create_node", one=asker.one(table), pairs=said), f"CREATE (:{table.name} {written})"


def change(asker: Asker) -> Question:
    """A property of a certain node set, raised or lowered."""
    table = asker.table()
    said, pattern = anchor(asker, table)
    alias = variable(table.name)
    clause = f"MATCH ({alias}:{table.name} {pattern})"
    numbers = asker.measurable(table)
    if numbers and asker.speaker.language == ENGLISH and asker.rng.random() < 0.3:
        column = asker.any(numbers)
        kind, sign = asker.rng.choice((("add_named", "+"), ("take_named", "-")))
        step = asker.rng.choice((1, 2, 5, 10, 50, 100, 500))
        asker.literals.append(step)
        request = asker.speaker.say(kind, n=str(step), col=asker.mention(table, column), one=asker.one(table), v=said)
        name = f"{alias}.{column.name}"
        return without_twice(request, asker.one(table)), f"{clause} SET {name} = {name} {sign} {step}"
    others = [each for each in table.columns if each not in table.naming]
    if not others:
        raise Unfit
    column = asker.any(others)
    value = _value(asker, column)
    asker.literals.append(value)
    request = asker.speaker.say(
        "set_named", col=asker.mention(table, column), one=asker.one(table), v=said, w=str(value)
    )
    return without_twice(request, asker.one(table)), f"{clause} SET {alias}.{column.name} = {quoted(value)}"


def change_many(asker: Asker) -> Question:
    table = asker.table()
    conditions = asker.conditions_on(table, 1)
    alias, clause = match(table)
    options = [each for each in table.columns if each not in table.naming and each != conditions[0].column]
    if not options:
        raise Unfit
    column = asker.any(options)
    noun = asker.np(table, conditions)
    if column.kind == "number" and column.meaning.means and asker.rng.random() < 0.4:
        step = asker.rng.choice((1, 2, 5, 10, 50))
        asker.literals.append(step)
        kind, sign = asker.rng.choice((("increase", "+"), ("decrease", "-")))
        request = asker.speaker.say(kind, np=noun, col=asker.mention(table, column), n=str(step))
        name = f"{alias}.{column.name}"
        return request, f"{clause}{where(conditions, alias)} SET {name} = {name} {sign} {step}"
    value = _value(asker, column)
    asker.literals.append(value)
    request = asker.speaker.say("update_many", np=noun, col=asker.mention(table, column), v=str(value))
    return request, f"{clause}{where(conditions, alias)} SET {alias}.{column.name} = {quoted(value)}"


def delete(asker: Asker) -> Question:
    table = asker.table()
    alias = variable(table.name)
    if asker.rng.random() < 0.55 and len(table.naming) == 1:
        said, pattern = anchor(asker, table)
        request = asker.speaker.say("delete_named", one=asker.one(table), v=said)
        return without_twice(request, asker.one(table)), f"MATCH ({alias}:{table.name} {pattern}) DETACH DELETE {alias}"
    conditions = asker.conditions_on(table, 1)
    request = asker.speaker.say("delete", np=asker.np(table, conditions))
    return request, f"MATCH ({alias}:{table.name}){where(conditions, alias)} DETACH DELETE {alias}"


def without_twice(request: str, one: str) -> str:
    """Without "the city the city Rome": a frame and what it is filled with may both say what it is."""
    for before in (f"the {one} ", f"{one} "):
        for twice in (f"the {one} ", f"{one} "):
            request = request.replace(before + twice, twice)
    return request
