"""Everyday questions about tables with real words, and the SQLite statement that answers or does what is asked.

``check`` is that of the domain ``sql``: the tables that the request shows, and the literals that it names.
"""

import re
from collections.abc import Callable
from pathlib import Path

from xpm_build.domains.case import Draft
from xpm_build.domains.everyday import sql_changes, sql_groups, sql_joins, sql_parents, sql_plain, sql_special
from xpm_build.domains.everyday.asking import Asker, Unfit
from xpm_build.domains.everyday.schema import Table, draw_schema, localized, written
from xpm_build.domains.speech import ENGLISH, Speaker
from xpm_build.domains.words import Vocabulary

PHRASES = Path(__file__).with_name("phrases") / "data.toml"
_Make = Callable[[Asker], tuple[str, str]]
_NO_SCHEMA = ("named", "define")


def make_everyday_sql(words: Vocabulary, speaker: Speaker) -> Draft:
    """Draw one request with its SQL."""
    rng = words.rng
    schema, is_foreign = draw_schema(words), speaker.language != ENGLISH
    if is_foreign and rng.random() < 0.35:
        schema = localized(schema, speaker.language)
    asker = Asker(rng, speaker, schema)
    families = {name: each for name, each in _FAMILIES.items() if not is_foreign or each[2]}
    family, request, sql = _question(asker, families)
    request = closed(asker, request)
    is_bare = bool(asker.missing) or (family in _NO_SCHEMA and rng.random() < 0.85)
    if family not in ("define", "dates-grouped") and rng.random() < 0.02 and not is_foreign:
        request = speaker.say("dialect", request=request)
    shown = _shown(asker)
    prompt = request if is_bare else _placed(asker, request, shown)
    first = shown[0]
    return (
        prompt,
        f"{sql};",
        family,
        {
            "tables": [[table.name, [[each.name, each.judged] for each in table.columns]] for table in shown],
            "literals": asker.literals,
        },
        speaker.say("words", table=first.name, cols=", ".join(each.name for each in first.columns)),
    )


def _question(asker: Asker, families: dict[str, tuple[float, _Make, bool]]) -> tuple[str, str, str]:
    """(family, request, SQL) of the first family drawn that the schema has something for."""
    frames = list(asker.speaker.frames)
    while True:
        family, (_, make, _) = asker.rng.choices(
            list(families.items()), weights=[each[0] for each in families.values()]
        )[0]
        try:
            return family, *make(asker)
        except Unfit:
            asker.shown.clear()
            asker.missing.clear()
            asker.literals.clear()
            asker.speaker.frames[:] = frames


def _shown(asker: Asker) -> list[Table]:
    """The tables that a question needs, and now and then others of the world."""
    others = [each for each in asker.schema.tables.values() if each not in asker.shown + asker.missing]
    count = asker.rng.choices((0, 1, 2), weights=(76, 18, 6))[0]
    tables = [*asker.shown, *asker.rng.sample(others, min(count or not asker.shown, len(others)))]
    if len(tables) > 1 and asker.rng.random() < 0.5:
        asker.rng.shuffle(tables)
    return tables


def _placed(asker: Asker, request: str, tables: list[Table]) -> str:
    """The request with its schema before, behind or around it."""
    form = asker.rng.choices(("plain", "typed", "ddl", "prose", "lines"), weights=(66, 8, 11, 8, 7))[0]
    kind = {"ddl": "placed_ddl", "prose": "placed_prose"}.get(form, "placed")
    schema = written(tables, form, asker.rng)
    return asker.speaker.say(kind, request=request, schema=schema)


def closed(asker: Asker, request: str) -> str:
    """A request as its writer begins and ends it."""
    rng = asker.rng
    request = re.sub(r"\b(all the|all|every one of the|each of the|our|the) (every(?:one|body))\b", r"\2", request)
    request = re.sub(" +", " ", request).strip().replace(" ,", ",").replace(" ?", "?")
    request = re.sub(r"\ba~ (?=(\W?\w))", lambda match: "an " if match[1][-1].lower() in "aeiou" else "a ", request)
    if asker.speaker.language == ENGLISH and rng.random() < 0.07:
        request = asker.speaker.say(
            "chatty", request=request[0].lower() + request[1:] if not request[:2].isupper() else request
        )
    first = request.split(" ", 1)[0].strip("\"',.:")
    draw = rng.random()
    if draw < 0.8 and not _is_fixed(asker, first):
        request = (request[0].lower() if draw < 0.5 else request[0].upper()) + request[1:]
    if request[-1] in "?.!:" or asker.speaker.careless == "lower":
        return request.rstrip(".") if asker.speaker.careless == "lower" else request
    first = request.split(" ", 1)[0].lower()
    if first in _QUESTIONS and "?" in request:
        return request
    if first in _QUESTIONS:
        return request + rng.choice(("?", "?", "?", ""))
    return request + (rng.choice((".", "", "")) if rng.random() < 0.7 else rng.choice(("", "!", " please", "")))


def _is_fixed(asker: Asker, word: str) -> bool:
    """Whether a word is a value or an identifier, whose capitals matter."""
    identifiers = {each.name for table in asker.shown for each in table.columns} | {each.name for each in asker.shown}
    return (
        word in identifiers
        or word[1:] != word[1:].lower()
        or any(str(each).startswith(word) for each in asker.literals)
    )


_QUESTIONS = frozenset(
    "what what's which how who who's where is are can could do does would will whose qué cuál cuáles "
    "cuántos quel quels quelle quelles combien welche wie was wer wieviele kannst peux-tu pouvez-vous "
    "puedes podrías quanti quali qual puoi potresti quantos quais pode poderia".split()
)

# family -> weight, what makes it, whether it is worded in other languages too
_FAMILIES: dict[str, tuple[float, _Make, bool]] = {
    "rows": (13, sql_plain.rows, True),
    "select": (10, sql_plain.select, True),
    "who": (2, sql_plain.who, False),
    "everyone": (2, sql_plain.everyone, False),
    "two": (7, sql_plain.two, True),
    "like": (2.2, sql_plain.of_form("like"), False),
    "null": (2.2, sql_plain.of_form("null"), False),
    "in": (1.6, sql_plain.of_form("in"), False),
    "between": (1.8, sql_plain.of_form("between"), True),
    "named": (2.5, sql_plain.named, False),
    "count": (6, sql_plain.count, True),
    "aggregate": (5.5, sql_groups.aggregate, True),
    "worth": (6, sql_groups.worth, False),
    "measured": (14, sql_groups.measured, False),
    "group": (6, sql_groups.group_count, True),
    "group-aggregate": (5.5, sql_groups.group_aggregate, True),
    "group-top": (3, sql_groups.group_top, False),
    "having": (3.5, sql_groups.having, False),
    "superlative": (6.5, sql_plain.superlative, False),
    "top": (4.5, sql_plain.top, True),
    "order": (4, sql_plain.order, True),
    "distinct": (3, sql_groups.distinct, False),
    "average": (2.5, sql_groups.average, False),
    "join": (2.5, sql_joins.child_with_parent, False),
    "join-of": (4.5, sql_joins.child_of_parent, False),
    "join-best": (1, sql_joins.best_of_parent, False),
    "join-parents": (3, sql_parents.parents_of_children, False),
    "join-count": (3, sql_parents.count_per_parent, False),
    "join-sum": (3, sql_parents.sum_per_parent, False),
    "join-having": (2, sql_parents.parents_having, False),
    "join-attribute": (1.5, sql_parents.per_attribute, False),
    "without": (2.5, sql_parents.without, True),
    "exists": (0.6, sql_parents.exists, False),
    "join-three": (3, sql_joins.three, False),
    "self-join": (1, sql_joins.self_join, False),
    "sets": (7, sql_joins.sets, False),
    "case": (1.2, sql_special.case, False),
    "window": (1.6, sql_special.ranks, False),
    "running": (1.2, sql_special.running, False),
    "dates-grouped": (1, sql_special.dated, False),
    "cte": (0.5, sql_special.common_table, False),
    "insert": (4, sql_changes.insert, True),
    "update": (4, sql_changes.update_one, True),
    "update-many": (3, sql_changes.update_many, False),
    "delete": (3.5, sql_changes.delete, True),
    "define": (2, sql_changes.define, False),
    "view": (0.3, sql_changes.view, False),
}
