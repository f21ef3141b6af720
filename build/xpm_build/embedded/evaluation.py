"""Judging answers: SQL by running it, JSON by comparing values; and the held-back cases themselves."""

import json
import random
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from xpm_build.embedded.examples import Column, Example, Table, draw
from xpm_build.embedded.words import Vocabulary

NUM_CASES = 500
_EVALUATION_SEED = 20_260_101
_MAX_SQLITE_STEPS = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """``by_family`` maps a family to (right, asked); ``failures`` holds (prompt, wanted, got)."""

    num_right: int
    num_cases: int
    by_family: dict[str, tuple[int, int]]
    failures: tuple[tuple[str, str, str], ...]

    @property
    def share(self) -> float:
        return self.num_right / self.num_cases


def held_back_cases(make: Callable[[Vocabulary], Example], count: int = NUM_CASES) -> list[Example]:
    """The evaluation's cases: unseen identifiers, unseen values and unseen phrasings, no prompt twice."""
    rng = random.Random(_EVALUATION_SEED)
    cases: dict[str, Example] = {}
    while len(cases) < count:
        example = draw(make, "eval", rng)
        cases.setdefault(example.prompt, example)
    return list(cases.values())


def judge(cases: Sequence[Example], answers: Sequence[str], is_right: Callable[[Example, str], bool]) -> Score:
    """Count the right answers, by family too."""
    by_family: dict[str, tuple[int, int]] = {}
    failures = []
    for case, answer in zip(cases, answers, strict=True):
        right = is_right(case, answer)
        if not right:
            failures.append((case.prompt, case.completion, answer))
        before = by_family.get(case.family, (0, 0))
        by_family[case.family] = (before[0] + right, before[1] + 1)
    return Score(
        num_right=len(cases) - len(failures),
        num_cases=len(cases),
        by_family=dict(sorted(by_family.items())),
        failures=tuple(failures),
    )


def same_json(example: Example, answer: str) -> bool:
    """Whether the answer is JSON equal to the wanted value: same keys, values and types, whatever the key order."""
    try:
        got = json.loads(answer)
    except (json.JSONDecodeError, RecursionError):
        return False
    return _typed(got) == _typed(json.loads(example.completion))


def _typed(value: object) -> object:
    """A form in which ``1``, ``1.0`` and ``true`` differ."""
    if isinstance(value, dict):
        return {key: _typed(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_typed(each) for each in value]
    return type(value).__name__, value


def executes_alike(example: Example, answer: str) -> bool:
    """Whether the answer returns the gold rows on a generated database that holds the question's boundary values.

    Rows are compared in order where the gold SQL orders, as a multiset otherwise. Two databases are tried, so that an
    answer can't be right by accident.
    """
    statement = answer.strip()
    if not statement.upper().startswith("SELECT"):
        return False
    for seed in (1, 2):
        database = build_database(example, seed)
        try:
            wanted = database.execute(example.completion).fetchall()
            database.set_progress_handler(lambda: 1, _MAX_SQLITE_STEPS)
            got = database.execute(statement).fetchall()
        except (sqlite3.Error, sqlite3.Warning):
            return False
        finally:
            database.close()
        ordered = "ORDER BY" in example.completion
        if (wanted != got) if ordered else (sorted(map(repr, wanted)) != sorted(map(repr, got))):
            return False
    return True


def build_database(example: Example, seed: int) -> sqlite3.Connection:
    """A SQLite database in memory with the example's tables, 40 rows each, drawn around the question's literals."""
    rng = random.Random(seed)
    database = sqlite3.connect(":memory:")
    for table in example.tables:
        types = ", ".join(f'"{column.name}" {"NUMERIC" if column.numeric else "TEXT"}' for column in table.columns)
        database.execute(f'CREATE TABLE "{table.name}" ({types})')
        rows = [_row(table, example, rng, key) for key in range(1, 41)]
        database.executemany(f'INSERT INTO "{table.name}" VALUES ({", ".join("?" * len(table.columns))})', rows)
    return database


def _row(table: Table, example: Example, rng: random.Random, key: int) -> list[str | int]:
    return [_cell(column, example, rng, key) for column in table.columns]


def _cell(column: Column, example: Example, rng: random.Random, key: int) -> str | int:
    numbers = [literal for literal in example.literals if isinstance(literal, int)]
    texts = [literal for literal in example.literals if isinstance(literal, str)]
    if column.numeric:
        if numbers and rng.random() < 0.6:
            return rng.choice(numbers) + rng.choice((-7, -1, 0, 0, 1, 9))
        return key if column.name == "id" and not numbers else rng.randrange(10_000)
    if texts and rng.random() < 0.4:
        return rng.choice(texts)
    return f"text {rng.randrange(12)}"
