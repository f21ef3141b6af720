"""Questions about one table and the SQL that answers them: the material of expert-sql.

A question is assembled from a request (``Show the … of …``), up to two conditions and an ordering, each with many
wordings. Identifiers are mentioned as people do: plural, with a space for an underscore.
"""

import random
from dataclasses import dataclass, field

from xpm_build.embedded.examples import Column, Example, Table, fill
from xpm_build.embedded.words import Vocabulary

_VERBS = (
    "List|Show|Get|Find|Give me|Return|Display|Fetch|Print|Select|Retrieve|Show me|Please list|Please show|I need|"
    "I want|Look up|Can you list|Could you show|Output|Report|Read|Find me|Tell me|Let me see|Pull|Collect"
).split("|")
_REQUESTS = (
    "{verb} the {cols} of {table}|{verb} the {cols} of all {table}|{verb} {cols} from {table}|{verb} the {cols} of the {table}|"
    "{verb} {cols} of {table}|{verb} {cols} of all {table}|{verb} the {cols} for {table}|{verb} all {cols} from {table}|"
    "{verb} the {cols} for all {table}|{verb} the {cols} from the {table} table|{verb} {cols} for every one of the {table}|"
    "What are the {cols} of {table}|What are the {cols} of the {table}|What is the {cols} of the {table}|"
    "What {cols} do the {table} have|Which {cols} are there for {table}|What are the {cols} of all {table}"
).split("|")
_ROW_REQUESTS = (
    "{verb} all {table}|{verb} the {table}|{verb} {table}|{verb} every column of {table}|{verb} all columns of {table}|"
    "{verb} everything from {table}|{verb} all data about {table}|Which {table} are there|{verb} each of the {table}"
).split("|")
_COUNT_REQUESTS = (
    "How many {table} are there|Count the {table}|Count all {table}|What is the number of {table}|How many {table} exist|"
    "{verb} the number of {table}|{verb} the count of {table}|{verb} how many {table} there are|"
    "How many {table} do we have|Give the number of {table}|{verb} a count of all {table}"
).split("|")
_AGGREGATES = {
    "AVG": "average {col}|mean {col}|{col} on average|average value of {col}".split("|"),
    "SUM": "total {col}|sum of {col}|sum of the {col}|overall {col}|combined {col}".split("|"),
    "MAX": "maximum {col}|highest {col}|largest {col}|biggest {col}|greatest {col}|top {col}".split("|"),
    "MIN": "minimum {col}|lowest {col}|smallest {col}|least {col}".split("|"),
}
_AGGREGATE_REQUESTS = (
    "What is the {agg} of {table}|{verb} the {agg} of {table}|{verb} the {agg} of all {table}|"
    "{verb} the {agg} for {table}|What is the {agg} of the {table}|Compute the {agg} of {table}|"
    "Calculate the {agg} of all {table}|What is the {agg} for all {table}|Work out the {agg} of the {table}"
).split("|")
_DISTINCT_REQUESTS = (
    "{verb} the distinct {col} of {table}|{verb} the different {col} of {table}|{verb} the unique {col} of {table}|"
    "{verb} all unique {col} of {table}|What are the different {col} of {table}|What distinct {col} do the {table} have|"
    "{verb} each {col} of {table} once|{verb} the {col} of {table} without duplicates"
).split("|")
_GROUP_REQUESTS = (
    "{verb} the number of {table} per {col}|Count the {table} per {col}|Count the {table} for each {col}|"
    "How many {table} are there for each {col}|How many {table} are there per {col}|"
    "{verb} the number of {table} for every {col}|{verb} how many {table} each {col} has|Count {table} grouped by {col}|"
    "Count {table} by {col}"
).split("|")
_COMPARISONS = {
    ">": "is greater than {n}|is above {n}|is over {n}|is more than {n}|exceeds {n}|is higher than {n}|is bigger than {n}|"
    "is larger than {n}".split("|"),
    "<": "is less than {n}|is below {n}|is under {n}|is lower than {n}|is smaller than {n}|is beneath {n}".split("|"),
    ">=": "is at least {n}|is {n} or more|is no less than {n}|is {n} or above".split("|"),
    "<=": "is at most {n}|is {n} or less|is no more than {n}|is up to {n}|is {n} or below".split("|"),
    "=": "is {n}|equals {n}|is exactly {n}|is equal to {n}".split("|"),
    "!=": "is not {n}|is different from {n}|does not equal {n}|is other than {n}".split("|"),
}
_SHORT_COMPARISONS = {  # after "with"
    ">": "{col} above {n}|{col} over {n}|{col} greater than {n}|more than {n} {col}|{col} higher than {n}|a {col} above {n}".split(
        "|"
    ),
    "<": "{col} below {n}|{col} under {n}|{col} less than {n}|less than {n} {col}|{col} lower than {n}|a {col} under {n}".split(
        "|"
    ),
    ">=": "at least {n} {col}|{col} of at least {n}|{n} or more {col}".split("|"),
    "<=": "at most {n} {col}|{col} of at most {n}|no more than {n} {col}".split("|"),
    "=": "{col} {n}|{col} of {n}|{col} equal to {n}|a {col} of {n}".split("|"),
}
_TEXT_IS = "is {v}|equals {v}|is '{v}'|is equal to {v}|is called {v}|reads {v}".split("|")
_TEXT_WITH = "{col} {v}|{col} '{v}'|{col} equal to {v}|the {col} {v}|a {col} of {v}".split("|")
_TEXT_IS_NOT = "is not {v}|is not '{v}'|is different from {v}|does not equal {v}|is other than {v}".split("|")
_ADJECTIVES = {
    "age": (("older than {n}", ">"), ("younger than {n}", "<"), ("over the age of {n}", ">"), ("aged {n}", "=")),
    "price": (("cheaper than {n}", "<"), ("more expensive than {n}", ">"), ("that cost more than {n}", ">")),
    "height": (("taller than {n}", ">"), ("shorter than {n}", "<")),
    "weight": (("heavier than {n}", ">"), ("lighter than {n}", "<")),
    "length": (("longer than {n}", ">"), ("shorter than {n}", "<")),
    "width": (("wider than {n}", ">"), ("narrower than {n}", "<")),
    "salary": (("that earn more than {n}", ">"), ("earning less than {n}", "<"), ("who earn over {n}", ">")),
    "city": (("from {v}", "="), ("in {v}", "="), ("living in {v}", "="), ("who live in {v}", "=")),
    "country": (("from {v}", "="), ("in {v}", "=")),
}  # fmt: skip
_DESCENDING = (
    "sorted by {col} descending|in descending order of {col}|ordered by {col} from highest to lowest|highest {col} first|"
    "largest {col} first|sorted by falling {col}|by descending {col}"
).split("|")
_ASCENDING = (
    "sorted by {col}|ordered by {col}|in order of {col}|in ascending order of {col}|sorted by {col} ascending|"
    "ordered by {col} from lowest to highest|lowest {col} first|smallest {col} first|by ascending {col}|arranged by {col}"
).split("|")
_ENDINGS = ("", ".", "", ".", " please.")


@dataclass(slots=True)
class _Draft:
    """A question under construction: template text with numbered placeholders, and what they stand for."""

    table: Table
    rng: random.Random
    values: dict[str, str] = field(default_factory=dict)
    literals: list[str | int] = field(default_factory=list)

    def put(self, kind: str, text: str) -> str:
        key = f"{kind}{len(self.values)}"
        self.values[key] = text
        return "{" + key + "}"

    def column(self, column: Column, *, plural: bool = False) -> str:
        spoken = column.name.replace("_", " ") if self.rng.random() < 0.4 else column.name
        return self.put("col", spoken + "s" if plural and not spoken.endswith("s") else spoken)


def make_table(words: Vocabulary) -> Table:
    """A table of 3 to 6 columns, one of them usually the key ``id``."""
    rng = words.rng
    name = words.table()
    name = name + "s" if rng.random() < 0.8 else name
    columns = [Column(name="id", numeric=True)] if rng.random() < 0.7 else []
    wanted = rng.randint(3, 6)
    if words.split == "train" and rng.random() < 0.35:  # the columns that adjectives speak of
        columns += [Column(name=n, numeric=n not in ("city", "country")) for n in rng.sample(sorted(_ADJECTIVES), 1)]
        columns += [Column(name="name", numeric=False)] if rng.random() < 0.6 else []
    columns += [Column(name=words.numeric_column(), numeric=True), Column(name=words.text_column(), numeric=False)]
    while len(columns) < wanted:
        numeric = rng.random() < 0.5
        columns.append(Column(name=words.numeric_column() if numeric else words.text_column(), numeric=numeric))
    unique = {column.name: column for column in columns if column.name != name}
    shuffled = list(unique.values())
    head, tail = (shuffled[:1], shuffled[1:]) if shuffled[0].name == "id" else ([], shuffled)
    rng.shuffle(tail)
    return Table(name=name, columns=tuple(head + tail))


def make_sql(words: Vocabulary) -> Example:
    """Draw one question with its SQL over a fresh schema (one table asked about, sometimes another beside it)."""
    rng = words.rng
    table = make_table(words)
    tables = [table]
    if rng.random() < 0.25:
        other = make_table(words)
        if other.name != table.name:
            tables.insert(rng.randrange(2), other)
    draft = _Draft(table, rng)
    family = rng.choices(list(_FAMILIES), weights=[weight for weight, _ in _FAMILIES.values()])[0]
    question, sql = _FAMILIES[family][1](draft, words)
    question += rng.choice(_ENDINGS) if question[0] not in "WH" else rng.choice(("?", "?", "", "?"))
    question = question.replace("{verb}", rng.choice(_VERBS))
    schema = ", ".join(str(table) for table in tables)
    return Example(
        prompt=f"{fill(question, draft.values)} Schema: {schema}",
        completion=f"{sql};",
        family=family,
        phrasing=question,
        answer_in_words=f"You ask about {table.name}. The columns are {', '.join(c.name for c in table.columns)}.",
        tables=tuple(tables),
        literals=tuple(draft.literals),
    )


def _condition(draft: _Draft, words: Vocabulary, column: Column, *, style: str) -> tuple[str, str]:
    """One condition as (template, SQL); ``style`` is 'is' (after whose/where) or 'with'."""
    rng = draft.rng
    if not column.numeric:
        value = words.value()
        draft.literals.append(value)
        negated = style == "is" and rng.random() < 0.15
        wording = rng.choice(_TEXT_IS_NOT if negated else _TEXT_IS if style == "is" else _TEXT_WITH)
        wording = wording.replace("{v}", draft.put("v", value))
        sql = f"{column.name} {'!=' if negated else '='} '{value}'"
    else:
        number = words.integer()
        draft.literals.append(number)
        choices = _COMPARISONS if style == "is" else _SHORT_COMPARISONS
        operator = rng.choices(list(choices), weights=[4, 4, 2, 2, 3, 1][: len(choices)])[0]
        wording = rng.choice(choices[operator]).replace("{n}", draft.put("n", str(number)))
        sql = f"{column.name} {operator} {number}"
    spoken = draft.column(column)
    if style == "is":
        article = "" if rng.random() < 0.7 else "the "
        return f"{article}{spoken} {wording}", sql
    return wording.replace("{col}", spoken), sql


def _where(draft: _Draft, words: Vocabulary, *, likely: float) -> tuple[str, str]:
    """The conditions of a question as (template, SQL clause), both empty for a question about all rows."""
    rng = draft.rng
    if rng.random() > likely:
        return "", ""
    natural = [column for column in draft.table.columns if column.name in _ADJECTIVES]
    if natural and rng.random() < 0.6:
        column = rng.choice(natural)
        wording, operator = rng.choice(_ADJECTIVES[column.name])
        value: str | int = words.integer() if column.numeric else words.value()
        draft.literals.append(value)
        wording = wording.replace("{n}", draft.put("n", str(value))).replace("{v}", draft.put("v", str(value)))
        literal = str(value) if column.numeric else f"'{value}'"
        return f" {wording}", f" WHERE {column.name} {operator} {literal}"
    column, other = rng.sample(list(draft.table.columns), 2)
    style = rng.choice(("is", "is", "with"))
    text, sql = _condition(draft, words, column, style=style)
    lead = (
        rng.choice(("whose", "where", "for which", "if"))
        if style == "is"
        else rng.choice(("with", "having", "that have"))
    )
    if rng.random() < 0.25:
        joiner = rng.choice(("and", "or"))
        second, second_sql = _condition(draft, words, other, style=style)
        return f" {lead} {text} {joiner} {second}", f" WHERE {sql} {joiner.upper()} {second_sql}"
    return f" {lead} {text}", f" WHERE {sql}"


def _table(draft: _Draft) -> str:
    name = draft.table.name
    return draft.put("table", name if name.endswith("s") or draft.rng.random() < 0.4 else name + "s")


def _select(draft: _Draft, words: Vocabulary) -> tuple[str, str]:
    rng = draft.rng
    chosen = rng.sample(
        list(draft.table.columns), min(rng.choices((1, 2, 3), weights=(5, 4, 1))[0], len(draft.table.columns))
    )
    plural = rng.random() < 0.5
    mentions = [draft.column(column, plural=plural) for column in chosen]
    spoken = mentions[0] if len(mentions) == 1 else f"{', '.join(mentions[:-1])} and {mentions[-1]}"
    request = rng.choice(_REQUESTS).replace("{cols}", spoken).replace("{table}", _table(draft))
    where, clause = _where(draft, words, likely=0.75)
    return request + where, f"SELECT {', '.join(c.name for c in chosen)} FROM {draft.table.name}{clause}"


def _rows(draft: _Draft, words: Vocabulary) -> tuple[str, str]:
    request = draft.rng.choice(_ROW_REQUESTS).replace("{table}", _table(draft))
    where, clause = _where(draft, words, likely=0.8)
    return request + where, f"SELECT * FROM {draft.table.name}{clause}"


def _count(draft: _Draft, words: Vocabulary) -> tuple[str, str]:
    request = draft.rng.choice(_COUNT_REQUESTS).replace("{table}", _table(draft))
    where, clause = _where(draft, words, likely=0.75)
    return request + where, f"SELECT COUNT(*) FROM {draft.table.name}{clause}"


def _aggregate(draft: _Draft, words: Vocabulary) -> tuple[str, str]:
    rng = draft.rng
    column = rng.choice([c for c in draft.table.columns if c.numeric])
    function = rng.choice(list(_AGGREGATES))
    spoken = rng.choice(_AGGREGATES[function]).replace("{col}", draft.column(column))
    request = rng.choice(_AGGREGATE_REQUESTS).replace("{agg}", spoken).replace("{table}", _table(draft))
    where, clause = _where(draft, words, likely=0.5)
    return request + where, f"SELECT {function}({column.name}) FROM {draft.table.name}{clause}"


def _order(draft: _Draft, words: Vocabulary) -> tuple[str, str]:
    rng = draft.rng
    question, sql = rng.choice((_select, _rows))(draft, words)
    column = rng.choice(draft.table.columns)
    descending = rng.random() < 0.5
    wording = rng.choice(_DESCENDING if descending else _ASCENDING).replace("{col}", draft.column(column))
    return (
        f"{question}{rng.choice((' ', ', '))}{wording}",
        f"{sql} ORDER BY {column.name}{' DESC' if descending else ''}",
    )


def _top(draft: _Draft, words: Vocabulary) -> tuple[str, str]:
    rng = draft.rng
    column = rng.choice([c for c in draft.table.columns if c.numeric])
    limit = rng.randint(1, 20)
    highest = rng.random() < 0.6
    wording = rng.choice(
        ("with the highest {col}", "with the largest {col}", "with the most {col}", "with the greatest {col}")
        if highest
        else ("with the lowest {col}", "with the smallest {col}", "with the least {col}")
    ).replace("{col}", draft.column(column))
    count = draft.put("n", str(limit))
    table = _table(draft)
    what = "*"
    if rng.random() < 0.5:
        chosen = rng.choice(draft.table.columns)
        what = chosen.name
        request = rng.choice(("{verb} the {cols} of the {n} {table}", "{verb} {cols} of the {n} {table}")).replace(
            "{cols}", draft.column(chosen, plural=rng.random() < 0.5)
        )
    else:
        request = rng.choice(("{verb} the {n} {table}", "Which {n} {table} are those", "{verb} {n} {table}"))
    request = request.replace("{n}", count).replace("{table}", table)
    direction = " DESC" if highest else ""
    return (
        f"{request} {wording}",
        f"SELECT {what} FROM {draft.table.name} ORDER BY {column.name}{direction} LIMIT {limit}",
    )


def _distinct(draft: _Draft, words: Vocabulary) -> tuple[str, str]:
    column = draft.rng.choice(draft.table.columns)
    spoken = draft.column(column, plural=draft.rng.random() < 0.6)
    request = draft.rng.choice(_DISTINCT_REQUESTS).replace("{col}", spoken).replace("{table}", _table(draft))
    return request, f"SELECT DISTINCT {column.name} FROM {draft.table.name}"


def _group(draft: _Draft, words: Vocabulary) -> tuple[str, str]:
    column = draft.rng.choice(draft.table.columns)
    request = draft.rng.choice(_GROUP_REQUESTS).replace("{col}", draft.column(column)).replace("{table}", _table(draft))
    return request, f"SELECT {column.name}, COUNT(*) FROM {draft.table.name} GROUP BY {column.name}"


_FAMILIES = {
    "select": (30, _select),
    "rows": (12, _rows),
    "count": (12, _count),
    "aggregate": (14, _aggregate),
    "order": (10, _order),
    "top": (8, _top),
    "distinct": (6, _distinct),
    "group": (8, _group),
}
