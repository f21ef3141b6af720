"""Questions about tables, and the SQLite statement that answers or does what is asked.

A prompt is a request and ``Schema: table(column, …), …``. ``check`` holds the schema with its types and the request's
literals, from which the judge builds databases on which right and wrong statements differ.
"""

from dataclasses import dataclass, field
from typing import Any

from xpm_build.domains.case import Draft
from xpm_build.domains.speech import Speaker
from xpm_build.domains.words import Vocabulary

Value = str | int


@dataclass(frozen=True, slots=True)
class Column:
    """``kind`` is key, reference, number, text or date."""

    name: str
    kind: str


@dataclass(frozen=True, slots=True)
class Table:
    """``one`` is what one row is called, ``name`` what the table is."""

    one: str
    name: str
    columns: tuple[Column, ...]

    def __str__(self) -> str:
        return f"{self.name}({', '.join(column.name for column in self.columns)})"

    def of(self, *kinds: str) -> list[Column]:
        return [column for column in self.columns if column.kind in kinds]


@dataclass(slots=True)
class _Asker:
    """What the families share: the words, the speaker, and the literals used so far."""

    words: Vocabulary
    speaker: Speaker
    literals: list[Value] = field(default_factory=list)

    def plain(self, column: Column) -> str:
        """A column as people mention it: perhaps with a space for an underscore."""
        return column.name.replace("_", " ") if self.words.rng.random() < 0.4 else column.name

    def plural(self, column: Column) -> str:
        spoken = self.plain(column)
        return spoken if spoken.endswith("s") or self.words.rng.random() < 0.5 else spoken + "s"

    def many(self, table: Table) -> str:
        return table.name if table.name.endswith("s") or self.words.rng.random() < 0.4 else table.name + "s"

    def any(self, columns: list[Column]) -> Column:
        return self.words.rng.choice(columns)

    def literal(self, value: Value) -> str:
        self.literals.append(value)
        return str(value)


def make_sql(words: Vocabulary, speaker: Speaker) -> Draft:
    """Draw one question with its SQL over one to three tables."""
    rng = words.rng
    tables = draw_tables(words, 3)
    asker = _Asker(words, speaker)
    family, (_, num_tables, make) = rng.choices(
        list(_FAMILIES.items()), weights=[weight for weight, _, _ in _FAMILIES.values()]
    )[0]
    request, sql = make(asker, tables)
    shown = list(tables[: max(num_tables, rng.choice((1, 1, 1, 2, 2, 3)))])
    rng.shuffle(shown)
    schema = ", ".join(str(table) for table in shown)
    return (
        f"{speaker.end(request)}{speaker.say('schema', schema=schema)}",
        f"{sql};",
        family,
        {
            "tables": [[table.name, [[column.name, column.kind] for column in table.columns]] for table in shown],
            "literals": asker.literals,
        },
        speaker.say("words", table=tables[0].name, cols=", ".join(column.name for column in tables[0].columns)),
    )


def draw_tables(words: Vocabulary, count: int) -> list[Table]:
    """Tables of 3 to 6 columns, each with a reference to the next.

    The first one's rows belong to the second's, and so on.
    """
    rng = words.schema
    tables: list[Table] = []
    for one in reversed(words.distinct(count, words.table)):
        name = one + "s" if rng.random() < 0.8 or one in _KEYWORDS else one
        taken = ("id", name, one, *_KEYWORDS)
        columns = [Column(words.distinct(1, words.numeric_column, taken=taken)[0], "number")]
        columns.append(Column(words.distinct(1, words.text_column, taken=(*taken, columns[0].name))[0], "text"))
        for _ in range(rng.choice((0, 1, 1, 2, 2, 3))):
            kind = rng.choice(("number", "text", "text", "date"))
            draw = {"number": words.numeric_column, "text": words.text_column, "date": words.date_column}[kind]
            columns.append(Column(words.distinct(1, draw, taken=(*taken, *(c.name for c in columns)))[0], kind))
        if tables and not any(column.name == f"{tables[0].one}_id" for column in columns):
            columns.append(Column(f"{tables[0].one}_id", "reference"))
        rng.shuffle(columns)
        tables.insert(0, Table(one, name, (Column("id", "key"), *columns)))
    return tables


def _quoted(value: Value) -> str:
    return f"'{value}'" if isinstance(value, str) else str(value)


def _condition(asker: _Asker, column: Column, *, qualifier: str = "", form: str | None = None) -> tuple[str, str]:
    """One condition as (what is said after a lead, SQL)."""
    rng, speaker, name = asker.words.rng, asker.speaker, qualifier + column.name
    kinds = _FORMS["number" if column.kind in ("number", "key", "reference") else column.kind]
    form = form if form in kinds else rng.choices(list(kinds), weights=list(kinds.values()))[0]
    spoken = asker.plain(column)
    if form in ("null", "not_null"):
        return f"{spoken} {speaker.say(form)}", f"{name} IS {'NOT ' if form == 'not_null' else ''}NULL"
    if form == "between":
        values: list[Value] = _two(asker, column)
        said = speaker.say(form, v=asker.literal(values[0]), w=asker.literal(values[1]))
        return f"{spoken} {said}", f"{name} BETWEEN {_quoted(values[0])} AND {_quoted(values[1])}"
    if form == "in":
        values = [_value(asker, column) for _ in range(rng.choice((2, 2, 3)))]
        texts = [asker.literal(value) for value in values]
        listed = ", ".join(texts)
        said = speaker.say(form, vs=listed, vs_or=f"{', '.join(texts[:-1])} or {texts[-1]}")
        return f"{spoken} {said}", f"{name} IN ({', '.join(map(_quoted, values))})"
    if form == "year":
        year = rng.randint(1980, 2025)
        asker.literals += [f"{year}-01-01", f"{year}-12-31"]
        return (f"{spoken} {speaker.say(form, v=str(year))}", f"{name} BETWEEN '{year}-01-01' AND '{year}-12-31'")
    value = _value(asker, column)
    said = f"{spoken} {speaker.say(form, v=asker.literal(value))}"
    pattern = {"starts": f"{value}%", "ends": f"%{value}", "contains": f"%{value}%"}.get(form)
    if pattern is not None:
        return said, f"{name} LIKE '{pattern}'"
    return said, f"{name} {_OPERATORS[form]} {_quoted(value)}"


def _value(asker: _Asker, column: Column) -> Value:
    if column.kind == "date":
        return asker.words.date()
    return asker.words.value() if column.kind == "text" else asker.words.integer()


def _two(asker: _Asker, column: Column) -> list[Value]:
    first, second = _value(asker, column), _value(asker, column)
    return sorted([first, second])


def _where(asker: _Asker, table: Table, *, likely: float, form: str | None = None) -> tuple[str, str]:
    """The conditions of a question as (what is said, SQL clause); both empty for a question about all rows."""
    rng, speaker = asker.words.rng, asker.speaker
    if rng.random() > likely:
        return "", ""
    kinds = {"like": ("text",), "in": ("text", "number"), "between": ("number", "date"), "date": ("date",)}
    columns = table.of(*kinds.get(form or "", ("number", "text", "date", "key", "reference"))) or list(table.columns)
    wanted = {
        "like": rng.choice(("starts", "ends", "contains")),
        "date": None,
        "null": rng.choice(("null", "not_null")),
    }
    column = asker.any(columns)
    if form is None and speaker.language == "en" and rng.random() < 0.3:
        return _with(asker, table, column)
    text, sql = _condition(asker, column, form=wanted.get(form or "", form))
    lead = speaker.say("lead")
    if form != "two" and rng.random() > 0.12:
        return f"{lead} {text}", f" WHERE {sql}"
    other = asker.any([each for each in table.columns if each != column])
    second, second_sql = _condition(asker, other)
    joiner = rng.choice(("and", "or"))
    return f"{lead} {text} {speaker.say(joiner)} {second}", f" WHERE {sql} {joiner.upper()} {second_sql}"


def _with(asker: _Asker, table: Table, column: Column) -> tuple[str, str]:
    """``with more than 5 rooms`` and the like."""
    rng, speaker = asker.words.rng, asker.speaker
    numeric = column.kind not in ("text", "date")
    form = rng.choice(("gt", "lt", "ge", "le", "eq")) if numeric else "eq"
    value = _value(asker, column)
    said = speaker.say(f"with_{form}", col=asker.plain(column), v=asker.literal(value))
    return f"{speaker.say('lead_with')} {said}", f" WHERE {column.name} {_OPERATORS[form]} {_quoted(value)}"


def _select(asker: _Asker, tables: list[Table], *, form: str | None = None, likely: float = 0.7) -> tuple[str, str]:
    rng, table = asker.words.rng, tables[0]
    chosen = rng.sample(list(table.columns), min(rng.choices((1, 2, 3), weights=(5, 4, 1))[0], len(table.columns)))
    mentions = [asker.plural(column) for column in chosen]
    joiner = asker.speaker.say("and") if len(mentions) > 1 else ""
    spoken = mentions[0] if len(mentions) == 1 else f"{', '.join(mentions[:-1])} {joiner} {mentions[-1]}"
    where, clause = _where(asker, table, likely=likely, form=form)
    request = asker.speaker.say("select", cols=spoken, table=asker.many(table), where=where)
    return request, f"SELECT {', '.join(column.name for column in chosen)} FROM {table.name}{clause}"


def _rows(asker: _Asker, tables: list[Table], *, form: str | None = None, likely: float = 0.75) -> tuple[str, str]:
    where, clause = _where(asker, tables[0], likely=likely, form=form)
    request = asker.speaker.say("rows", table=asker.many(tables[0]), where=where)
    return request, f"SELECT * FROM {tables[0].name}{clause}"


def _count(asker: _Asker, tables: list[Table], *, form: str | None = None, likely: float = 0.7) -> tuple[str, str]:
    where, clause = _where(asker, tables[0], likely=likely, form=form)
    request = asker.speaker.say("count", table=asker.many(tables[0]), where=where)
    return request, f"SELECT COUNT(*) FROM {tables[0].name}{clause}"


def _filtered(form: str) -> Any:
    """A family that is about one form of condition, whatever is asked of the rows."""

    def make(asker: _Asker, tables: list[Table]) -> tuple[str, str]:
        return asker.words.rng.choice((_select, _rows, _count))(asker, tables, form=form, likely=1.0)

    return make


def _dates(asker: _Asker, tables: list[Table]) -> tuple[str, str]:
    if not tables[0].of("date"):
        return _rows(asker, tables)
    return asker.words.rng.choice((_select, _rows, _count))(asker, tables, form="date", likely=1.0)


def _aggregated(asker: _Asker, table: Table) -> tuple[str, str]:
    column = asker.any(table.of("number"))
    function = asker.words.rng.choice(("avg", "sum", "max", "min"))
    return asker.speaker.say(function, col=asker.plain(column)), f"{function.upper()}({column.name})"


def _aggregate(asker: _Asker, tables: list[Table]) -> tuple[str, str]:
    said, sql = _aggregated(asker, tables[0])
    where, clause = _where(asker, tables[0], likely=0.5)
    request = asker.speaker.say("aggregate", agg=said, table=asker.many(tables[0]), where=where)
    return request, f"SELECT {sql} FROM {tables[0].name}{clause}"


def _distinct(asker: _Asker, tables: list[Table]) -> tuple[str, str]:
    column = asker.any(tables[0].of("text", "number", "date"))
    where, clause = _where(asker, tables[0], likely=0.3)
    request = asker.speaker.say("distinct", col=asker.plural(column), table=asker.many(tables[0]), where=where)
    return request, f"SELECT DISTINCT {column.name} FROM {tables[0].name}{clause}"


def _group(asker: _Asker, tables: list[Table]) -> tuple[str, str]:
    table = tables[0]
    column = asker.any(table.of("text", "date", "number"))
    where, clause = _where(asker, table, likely=0.25)
    if asker.words.rng.random() < 0.5:
        request = asker.speaker.say("group", col=asker.plain(column), table=asker.many(table), where=where)
        return request, f"SELECT {column.name}, COUNT(*) FROM {table.name}{clause} GROUP BY {column.name}"
    said, sql = _aggregated(asker, table)
    column = asker.any(table.of("text"))
    request = asker.speaker.say(
        "group_aggregate", col=asker.plain(column), agg=said, table=asker.many(table), where=where
    )
    return request, f"SELECT {column.name}, {sql} FROM {table.name}{clause} GROUP BY {column.name}"


def _having(asker: _Asker, tables: list[Table]) -> tuple[str, str]:
    table = tables[0]
    column = asker.any(table.of("text", "number", "date"))
    least = asker.words.rng.random() < 0.4
    number = asker.words.rng.randint(1, 12)
    kind = "having_least" if least else "having"
    request = asker.speaker.say(kind, col=asker.plain(column), n=str(number), table=asker.many(table))
    operator = ">=" if least else ">"
    return request, (
        f"SELECT {column.name} FROM {table.name} GROUP BY {column.name} HAVING COUNT(*) {operator} {number}"
    )


def _order(asker: _Asker, tables: list[Table]) -> tuple[str, str]:
    rng = asker.words.rng
    request, sql = rng.choice((_select, _rows))(asker, tables, likely=0.4)
    column = asker.any(list(tables[0].columns))
    direction = rng.choice(("asc", "desc"))
    said = asker.speaker.say(direction, col=asker.plain(column))
    return (
        f"{request}{rng.choice((' ', ', '))}{said}",
        f"{sql} ORDER BY {column.name}{' DESC' if direction == 'desc' else ''}",
    )


def _top(asker: _Asker, tables: list[Table]) -> tuple[str, str]:
    rng, table = asker.words.rng, tables[0]
    column, number = asker.any(table.of("number")), rng.randint(1, 20)
    if rng.random() < 0.2:
        where, clause = _where(asker, table, likely=0.5)
        request = asker.speaker.say("limit", n=str(number), table=asker.many(table), where=where)
        return request, f"SELECT * FROM {table.name}{clause} LIMIT {number}"
    kind = rng.choice(("top", "bottom"))
    request = asker.speaker.say(kind, n=str(number), col=asker.plain(column), table=asker.many(table))
    descending = " DESC" if kind == "top" else ""
    return request, f"SELECT * FROM {table.name} ORDER BY {column.name}{descending} LIMIT {number}"


def _on(left: Table, right: Table) -> str:
    return f"JOIN {right.name} ON {left.name}.{right.one}_id = {right.name}.id"


def _join(asker: _Asker, tables: list[Table]) -> tuple[str, str]:
    left, right = tables[:2]
    ours, theirs = asker.any(left.of("text", "number", "date")), asker.any(right.of("text", "number", "date"))
    where, clause = "", ""
    names = {"rights": asker.many(right), "other": right.one}
    if asker.words.rng.random() < 0.45:
        column = asker.any(right.of("text", "number", "date"))
        lead = asker.speaker.say("join_on", **names)
        text, sql = _condition(asker, column, qualifier=f"{right.name}.")
        where, clause = f"{lead} {text}", f" WHERE {sql}"
    request = asker.speaker.say(
        "join",
        left=asker.plain(ours),
        right=asker.plain(theirs),
        lefts=asker.many(left),
        one=left.one,
        where=where,
        **names,
    )
    return request, (
        f"SELECT {left.name}.{ours.name}, {right.name}.{theirs.name} FROM {left.name} {_on(left, right)}{clause}"
    )


def _join3(asker: _Asker, tables: list[Table]) -> tuple[str, str]:
    columns = [asker.any(table.of("text", "number", "date")) for table in tables]
    one, two, three = tables
    said = [asker.plain(column) for column in columns]
    request = asker.speaker.say(
        "join3",
        a=said[0],
        b=said[1],
        c=said[2],
        one=one.one,
        two=two.one,
        three=three.one,
        ones=asker.many(one),
        twos=asker.many(two),
        threes=asker.many(three),
    )
    chosen = ", ".join(f"{table.name}.{column.name}" for table, column in zip(tables, columns, strict=True))
    return request, f"SELECT {chosen} FROM {one.name} {_on(one, two)} {_on(two, three)}"


def _join_group(asker: _Asker, tables: list[Table]) -> tuple[str, str]:
    left, right = tables[:2]
    theirs = asker.any(right.of("text"))
    names = {"right": asker.plain(theirs), "other": right.one, "lefts": asker.many(left)}
    if asker.words.rng.random() < 0.5:
        request, sql = asker.speaker.say("join_count", **names), "COUNT(*)"
    else:
        column = asker.any(left.of("number"))
        function = asker.words.rng.choice(("avg", "sum", "max", "min"))
        said = asker.speaker.say(function, col=asker.plain(column))
        request = asker.speaker.say("join_sum", agg=said, **names)
        sql = f"{function.upper()}({left.name}.{column.name})"
    return request, (
        f"SELECT {right.name}.{theirs.name}, {sql} FROM {left.name} {_on(left, right)} GROUP BY {right.name}.id"
    )


def _subquery(asker: _Asker, tables: list[Table]) -> tuple[str, str]:
    left, right = tables[:2]
    kind = asker.words.rng.choice(("above_average", "below_average", "extreme", "without", "having_some"))
    if kind in ("without", "having_some"):
        request = asker.speaker.say(kind, lefts=asker.many(left), rights=asker.many(right))
        negation = "NOT " if kind == "without" else ""
        return request, (f"SELECT * FROM {right.name} WHERE id {negation}IN (SELECT {right.one}_id FROM {left.name})")
    column = asker.any(left.of("number"))
    request = asker.speaker.say(kind, table=asker.many(left), col=asker.plain(column))
    operator, function = {"above_average": (">", "AVG"), "below_average": ("<", "AVG"), "extreme": ("=", "MAX")}[kind]
    return request, (
        f"SELECT * FROM {left.name} WHERE {column.name} {operator} (SELECT {function}({column.name}) FROM {left.name})"
    )


def _insert(asker: _Asker, tables: list[Table]) -> tuple[str, str]:
    table, rng = tables[0], asker.words.rng
    chosen = rng.sample(table.of("text", "number", "date"), rng.randint(1, min(3, len(table.columns) - 2)))
    values = [_value(asker, column) for column in chosen]
    style = asker.speaker.frame("pair")
    pairs = [
        asker.speaker.fill(style, col=asker.plain(column), v=asker.literal(value))
        for column, value in zip(chosen, values, strict=True)
    ]
    joined = ", ".join(pairs) if len(pairs) == 1 or rng.random() < 0.5 else f"{', '.join(pairs[:-1])} and {pairs[-1]}"
    request = asker.speaker.say("insert", one=table.one, table=table.name, pairs=joined)
    names = ", ".join(column.name for column in chosen)
    return request, f"INSERT INTO {table.name} ({names}) VALUES ({', '.join(map(_quoted, values))})"


def _update(asker: _Asker, tables: list[Table]) -> tuple[str, str]:
    table, rng = tables[0], asker.words.rng
    where, clause = _where(asker, table, likely=0.9)
    if rng.random() < 0.25:
        column, value = asker.any(table.of("number")), asker.words.integer()
        kind = rng.choice(("increase", "decrease"))
        names = {"col": asker.plain(column), "table": asker.many(table), "where": where}
        request = asker.speaker.say(kind, v=asker.literal(value), **names)
        sign = "+" if kind == "increase" else "-"
        return request, f"UPDATE {table.name} SET {column.name} = {column.name} {sign} {value}{clause}"
    column = asker.any(table.of("text", "number", "date"))
    new = _value(asker, column)
    request = asker.speaker.say(
        "update", col=asker.plain(column), v=asker.literal(new), table=asker.many(table), where=where
    )
    return request, f"UPDATE {table.name} SET {column.name} = {_quoted(new)}{clause}"


def _delete(asker: _Asker, tables: list[Table]) -> tuple[str, str]:
    where, clause = _where(asker, tables[0], likely=0.95)
    request = asker.speaker.say("delete", table=asker.many(tables[0]), where=where)
    return request, f"DELETE FROM {tables[0].name}{clause}"


_OPERATORS = {"gt": ">", "lt": "<", "ge": ">=", "le": "<=", "eq": "=", "ne": "!=", "after": ">", "before": "<"}
_FORMS = {
    "number": {"gt": 5, "lt": 5, "ge": 2, "le": 2, "eq": 3, "ne": 1, "between": 2, "in": 1, "null": 1, "not_null": 1},
    "text": {"eq": 8, "ne": 2, "in": 2, "starts": 1, "ends": 1, "contains": 2, "null": 1, "not_null": 1},
    "date": {"after": 3, "before": 3, "year": 2, "between": 2, "eq": 1, "null": 1, "not_null": 1},
}
_FAMILIES: dict[str, tuple[int, int, Any]] = {
    "select": (14, 1, _select),
    "rows": (6, 1, _rows),
    "count": (6, 1, _count),
    "and-or": (6, 1, _filtered("two")),
    "between": (4, 1, _filtered("between")),
    "in": (4, 1, _filtered("in")),
    "like": (5, 1, _filtered("like")),
    "null": (4, 1, _filtered("null")),
    "dates": (5, 1, _dates),
    "aggregate": (7, 1, _aggregate),
    "distinct": (4, 1, _distinct),
    "group": (8, 1, _group),
    "having": (4, 1, _having),
    "order": (6, 1, _order),
    "top": (6, 1, _top),
    "join": (9, 2, _join),
    "join3": (4, 3, _join3),
    "join-group": (6, 2, _join_group),
    "subquery": (7, 2, _subquery),
    "insert": (5, 1, _insert),
    "update": (6, 1, _update),
    "delete": (4, 1, _delete),
}
# What SQLite keeps for itself wherever a name may stand.
_KEYWORDS = frozenset(
    "add all alter and as autoincrement between case check collate commit constraint create default deferrable delete "
    "distinct drop else escape except exists foreign from group having if in index insert intersect into is isnull "
    "join limit match not notnull null on or order primary references release select set table then to transaction "
    "union unique "
    "update using values when where".split()
)
