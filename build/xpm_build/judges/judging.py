"""Judging answers in a language: by running what can be run, and by comparing the rest with
the gold answers as text."""

import re
from collections.abc import Sequence
from functools import partial
from typing import Any

from xpm_build.errors import EvaluationError
from xpm_build.judges.language import Judge, Language, Row, Verdict
from xpm_build.judges.languages import LANGUAGES, language_of
from xpm_build.rows import completion_of, prompt_of


def judge_of(language: str, *, execution: bool = True) -> Judge:
    """The judge of a language; ``text`` compares words, ``json`` values, the others run the answers.

    What has no check, or is not to be run, is compared with the gold answer as text, and the verdict's reason says so.

    Args:
        execution: False runs nothing.
    Raises:
        BuildError: no judge knows the language.
    """
    known = language_of(language)
    return partial(_judge_code, known, execution) if known.is_executed else known.judge


def measure_of(language: str, rows: Sequence[Row] = (), *, execution: bool = True) -> str:
    """What a judge's "right" means here: what a report calls the figure.

    Args:
        rows: what was judged, for whether all of it could be run.
    Raises:
        BuildError: no judge knows the language.
    """
    known = language_of(language)
    if not known.is_executed:
        return known.measure
    if not execution:
        return "equal text (nothing was run)"
    checked = [has_check(row) for row in rows]
    if checked and not any(checked):
        return "equal text (no checks to run)"
    if known.compiler and not known.compiler():
        return "equal text (no compiler here)"
    return known.measure if all(checked) else f"{known.measure} (answers without a check compared as text)"


def has_check(row: Row) -> bool:
    """Whether a row says how its answer is to be run."""
    return isinstance(row.get("check"), dict)


def problem_of(language: str, check: Any) -> str:
    """Why answers in ``language`` cannot be run by ``check``, with the key's path; "" if they can."""
    form = LANGUAGES[language].check if language in LANGUAGES else None
    return form.problem_of(check) if form else ""


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
                hint='see docs/reference/training.md, "How an answer is run"; find all such rows with `xpm dataset '
                "validate`",
            )


def require_judgeable(language: str, rows: Sequence[Row], *, execution: bool = True) -> None:
    """Refuse, before any answer is made, rows that their judge would refuse afterwards.

    Raises:
        EvaluationError: a check is malformed, or a gold answer is not JSON.
    """
    known = language_of(language)
    if not known.is_executed:
        known.judge(rows, [completion_of(row) for row in rows])
    elif execution:
        require_sound_checks(language, rows)


def _judge_code(language: Language, execution: bool, rows: Sequence[Row], answers: Sequence[str]) -> list[Verdict]:
    """Run what can be run; compare the rest as text."""
    checked = [number for number, row in enumerate(rows) if execution and has_check(row)]
    require_sound_checks(language.name, [rows[number] for number in checked])
    run = checked if checked and (language.compiler is None or language.compiler()) else []
    found = language.judge([rows[number] for number in run], [answers[number] for number in run]) if run else []
    verdicts = {
        number: _named(rows[number], answers[number], verdict) for number, verdict in zip(run, found, strict=True)
    }
    for number in set(range(len(rows))) - set(run):
        why = "no compiler here" if number in checked else "it has no check to run" if execution else "nothing was run"
        verdicts[number] = _compared(language, rows[number], answers[number], why)
    return [verdicts[number] for number in range(len(rows))]


def _compared(language: Language, row: Row, answer: str, why: str) -> Verdict:
    """Parse only; right if equal to the gold answer but for spaces. The reason says ``why``."""
    right = language.is_alike(completion_of(row), answer)
    reason = f"{'' if right else 'not '}the gold answer (compared as text: {why})"
    return Verdict(right=right, parses=language.parses(answer), reason=reason)


def _named(row: Row, answer: str, verdict: Verdict) -> Verdict:
    """The verdict, but for names that the check asks for and the answer does not have."""
    missing = [name for name in row["check"].get("named", []) if not re.search(rf"\b{re.escape(name)}\b", answer)]
    if not verdict.right or not missing:
        return verdict
    return Verdict(right=False, parses=verdict.parses, reason=f"does not name {missing[0]}")
