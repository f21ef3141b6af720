"""Requests that change something: rows added, changed and deleted, tables made and altered."""

from xpm_build.domains.everyday.asking import Asker, Unfit, where
from xpm_build.domains.everyday.conditions import BEFORE, Value, quoted
from xpm_build.domains.everyday.schema import Column, Table, identifier
from xpm_build.domains.everyday.sql_plain import Question, names_of
from xpm_build.domains.speech import ENGLISH


def _value(asker: Asker, column: Column) -> Value:
    if column.kind == "text":
        return asker.conditions.text(column)
    if column.kind == "date":
        year, month, day = asker.conditions.date()
        return f"{year}-{month:02}-{day:02}"
    return asker.rng.choice((0, 1)) if column.kind == "flag" else asker.conditions.number(column)


def _said(asker: Asker, value: Value) -> str:
    """A value in a request; its literal is noted."""
    asker.literals.append(value)
    return asker.conditions.spoken_text(value) if isinstance(value, str) else str(value)


def insert(asker: Asker) -> Question:
    table = asker.table()
    options = [each for each in table.columns if each.kind != "key"]
    naming = table.naming
    count = min(asker.rng.randint(2, 5), len(options))
    chosen = naming + [each for each in asker.rng.sample(options, len(options)) if each not in naming]
    chosen = sorted(chosen[:count], key=table.columns.index) if asker.rng.random() < 0.7 else chosen[:count]
    values = [_value(asker, each) for each in chosen]
    style = asker.speaker.frame("pair")
    is_mixed = asker.rng.random() < 0.35
    said = [
        asker.speaker.fill(
            asker.speaker.frame("pair") if is_mixed else style, col=asker.mention(table, column), v=_said(asker, value)
        )
        for column, value in zip(chosen, values, strict=True)
    ]
    if chosen[0].meaning.names and asker.rng.random() < 0.5 and asker.speaker.language == ENGLISH:
        said[0] = f"{asker.rng.choice(('', '', 'called ', 'named '))}{values[0]}"
    joined = ", ".join(said)
    if asker.speaker.language == ENGLISH and len(said) > 1 and asker.rng.random() < 0.35:
        joined = f"{', '.join(said[:-1])} and {said[-1]}"
    request = asker.speaker.say("insert", one=asker.one(table), table=table.name, pairs=joined)
    return request, f"INSERT INTO {table.name} ({names_of(chosen)}) VALUES ({', '.join(map(quoted, values))})"


def _id(asker: Asker) -> int:
    number = asker.rng.choice((asker.rng.randint(1, 60), asker.rng.randint(1, 999), asker.rng.randint(1000, 9999)))
    asker.literals.append(number)
    return number


def update_one(asker: Asker) -> Question:
    """A row of a certain key changed."""
    table, number = asker.table(), _id(asker)
    found: Question | None = None
    for share, make in _CHANGES if asker.speaker.language == ENGLISH else ():
        if found is None and asker.rng.random() < share:
            found = make(asker, table, number)
    request, assignment = found or _set(asker, table, number)
    return request, f"UPDATE {table.name} SET {assignment} WHERE {table.key.name} = {number}"


def _mark(asker: Asker, table: Table, number: int) -> Question | None:
    """(request, assignment) of a flag; None where there is none that an adjective says."""
    flags = table.of("flag")
    if not flags:
        return None
    column, on = asker.any(flags), asker.rng.choice((1, 1, 0))
    words = {"one": asker.one(table), "id": str(number)}
    if column.meaning.name in ("done", "completed") and on and asker.rng.random() < 0.3:
        asker.literals.append(on)
        return asker.speaker.say("tick", **words), f"{column.name} = 1"
    state = asker.conditions.flag(table, column, on, is_one=True)
    if state.place != BEFORE:
        return None
    asker.literals.append(on)
    return asker.speaker.say("mark", state=state.text, flag=column.name, **words), f"{column.name} = {on}"


def _clear(asker: Asker, table: Table, number: int) -> Question | None:
    optional = [each for each in table.columns if each.meaning.say("none")]
    if not optional:
        return None
    column = asker.any(optional)
    request = asker.speaker.say("clear", col=asker.mention(table, column), one=asker.one(table), id=str(number))
    return request, f"{column.name} = NULL"


def _mark_text(asker: Asker, table: Table, number: int) -> Question | None:
    states = [each for each in table.of("text") if each.meaning.name in ("status", "state")]
    if not states:
        return None
    column = asker.any(states)
    value = _value(asker, column)
    words = {"one": asker.one(table), "id": str(number), "v": _said(asker, value)}
    request = asker.speaker.say("mark_text", col=asker.mention(table, column), **words)
    return request, f"{column.name} = {quoted(value)}"


def _step(asker: Asker, table: Table, number: int) -> Question | None:
    numbers = asker.measurable(table)
    if not numbers:
        return None
    column, step = asker.any(numbers), asker.rng.choice((1, 2, 5, 10, 20, 50, 100, 500))
    asker.literals.append(step)
    kind, sign = asker.rng.choice((("increase_one", "+"), ("decrease_one", "-")))
    words = {"one": asker.one(table), "id": _numbered(asker, number), "n": str(step)}
    request = asker.speaker.say(kind, col=asker.mention(table, column), **words)
    return request, f"{column.name} = {column.name} {sign} {step}"


def _rename(asker: Asker, table: Table, number: int) -> Question | None:
    if len(table.naming) != 1:
        return None
    value = _value(asker, table.naming[0])
    words = {"one": asker.one(table), "id": _numbered(asker, number), "v": _said(asker, value)}
    return asker.speaker.say("rename_one", **words), f"{table.naming[0].name} = {quoted(value)}"


def _set(asker: Asker, table: Table, number: int) -> Question:
    column = asker.any(table.of("number", "text", "date"))
    value = _value(asker, column)
    words = {"one": asker.one(table), "id": _numbered(asker, number), "v": _said(asker, value)}
    return asker.speaker.say(
        "update_one", col=asker.mention(table, column), **words
    ), f"{column.name} = {quoted(value)}"


_CHANGES = ((0.5, _mark), (0.08, _clear), (0.6, _mark_text), (0.2, _step), (0.15, _rename))


def _numbered(asker: Asker, number: int) -> str:
    if asker.speaker.language != ENGLISH:
        return str(number)
    return asker.rng.choice(
        (str(number), str(number), f"#{number}", f"with id {number}", f"number {number}", f"no. {number}")
    )


def update_many(asker: Asker) -> Question:
    table = asker.table()
    conditions = asker.some_conditions(table, (0.8, 0.1))
    noun, clause = asker.np(table, conditions), where(conditions)
    numbers = [each for each in asker.measurable(table) if each not in [c.column for c in conditions]]
    draw = asker.rng.random()
    if draw < 0.3 and numbers:
        column = asker.any(numbers)
        kind, sign = asker.rng.choice((("increase", "+"), ("decrease", "-")))
        step = asker.rng.choice((1, 2, 5, 10, 20, 50, 100))
        asker.literals.append(step)
        request = asker.speaker.say(kind, np=noun, col=asker.mention(table, column), n=str(step))
        return request, f"UPDATE {table.name} SET {column.name} = {column.name} {sign} {step}{clause}"
    if draw < 0.45 and numbers:
        column = asker.any(numbers)
        kind = asker.rng.choice(("increase_percent", "decrease_percent"))
        percent = asker.rng.choice((5, 10, 15, 20, 25, 30, 50))
        factor = (100 + percent if kind == "increase_percent" else 100 - percent) / 100
        if column.meaning.name in ("salary", "wage") and kind == "increase_percent":
            kind = "raise"
        request = asker.speaker.say(kind, np=noun, col=asker.mention(table, column), n=str(percent))
        return request, f"UPDATE {table.name} SET {column.name} = {column.name} * {factor:g}{clause}"
    flags = [each for each in table.of("flag") if each not in [c.column for c in conditions]]
    if draw < 0.65 and flags and conditions:
        column, on = asker.any(flags), asker.rng.choice((0, 1))
        state = asker.conditions.flag(table, column, on)
        if state.place == BEFORE:
            asker.literals.append(on)
            request = asker.speaker.say("mark_many", np=noun, state=state.text)
            return request, f"UPDATE {table.name} SET {column.name} = {on}{clause}"
    options = [each for each in table.of("number", "text", "date") if each not in [c.column for c in conditions]]
    column = asker.any(options or table.of("number", "text", "date"))
    value = _value(asker, column)
    request = asker.speaker.say("update_many", np=noun, col=asker.mention(table, column), v=_said(asker, value))
    return request, f"UPDATE {table.name} SET {column.name} = {quoted(value)}{clause}"


def delete(asker: Asker) -> Question:
    table = asker.table()
    draw = asker.rng.random()
    if draw < 0.4:
        number = _id(asker)
        request = asker.speaker.say("delete_one", one=asker.one(table), id=str(number), key=table.key.name)
        return request, f"DELETE FROM {table.name} WHERE {table.key.name} = {number}"
    if draw < 0.45 and asker.speaker.language == ENGLISH:
        return asker.speaker.say("delete_all", table=table.name), f"DELETE FROM {table.name}"
    conditions = asker.conditions_on(table, 2 if asker.rng.random() < 0.12 else 1)
    return asker.speaker.say("delete", np=asker.np(table, conditions)), f"DELETE FROM {table.name}{where(conditions)}"


_TYPES = {"number": "INTEGER", "flag": "INTEGER", "text": "TEXT", "date": "TEXT", "reference": "INTEGER"}
_TYPE_WORDS = {
    "INTEGER": ("integer", "INTEGER", "int", "number"),
    "TEXT": ("text", "TEXT", "text"),
    "REAL": ("real", "REAL"),
}


def define(asker: Asker) -> Question:
    """Tables made, altered, renamed and dropped, and views."""
    table = asker.table()
    draw = asker.rng.random()
    if draw < 0.4:
        return _create(asker, table)
    if draw < 0.62:
        return _add(asker, table)
    options = table.of("number", "text", "date", "flag")
    column = asker.any(options)
    if draw < 0.74:
        return (
            asker.speaker.say("drop_column", col=column.name, table=table.name),
            f"ALTER TABLE {table.name} DROP COLUMN {column.name}",
        )
    if draw < 0.86:
        new = identifier(f"{asker.rng.choice(_PREFIXES)}_{column.field.name}", asker.schema.style)
        return (
            asker.speaker.say("rename_column", col=column.name, table=table.name, new=new),
            f"ALTER TABLE {table.name} RENAME COLUMN {column.name} TO {new}",
        )
    if draw < 0.93:
        new = identifier(
            f"{asker.rng.choice(('old', 'all', 'archived', 'new'))}_{table.entity.name}", asker.schema.style
        )
        return (
            asker.speaker.say("rename_table", table=table.name, new=new),
            f"ALTER TABLE {table.name} RENAME TO {new}",
        )
    return asker.speaker.say("drop_table", table=table.name), f"DROP TABLE {table.name}"


_PREFIXES = ("full", "new", "main", "old", "first", "internal")
_NEW_COLUMNS = (
    ("notes", "TEXT"),
    ("created_at", "TEXT"),
    ("updated_at", "TEXT"),
    ("is_deleted", "INTEGER"),
    ("discount", "REAL"),
    ("nickname", "TEXT"),
    ("website", "TEXT"),
    ("sort_order", "INTEGER"),
    ("comment", "TEXT"),
    ("archived", "INTEGER"),
    ("latitude", "REAL"),
    ("weight_kg", "REAL"),
    ("language", "TEXT"),
    ("source", "TEXT"),
    ("views", "INTEGER"),
)


def _add(asker: Asker, table: Table) -> Question:
    taken = {each.name.lower() for each in table.columns}
    options = [
        (name, type_) for name, type_ in _NEW_COLUMNS if identifier(name, asker.schema.style).lower() not in taken
    ]
    name, type_ = asker.rng.choice(options)
    name = identifier(name, asker.schema.style)
    word = asker.rng.choice(_TYPE_WORDS[type_])
    request = asker.speaker.say("add_column", col=name, type=word, table=table.name)
    return request, f"ALTER TABLE {table.name} ADD COLUMN {name} {type_}"


def _create(asker: Asker, other: Table) -> Question:
    """A new table: of all those of its world, it alone is not there yet."""
    if len(asker.schema.tables) == 1:
        raise Unfit
    asker.shown.clear()
    asker.missing.append(other)
    columns = [each for each in other.columns if each.kind != "key"][: asker.rng.randint(2, 5)]
    is_typed = asker.rng.random() < 0.45
    key = other.key.name
    said = [key] if asker.rng.random() < 0.8 else [f"{key} as primary key"]
    if is_typed:
        said = [f"{key} (primary key)" if asker.rng.random() < 0.5 else key]
    said += [
        f"{each.name} ({asker.rng.choice(_TYPE_WORDS[_TYPES[each.kind]])})" if is_typed else each.name
        for each in columns
    ]
    cols = ", ".join(said) if asker.rng.random() < 0.6 else f"{', '.join(said[:-1])} and {said[-1]}"
    request = asker.speaker.say("create_table", table=other.name, cols=cols, nouns=other.entity.many)
    written = ", ".join([f"{key} INTEGER PRIMARY KEY", *(f"{each.name} {_TYPES[each.kind]}" for each in columns)])
    return request, f"CREATE TABLE {other.name} ({written})"


def view(asker: Asker) -> Question:
    table = asker.table()
    conditions = asker.conditions_on(table, 1)
    name = identifier(
        f"{asker.rng.choice(('selected', 'current', 'important', 'my'))}_{table.entity.name}", asker.schema.style
    )
    request = asker.speaker.say("view", view=name, request=f"all {asker.np(table, conditions)}")
    return request, f"CREATE VIEW {name} AS SELECT * FROM {table.name}{where(conditions)}"
