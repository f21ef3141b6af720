"""What a judge says, and which judge belongs to which language."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from typing import Any

from xpm_build.dataset.rows import completion_of, prompt_of
from xpm_build.errors import BuildError, EvaluationError
from xpm_build.judges.checks import problem_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """``parses``: the answer is well-formed. ``right``: it does what the gold answer does. ``reason``: why not, in one line."""

    right: bool
    parses: bool
    reason: str = ""


Row = dict[str, Any]
Judge = Callable[[Sequence[Row], Sequence[str]], list[Verdict]]
"""Rows of a data set (the gold answer and ``check`` are read) and an answer for each."""

_JUDGES = {
    "json": ("xpm_build.judges.json_value", "judge_json"),
    "sql": ("xpm_build.judges.sql", "judge_sql"),
    "neo4j": ("xpm_build.judges.cypher", "judge_cypher"),
    "python": ("xpm_build.judges.python", "judge_python"),
    "typescript": ("xpm_build.judges.typescript", "judge_typescript"),
    "rust": ("xpm_build.judges.rust", "judge_rust"),
    "text": ("xpm_build.judges.text", "judge_text"),
}
LANGUAGES = tuple(_JUDGES)
EXECUTED = ("sql", "neo4j", "python", "typescript", "rust")


def judge_of(language: str, *, execution: bool = True) -> Judge:
    """The judge of a language; ``text`` compares words, ``json`` values, the others run the answers.

    What has no check, or is not to be run, is compared with the gold answer as text, and the verdict's reason says so.

    Args:
        execution: False runs nothing.
    Raises:
        BuildError: no judge knows the language.
    """
    _require_known(language)
    module, name = _JUDGES[language]
    judge: Judge = getattr(import_module(module), name)
    return partial(_judge_code, judge, language, execution) if language in EXECUTED else judge


def measure_of(language: str, rows: Sequence[Row] = (), *, execution: bool = True) -> str:
    """What a judge's "right" means here: what a report calls the figure.

    Args:
        rows: what was judged, for whether all of it could be run.
    Raises:
        BuildError: no judge knows the language.
    """
    _require_known(language)
    if language not in EXECUTED:
        return {"json": "equal values", "text": "equal words"}[language]
    if not execution:
        return "equal text (nothing was run)"
    checked = [has_check(row) for row in rows]
    if checked and not any(checked):
        return "equal text (no checks to run)"
    if language in ("typescript", "rust") and not import_module(_JUDGES[language][0]).compiler():
        return "equal text (no compiler here)"
    return "execution accuracy" if all(checked) else "execution accuracy (answers without a check compared as text)"


def _require_known(language: str) -> None:
    if language not in _JUDGES:
        raise BuildError(
            f"there is no judge for {language!r}", hint=f"set evaluation.language to one of {', '.join(LANGUAGES)}"
        )


def has_check(row: Row) -> bool:
    """Whether a row says how its answer is to be run."""
    return isinstance(row.get("check"), dict)


def require_sound_checks(language: str, rows: Sequence[Row]) -> None:
    """
    Raises:
        EvaluationError: a row's check is malformed; names its prompt and the key.
    """
    for row in rows:
        if has_check(row) and (problem := problem_of(language, row["check"])):
            raise EvaluationError(
                f"an answer cannot be run by its check: {problem}",
                context=f"its prompt is {prompt_of(row)[:80]!r}",
                hint='the form is in docs/training.md, "How an answer is run"; find all such rows with `xpm dataset validate`',
            )


def require_judgeable(language: str, rows: Sequence[Row], *, execution: bool = True) -> None:
    """Refuse, before any answer is made, rows that their judge would refuse afterwards.

    Raises:
        EvaluationError: a check is malformed, or a gold answer is not JSON.
    """
    if language == "json":
        judge_of(language)(rows, [completion_of(row) for row in rows])
    elif execution:
        require_sound_checks(language, rows)


def _judge_code(
    judge: Judge, language: str, execution: bool, rows: Sequence[Row], answers: Sequence[str]
) -> list[Verdict]:
    """Run what can be run; compare the rest as text."""
    from xpm_build.judges.syntax import judge_syntax

    pairs = list(zip(rows, answers, strict=True))
    run = [number for number, row in enumerate(rows) if execution and has_check(row)]
    require_sound_checks(language, [rows[number] for number in run])
    read = sorted(set(range(len(pairs))) - set(run))
    verdicts: dict[int, Verdict] = {}
    if run:
        found = judge([pairs[number][0] for number in run], [pairs[number][1] for number in run])
        verdicts |= {number: _named(*pairs[number], verdict) for number, verdict in zip(run, found, strict=True)}
    why = "it has no check to run" if execution else "nothing was run"
    compared = judge_syntax(language, [pairs[each][0] for each in read], [pairs[each][1] for each in read], why=why)
    verdicts |= dict(zip(read, compared, strict=True))
    return [verdicts[number] for number in range(len(pairs))]


def _named(row: Row, answer: str, verdict: Verdict) -> Verdict:
    """The verdict, but for names that the check asks for and the answer does not have."""
    missing = [name for name in row["check"].get("named", []) if not re.search(rf"\b{re.escape(name)}\b", answer)]
    if not verdict.right or not missing:
        return verdict
    return Verdict(right=False, parses=verdict.parses, reason=f"does not name {missing[0]}")
