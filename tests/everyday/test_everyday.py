"""The requests written by hand: each answer is right by its own check, and one that does nothing is wrong."""

from pathlib import Path

import pytest

from tests.support.sandbox import needs_sandbox
from xpm_build.judges import judge_of
from xpm_build.judges.judging import require_judgeable
from xpm_build.judges.languages import LANGUAGES
from xpm_build.rows import completion_of, read_rows

IDLE = {
    "sql": "SELECT 1 WHERE 0",
    "neo4j": "MATCH (n) WHERE 1 = 2 RETURN n",
    "json": "null",
    "python": "def f():\n    pass",
    "typescript": "function f(): void {}",
    "rust": "fn f() {}",
}


@needs_sandbox
@pytest.mark.parametrize("language", IDLE)
def test_the_answers_are_right_and_an_idle_one_is_not(language):
    rows = list(read_rows(Path(__file__).with_name(f"{language}.jsonl")))
    assert len(rows) >= 100
    assert len({row["prompt"] for row in rows}) == len(rows)
    require_judgeable(language, rows)
    if language == "neo4j":
        rows = rows[::4]  # to make a graph takes a tenth of a second, and each takes several
    compiler = LANGUAGES[language].compiler
    if compiler and not compiler():
        pytest.skip("no compiler here")
    judge = judge_of(language)
    found = judge(rows, [completion_of(row) for row in rows])
    assert [row["prompt"] for row, verdict in zip(rows, found, strict=True) if not verdict.right] == []
    assert not any(verdict.right for verdict in judge(rows, [IDLE[language]] * len(rows)))
