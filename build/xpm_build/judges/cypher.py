"""Cypher: the answer must return the gold rows and leave the gold graph, on a Kuzu database made
around the question's values.

A change has to leave the gold graph on a second one too, which has none of these values: there
merging has something to add.

Kuzu wants its schema declared and a key per node, which generated Cypher does not mention: each node has a hidden
serial key, and the case's names are quoted before a query runs, so that a label may be a word that Kuzu reserves.
"""

import random
import re
from collections.abc import Sequence
from functools import cache
from itertools import pairwise
from typing import Any

from xpm_build.judges.checks import LITERALS, NAME, CheckForm, list_of, object_of, tuple_of
from xpm_build.judges.language import Language, Row, Verdict
from xpm_build.judges.workers import judge_in_persistent_worker, judge_in_workers
from xpm_build.rows import completion_of

_NUM_NODES = 24  # more than any limit that is asked for
_HIDDEN = "xpm_key"
_TOKENS = re.compile(r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|`[^`]*`|//[^\n]*|/\*.*?\*/|[A-Za-z_]\w*|.""", re.DOTALL)
PRELOADED = ("kuzu",)
"""What a judge's process imports once, not in every child."""
_MOST_SEEDS = 12
_NOTHING = ("[0]", "[None]")
_SEVERAL = "more than one statement"


def judge_cypher(rows: Sequence[Row], answers: Sequence[str]) -> list[Verdict]:
    jobs = [
        {"check": row["check"], "gold": completion_of(row), "answer": answer}
        for row, answer in zip(rows, answers, strict=True)
    ]
    return judge_in_workers(judge_one, jobs)


def judge_one(job: dict[str, Any]) -> tuple[bool, bool, str]:
    """(right, parses, reason); runs in the sandbox."""
    gold, answer = job["gold"].strip(), job["answer"].strip().rstrip(";")
    if not answer:
        return False, False, "nothing was written"
    if _is_several(answer):
        return False, False, _SEVERAL
    is_ordered, returns = "ORDER BY" in gold.upper(), _returns(gold)
    checks = {True: job["check"], False: {**job["check"], "literals": []}}

    @cache
    def effect(has_literals: bool, seed: int, query: str) -> tuple[list[str], list[str]]:
        return _effect(checks[has_literals], query, seed)

    def tells(has_literals: bool, seed: int) -> bool:
        """Whether the gold query finds or changes anything there: else any query without effect is as good."""
        rows, graph = effect(has_literals, seed, gold)
        if returns:  # what changes something returns that
            return any(row not in _NOTHING for row in rows)
        return graph != effect(has_literals, seed, "RETURN 0")[1]

    is_told = not returns and tells(False, 1)
    seed = 1 if is_told else next((each for each in range(1, _MOST_SEEDS) if tells(True, each)), 1)
    for has_literals in (True,) if returns else (True, False):
        wanted, wanted_graph = effect(has_literals, seed, gold)
        try:
            got, graph = _effect(checks[has_literals], answer, seed)
        except RuntimeError as error:
            return False, not str(error).startswith("Parser exception"), str(error)
        if not is_ordered:
            wanted, got = sorted(wanted), sorted(got)
        if returns and wanted != got:
            return False, True, "other rows"
        if graph != wanted_graph:
            return False, True, "another graph"
    return True, True, ""


def _returns(query: str) -> bool:
    return any(token.upper() == "RETURN" for token in _TOKENS.findall(query))


def _effect(check: dict[str, Any], query: str, seed: int) -> tuple[list[str], list[str]]:
    """(the rows that a query returns; all nodes and relationships afterwards)."""
    import kuzu

    database = kuzu.Database(":memory:", buffer_pool_size=64 << 20, max_num_threads=1, max_db_size=1 << 28)
    connection: Any = kuzu.Connection(database, num_threads=1)
    connection.set_query_timeout(1500)
    _fill(connection, check, seed)
    names = _names(check)
    result = connection.execute(_quote(query, names))
    returned = [repr([_plain(each) for each in row]) for row in result.get_all()] if _returns(query) else []
    graph: list[str] = []
    for label, properties in check["nodes"]:
        listed = ", ".join(f"n.`{name}`" for name, _ in properties)
        graph += sorted(
            repr([label, *row]) for row in connection.execute(f"MATCH (n:`{label}`) RETURN {listed}").get_all()
        )
    for type_, start, end, properties in check["relationships"]:
        ends = [
            f"{variable}.`{name}`"
            for variable, label in (("a", start), ("b", end))
            for name in _properties(check, label)
        ]
        listed = ", ".join([*ends, *(f"r.`{name}`" for name, _ in properties)])
        query = f"MATCH (a:`{start}`)-[r:`{type_}`]->(b:`{end}`) RETURN {listed}"
        graph += sorted(repr([type_, *row]) for row in connection.execute(query).get_all())
    return returned, graph


def _plain(value: Any) -> Any:
    """A node without what Kuzu adds to it."""
    if isinstance(value, dict):
        return sorted((key, each) for key, each in value.items() if key not in ("_id", "_label", _HIDDEN))
    return value


def _properties(check: dict[str, Any], label: str) -> list[str]:
    return next([name for name, _ in properties] for each, properties in check["nodes"] if each == label)


def _names(check: dict[str, Any]) -> set[str]:
    names = {label for label, _ in check["nodes"]} | {each[0] for each in check["relationships"]}
    names |= {name for _, properties in check["nodes"] for name, _ in properties}
    return names | {name for *_, properties in check["relationships"] for name, _ in properties}


def _quote(query: str, names: set[str]) -> str:
    """The query with the case's names in backquotes, outside of texts."""
    return "".join(f"`{token}`" if token in names else token for token in _TOKENS.findall(query))


def _fill(connection: Any, check: dict[str, Any], seed: int) -> None:
    rng = random.Random(seed)
    for label, properties in check["nodes"]:
        columns = ", ".join(f"`{name}` {'INT64' if numeric else 'STRING'}" for name, numeric in properties)
        connection.execute(f"CREATE NODE TABLE `{label}`({_HIDDEN} SERIAL, {columns}, PRIMARY KEY({_HIDDEN}))")
        rows = [
            {name: _cell(numeric, check["literals"], rng) for name, numeric in properties} for _ in range(_NUM_NODES)
        ]
        patterns = (
            ", ".join(f"`{name}`: {_literal(value)}" for name, value in row.items() if value is not None)
            for row in rows
        )
        connection.execute("CREATE " + ", ".join(f"(:`{label}` {{{pattern}}})" for pattern in patterns))
    for type_, start, end, properties in check["relationships"]:
        columns = "".join(f", `{name}` {'INT64' if numeric else 'STRING'}" for name, numeric in properties)
        connection.execute(f"CREATE REL TABLE `{type_}`(FROM `{start}` TO `{end}`{columns})")
        pairs = ", ".join(_pair(check["literals"], rng) for _ in range(_NUM_NODES))
        written = ", ".join(f"`{name}`: p.{'number' if numeric else 'word'}" for name, numeric in properties)
        connection.execute(
            f"UNWIND [{pairs}] AS p MATCH (a:`{start}`), (b:`{end}`) WHERE a.{_HIDDEN} = p.a AND b.{_HIDDEN} = p.b "
            f"CREATE (a)-[:`{type_}` {{{written}}}]->(b)"
        )


def _pair(literals: list[Any], rng: random.Random) -> str:
    """Two nodes' keys, and what a property between them may be; a few nodes of a label begin no relationship."""
    start, end, number = rng.randrange(_NUM_NODES - 3), rng.randrange(_NUM_NODES), _cell(True, literals, rng) or 0
    return f"{{a: {start}, b: {end}, number: {number}, word: {_literal(_cell(False, literals, rng) or '')}}}"


def _literal(value: str | int) -> str:
    return str(value) if isinstance(value, int) else "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _cell(numeric: bool, literals: list[Any], rng: random.Random) -> str | int | None:
    if rng.random() < 0.1:
        return None
    if numeric:
        numbers = [each for each in literals if isinstance(each, int)]
        return (
            rng.choice(numbers) + rng.choice((-5, -1, 0, 0, 1, 8))
            if numbers and rng.random() < 0.6
            else rng.randrange(9000)
        )
    words = [each for each in literals if isinstance(each, str)]
    if words and rng.random() < 0.6:
        word = rng.choice(words)
        return rng.choice((word, word, f"{word} two", f"one {word}", word[:-1]))
    return f"text {rng.randrange(8)}"


def syntax_error(query: str) -> str:
    """Why ``query`` is no Cypher, or more than one statement; "" if it is one. Labels and properties need not exist.

    Raises:
        SandboxError: Kuzu, which reads what a model wrote, cannot be confined here.
    """
    if _is_several(query):
        return _SEVERAL
    return judge_in_persistent_worker(parse_one, {"query": query}).reason


def parse_one(job: dict[str, Any]) -> tuple[bool, bool, str]:
    """(parses, parses, reason); runs in the sandbox. ``EXPLAIN`` runs nothing of a single statement."""
    import kuzu

    query = job["query"]
    tokens = _TOKENS.findall(query)
    names = {name for before, name in pairwise(tokens) if before in ":." and name.isidentifier()}
    database = kuzu.Database(":memory:", buffer_pool_size=64 << 20, max_num_threads=1, max_db_size=1 << 28)
    try:
        kuzu.Connection(database, num_threads=1).execute(f"EXPLAIN {_quote(query, names)}")
    except RuntimeError as error:  # that a label is not known is no matter of syntax
        if str(error).startswith("Parser exception"):
            return False, False, str(error)
    return True, True, ""


def _is_several(query: str) -> bool:
    """Whether a semicolon, outside of texts and comments, stands before the end."""
    return ";" in _TOKENS.findall(query.strip().rstrip(";"))


_PROPERTIES = list_of(tuple_of(NAME, {"type": "boolean"}))
CYPHER = Language(
    name="neo4j",
    judge=judge_cypher,
    check=CheckForm(
        object_of(
            {
                "nodes": list_of(tuple_of(NAME, _PROPERTIES), least=1),
                "relationships": list_of(tuple_of(NAME, NAME, NAME, _PROPERTIES)),
                "literals": LITERALS,
            }
        )
    ),
    syntax_error=syntax_error,
    is_parsed_apart=True,
    comment="// ",
)
