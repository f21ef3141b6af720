"""SQL: the answer must return the gold rows and leave the gold tables, on three databases made
around the question's values.

Tables and views are compared by their names, columns and rows; the types of columns do not matter.

Where the gold statement finds and changes nothing in them, more are made until it does.

Rows are compared in order where the gold statement orders, as a multiset otherwise; where it returns none, what an
answer returns does not matter. The third database has few values, so that its groups are large; it is left out where
the gold statement orders, for equal values have no order. SQLite keeps an answer from reading or writing anything but
its own memory: ``ATTACH`` is refused, steps and lengths are bounded.
"""

import random
import re
import sqlite3
from collections.abc import Sequence
from typing import Any

from xpm_build.judges.checks import LITERALS, NAME, CheckForm, list_of, object_of, tuple_of
from xpm_build.judges.language import Language, Row, Verdict
from xpm_build.judges.workers import judge_in_workers
from xpm_build.rows import completion_of

_MAX_STEPS = 2_000_000
_MAX_ROWS = 10_000
_MALFORMED = ("syntax error", "incomplete input", "unrecognized token")
_NUM_ROWS = 30
_FEW_VALUES = 3  # a seed
_MOST_SEEDS = 20  # behind the third, most values are the question's own
_TYPES = {"key": "INTEGER PRIMARY KEY", "reference": "INTEGER", "number": "NUMERIC", "text": "TEXT", "date": "TEXT"}


def judge_sql(rows: Sequence[Row], answers: Sequence[str]) -> list[Verdict]:
    jobs = [
        {"check": row["check"], "gold": completion_of(row), "answer": answer}
        for row, answer in zip(rows, answers, strict=True)
    ]
    return judge_in_workers(judge_one, jobs)


def judge_one(job: dict[str, Any]) -> tuple[bool, bool, str]:
    """(right, parses, reason); runs in the sandbox."""
    gold, answer = job["gold"].strip(), job["answer"].strip()
    if not answer:
        return False, False, "nothing was written"
    is_ordered, is_telling = "ORDER BY" in gold.upper(), False
    for seed in range(1, _MOST_SEEDS):
        if seed > _FEW_VALUES and is_telling:
            break
        if seed == _FEW_VALUES and is_ordered:
            continue
        wanted, wanted_tables = _effect(job["check"], seed, gold, guarded=False)
        is_telling |= _tells(job["check"], seed, wanted, wanted_tables)
        try:
            got, tables = _effect(job["check"], seed, answer, guarded=True)
        except sqlite3.Error as error:
            return False, not any(each in str(error) for each in _MALFORMED), str(error)
        if wanted is not None and _comparable(wanted, is_ordered) != _comparable(got or [], is_ordered):
            return False, True, "other rows"
        if tables != wanted_tables:
            return False, True, "other tables"
    return True, True, ""


def _tells(check: dict[str, Any], seed: int, rows: list[Any] | None, tables: list[list[Any]]) -> bool:
    """Whether the gold statement found or changed anything in a database: else any statement
    without effect is as good."""
    if rows is None:
        return tables != _effect(check, seed, "SELECT 0", guarded=False)[1]
    return any(value for row in rows for value in row)


def _comparable(rows: list[Any], is_ordered: bool) -> list[str]:
    texts = [repr(row) for row in rows]
    return texts if is_ordered else sorted(texts)


def _effect(
    check: dict[str, Any], seed: int, statement: str, *, guarded: bool
) -> tuple[list[Any] | None, list[list[Any]]]:
    """(the rows that the statement returns, None if it returns none; all tables and views afterwards)."""
    database = build_database(check, seed)
    try:
        if guarded:
            database.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)
            database.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, 1 << 20)
            database.set_progress_handler(lambda: 1, _MAX_STEPS)
        cursor = database.execute(statement)
        rows = None if cursor.description is None else cursor.fetchmany(_MAX_ROWS)
        return rows, _contents(database)
    finally:
        database.close()


def _contents(database: sqlite3.Connection) -> list[list[Any]]:
    """Name, columns and rows of every table and view."""
    names = "SELECT name FROM sqlite_master WHERE type IN ('table', 'view') AND name NOT LIKE 'sqlite_%'"
    contents: list[list[Any]] = []
    for (name,) in database.execute(names).fetchall():
        cursor = database.execute('SELECT * FROM "{}"'.format(name.replace('"', '""')))
        contents.append([name.lower(), [each[0].lower() for each in cursor.description], cursor.fetchmany(_MAX_ROWS)])
    return sorted(contents)


def build_database(check: dict[str, Any], seed: int) -> sqlite3.Connection:
    """A SQLite database in memory with the case's tables, drawn around the question's literals."""
    rng, few, own = random.Random(seed), seed == _FEW_VALUES, seed > _FEW_VALUES
    keys = _keys(check["literals"])
    database = sqlite3.connect(":memory:", isolation_level=None)
    for name, columns in check["tables"]:
        types = ", ".join(f'"{column}" {_TYPES[kind]}' for column, kind in columns)
        database.execute(f'CREATE TABLE "{name}" ({types})')
        rows = [[_cell(kind, check["literals"], rng, key, few, own) for _, kind in columns] for key in keys]
        database.executemany(f'INSERT INTO "{name}" VALUES ({", ".join("?" * len(columns))})', rows)
    return database


def _keys(literals: list[Any]) -> list[int]:
    """1 to 30, the last of them replaced by what the question names beyond: "order 4711"
    must be there to be changed."""
    named = sorted({each for each in literals if isinstance(each, int) and _NUM_ROWS < each < 1 << 63})
    return [*range(1, _NUM_ROWS + 1 - len(named)), *named][:_NUM_ROWS]


def _cell(kind: str, literals: list[Any], rng: random.Random, key: int, few: bool, own: bool) -> str | int | None:
    """One value: often a literal of the question, its neighbour, or what a pattern of it
    would match; sometimes NULL."""
    if few and kind not in ("key", "reference") and rng.random() < 0.6:
        return 3 if kind == "number" else "2015-05-15" if kind == "date" else "text"
    if kind == "key":
        return key
    if kind == "reference":
        numbers = [each for each in literals if isinstance(each, int)]
        return rng.choice(numbers) + rng.choice((-1, 0, 1)) if numbers and rng.random() < 0.2 else rng.randint(1, 20)
    if rng.random() < 0.12:
        return None
    if own and rng.random() < 0.8 and (fitting := [each for each in literals if _fits(each, kind)]):
        return rng.choice(fitting)
    if kind == "number":
        numbers = [each for each in literals if isinstance(each, int)]
        near = numbers and rng.random() < 0.6
        return (
            rng.choice(numbers) + rng.choice((-7, -1, 0, 0, 1, 9))
            if near
            else rng.choice((rng.randrange(10_000), rng.randrange(9)))
        )
    texts = [each for each in literals if isinstance(each, str)]
    if kind == "date":
        dates = [each for each in texts if _is_date(each)]
        return (
            _near_date(rng.choice(dates), rng)
            if dates and rng.random() < 0.6
            else f"20{rng.randint(10, 24)}-0{rng.randint(1, 9)}-15"
        )
    words = [each for each in texts if not _is_date(each)]
    if words and rng.random() < 0.55:
        word = rng.choice(words)
        return rng.choice((word, word, f"{word} two", f"one {word}", f"x{word}x", word[:-1]))
    return f"text {rng.randrange(8)}"


def _fits(literal: str | int, kind: str) -> bool:
    if isinstance(literal, int):
        return kind == "number"
    return kind == ("date" if _is_date(literal) else "text")


def _is_date(text: str) -> bool:
    return len(text) == 10 and text[4] == text[7] == "-"


def _near_date(date: str, rng: random.Random) -> str:
    return rng.choice((date, date, f"{int(date[:4]) + 1}{date[4:]}", f"{int(date[:4]) - 1}{date[4:]}", date[:8] + "14"))


def syntax_error(text: str) -> str:
    import sqlglot

    try:
        sqlglot.parse_one(text, dialect="sqlite")
    except RecursionError as error:
        return str(error)
    except sqlglot.errors.SqlglotError as error:
        return re.sub(r"\x1b\[\d+m", "", str(error)).splitlines()[0]
    return ""


_TABLES = list_of(tuple_of(NAME, list_of(tuple_of(NAME, {"enum": list(_TYPES)}), least=1)), least=1)
SQL = Language(
    name="sql",
    judge=judge_sql,
    check=CheckForm(object_of({"tables": _TABLES, "literals": LITERALS})),
    syntax_error=syntax_error,
    comment="-- ",
)
