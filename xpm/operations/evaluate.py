"""Judging answers to a file of prompts, whose answers are known.

The file is JSON lines: ``prompt``, ``expected``, and maybe ``judge`` (exact, contains, regex, or a language of
``xpm_build.judges``), ``expert`` (a name, or several) and, for languages whose answers are run, ``check``.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from xpm.environment import Environment
from xpm.errors import UsageError
from xpm.operations.answering import Answerer, RunOptions
from xpm.operations.choice import Composition
from xpm.operations.extras import require_extra
from xpm.operations.run import MAX_LANES, messages
from xpm.progress import Progress

DEFAULT_JUDGE = "exact"
_HINT = 'each line is {"prompt": "…", "expected": "…"}, and maybe "judge" and "expert"'
_TEXT_JUDGES: Mapping[str, Callable[[str, str], bool]] = {
    "exact": lambda expected, answer: answer.strip() == expected.strip(),
    "contains": lambda expected, answer: expected in answer,
    "regex": lambda expected, answer: re.search(expected, answer) is not None,
}
_WRONG = {"exact": "other text", "contains": "it is not in the answer", "regex": "the answer does not match"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """``experts`` None leaves the choice to the options of the evaluation; ``row`` is what judges of languages read."""

    line: int
    prompt: str
    expected: str
    judge: str
    experts: tuple[str, ...] | None
    row: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """``experts`` answered; ``reason`` says why the answer is not right."""

    case: Case
    experts: tuple[str, ...]
    answer: str
    is_right: bool
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluatedFile:
    base: str
    judged: tuple[Judged, ...]

    @property
    def num_right(self) -> int:
        return sum(each.is_right for each in self.judged)

    @property
    def share(self) -> float:
        return self.num_right / len(self.judged)


def evaluate(environment: Environment, file: Path, options: RunOptions, *, progress: Progress) -> EvaluatedFile:
    """Answer every prompt of a file as `xpm run` would, many at once, and judge the answers.

    Raises:
        UsageError: a line is no case, or names no judge. MissingExtraError: its judge needs the build extra.
    """
    cases = read_cases(file)
    languages = {case.judge for case in cases} - _TEXT_JUDGES.keys()
    _require_judges(languages, cases)
    with Answerer(environment, options, progress=progress, max_lanes=min(MAX_LANES, len(cases))) as answerer:
        answers: dict[int, tuple[tuple[str, ...], str, str]] = {}
        for composition, group in _by_composition(cases, answerer):
            names = tuple(each.name for each in composition.experts)
            for line, (answer, refusal) in _answered(group, composition, answerer, progress).items():
                answers[line] = names, answer, refusal
        base = answerer.label
    verdicts = _judged(cases, {line: answer for line, (_, answer, _) in answers.items()})
    judged = []
    for case in cases:
        names, answer, refusal = answers[case.line]
        right, reason = (False, refusal) if refusal else verdicts[case.line]
        judged.append(Judged(case=case, experts=names, answer=answer, is_right=right, reason=reason))
    return EvaluatedFile(base=base, judged=tuple(judged))


def read_cases(file: Path) -> list[Case]:
    """
    Raises:
        UsageError: the file can't be read, holds none, or a line is none; names the line.
    """
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeError) as error:
        raise UsageError(f"{file} cannot be read", context=str(error)[:200]) from error
    cases = [
        _case(f"{file}, line {number}", number, line) for number, line in enumerate(lines, start=1) if line.strip()
    ]
    if not cases:
        raise UsageError(f"{file} holds no case", hint=_HINT)
    return cases


def _case(where: str, number: int, line: str) -> Case:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{where} is not JSON", context=str(error)[:200], hint=_HINT) from error
    if not isinstance(row, dict):
        raise UsageError(f"{where} is no object", hint=_HINT)
    for key in ("prompt", "expected"):
        if not isinstance(row.get(key), str) or not row[key].strip():
            raise UsageError(f"{where}: {key} must be a text", hint=_HINT)
    judge, expert = row.get("judge", DEFAULT_JUDGE), row.get("expert")
    experts = [expert] if isinstance(expert, str) else expert
    if not isinstance(judge, str):
        raise UsageError(f"{where}: judge must be a text", hint=_HINT)
    if experts is not None and not (isinstance(experts, list) and all(isinstance(each, str) for each in experts)):
        raise UsageError(f"{where}: expert must be a name, or an array of names", hint="[] is the base alone")
    if judge == "regex":
        try:
            re.compile(row["expected"])
        except re.error as error:
            raise UsageError(f"{where}: expected is no regular expression", context=str(error)) from error
    return Case(
        line=number,
        prompt=row["prompt"],
        expected=row["expected"],
        judge=judge,
        experts=None if experts is None else tuple(experts),
        row={
            "prompt": row["prompt"],
            "completion": row["expected"],
            **({"check": row["check"]} if "check" in row else {}),
        },
    )


def _require_judges(languages: set[str], cases: Sequence[Case]) -> None:
    """Refuse, before anything is answered, what could not be judged afterwards."""
    if not languages:
        return
    require_extra(("jsonschema", "sqlglot", "kuzu", "tree_sitter"), what="judging answers in a language")
    from xpm_build.judges.judging import require_judgeable
    from xpm_build.judges.languages import LANGUAGES

    for case in cases:
        if case.judge in languages and case.judge not in LANGUAGES:
            raise UsageError(
                f"line {case.line}: there is no judge {case.judge[:40]!r}",
                hint=f"it is one of {', '.join([*_TEXT_JUDGES, *LANGUAGES])}",
            )
    for language in sorted(languages):
        require_judgeable(language, [dict(case.row) for case in cases if case.judge == language])


def _by_composition(
    cases: Sequence[Case], answerer: Answerer
) -> Iterator[tuple[Composition, list[tuple[Case, Composition]]]]:
    """The cases that the same experts answer, with the decision on each."""
    composed = []
    for case in cases:
        experts = answerer.options.experts if case.experts is None else case.experts
        composed.append((case, answerer.candidates.compose(case.prompt, experts)))

    def key(each: tuple[Case, Composition]) -> tuple[str, ...]:
        return tuple(expert.name for expert in each[1].experts)

    for _, group in groupby(sorted(composed, key=key), key):
        members = list(group)
        yield members[0][1], members


def _answered(
    group: Sequence[tuple[Case, Composition]], composition: Composition, answerer: Answerer, progress: Progress
) -> dict[int, tuple[str, str]]:
    """Line of each case → (answer, ""), or ("", why it was refused)."""
    from xpm_runtime import CapacityError, Request

    engine, system = answerer.engine, answerer.options.system
    answerer.attach(composition.experts)
    names, scales = tuple(each.name for each in composition.experts), answerer.scales_of(composition.experts)
    progress.note(f"{len(group)} prompts to {' + '.join(names) or 'the base alone'}")
    found: dict[int, tuple[str, str]] = {}
    requests: list[tuple[int, Request]] = []
    for case, own in group:
        request = Request(
            prompt=messages(system, case.prompt),
            experts=names,
            scales=scales,
            sampling=answerer.sampling(own, case.prompt),
        )
        try:
            engine.check(request)
        except CapacityError as error:
            found[case.line] = "", error.message
        else:
            requests.append((case.line, request))
    for place, result in engine.as_completed([request for _, request in requests]):
        found[requests[place][0]] = result.text, result.error or ""
    return found


def _judged(cases: Sequence[Case], answers: Mapping[int, str]) -> dict[int, tuple[bool, str]]:
    """Line of each case → (whether its answer is right, why not)."""
    verdicts: dict[int, tuple[bool, str]] = {}
    for judge in sorted({case.judge for case in cases}):
        own = [case for case in cases if case.judge == judge]
        if judge in _TEXT_JUDGES:
            for case in own:
                right = _TEXT_JUDGES[judge](case.expected, answers[case.line])
                verdicts[case.line] = right, "" if right else _WRONG[judge]
            continue
        from xpm_build.judges import judge_of

        given = [answers[case.line] for case in own]
        for case, verdict in zip(own, judge_of(judge)([dict(case.row) for case in own], given), strict=True):
            verdicts[case.line] = verdict.right, verdict.reason
    return verdicts
