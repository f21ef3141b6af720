"""``xpm scales``: how strongly each of several experts should act when all of them do.

1. Scales are fitted on rows that each expert was validated on (``fit``).
2. They are kept only if more answers to such rows are right with them than at full strength, judged by running the
   answers.
3. Both are judged on the circles of cases, of which no row is among those: the figures of before and after.
"""

import json
import random
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from xpm_build.adapter.together import Together
from xpm_build.composition.fit import FitSettings, fit_scales
from xpm_build.errors import EvaluationError
from xpm_build.evaluation.answers import Answerer, AnswerJournal, Report, answerer_of
from xpm_build.evaluation.cases import Circle, read_circles
from xpm_build.evaluation.examiner import Examiner
from xpm_build.evaluation.findings import Answered
from xpm_build.evaluation.metrics import compare
from xpm_build.evaluation.own_cases import folder_with_cases, opened, validation_rows
from xpm_build.prompts import end_of_turn, load_tokenizer
from xpm_build.rows import Row, prompt_of
from xpm_index.archive import MANIFEST
from xpm_index.manifest import Manifest
from xpm_runtime.composition import MAX_EXPERTS

SCALES = "scales.json"
_JOURNAL = "answers.journal"


@dataclass(frozen=True, slots=True, kw_only=True)
class ScaleOptions:
    """``rows`` is the most of an expert's validation rows that are fitted on, ``judged`` of those that are answered;
    ``cases`` is the most of a circle; ``threads`` are the engine's."""

    variant: str = "fp32"
    rows: int = 256
    judged: int = 30
    cases: int = 50
    execution: bool = True
    fit: FitSettings = field(default_factory=FitSettings)
    threads: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """An expert's cases answered by it alone, by all at full strength, and by all at the scales that were kept."""

    cases: int
    alone: Answered
    before: Answered
    after: Answered

    def to_dict(self) -> dict[str, Any]:
        return {
            "cases": self.cases,
            "alone": round(self.alone.figures.right, 4),
            "before": round(self.before.figures.right, 4),
            "after": round(self.after.figures.right, 4),
            "gained": compare(self.after.right, self.before.right).to_dict(),
            "against_alone": compare(self.after.right, self.alone.right).to_dict(),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Learned:
    """``fitted`` are the scales that were fitted, ``scales`` those that were kept: these, or 1 for each.

    ``validation`` is the share of right answers to validation rows at full strength, and at ``fitted``.
    """

    base: str
    variant: str
    scales: Mapping[str, float]
    fitted: Mapping[str, float]
    validation: tuple[float, float]
    experts: Mapping[str, Judged]
    elapsed_s: float

    def to_dict(self) -> dict[str, Any]:
        return {
            "base": self.base,
            "variant": self.variant,
            "scales": dict(self.scales),
            "fitted": dict(self.fitted),
            "validation": {"before": round(self.validation[0], 4), "after": round(self.validation[1], 4)},
            "experts": {name: each.to_dict() for name, each in self.experts.items()},
            "elapsed_s": round(self.elapsed_s, 1),
        }


def learn_scales(
    experts: Sequence[Path], base: Path, out: Path, options: ScaleOptions, *, report: Report = lambda text: None
) -> Learned:
    """Fit and judge the scales of experts that act together; writes ``scales.json`` into ``out``.

    Args:
        experts: folders or package files, 2 to 10, of low rank and for one base. Of one that brings no rows they are
            made once by its manifest's recipe, and kept in ``out``.
        base: the Hugging Face folder of the base.
    Raises:
        EvaluationError: there are too few or too many experts, two have one name, or one has no rows
            to fit on or be judged by.
        BuildError: one is for another base, or is no update of low rank alone. SandboxError: answers
            cannot be run here safely.
    """
    started = time.monotonic()
    _require_some(experts)
    with tempfile.TemporaryDirectory(prefix="xpm-scales-") as scratch:
        folders = [opened(each, Path(scratch) / str(number)) for number, each in enumerate(experts)]
        examiners = {
            each.manifest.name: each
            for each in (
                Examiner.of(Manifest.parse((folder / MANIFEST).read_bytes()), execution=options.execution)
                for folder in folders
            )
        }
        if len(examiners) < len(folders):
            raise EvaluationError("two of the experts have the same name", context=", ".join(examiners))
        subjects = dict(zip(examiners, folders, strict=True))
        fitted_on, judged_on, circles = _rows(subjects, examiners, out, options, report)
        together = Together(base, subjects, _made(Path(scratch) / "whole"))
        end = end_of_turn(base, load_tokenizer(base))
        fitted = fit_scales(together, base, fitted_on, end, options.fit, report=report)
        del together
        out.mkdir(parents=True, exist_ok=True)
        with (
            closing(AnswerJournal(out / _JOURNAL)) as journal,
            answerer_of(base, options.variant, subjects, journal, threads=options.threads, report=report) as answerer,
        ):
            judge = _Judge(answerer, examiners, report)
            before, after = (judge.share(judged_on, scales, "validation rows") for scales in ((), fitted))
            kept = fitted if after > before else ()
            found = {name: judge.expert(name, own, kept) for name, own in circles.items()}
            digest = answerer.base
    learned = Learned(
        base=digest,
        variant=options.variant,
        scales=dict(zip(subjects, kept or (1.0,) * len(subjects), strict=True)),
        fitted=dict(zip(subjects, fitted, strict=True)),
        validation=(before, after),
        experts=found,
        elapsed_s=time.monotonic() - started,
    )
    (out / SCALES).write_text(json.dumps(learned.to_dict(), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    (out / _JOURNAL).unlink(missing_ok=True)
    return learned


class _Judge:
    def __init__(self, answerer: Answerer, examiners: Mapping[str, Examiner], report: Report) -> None:
        self._answerer, self._examiners, self._report = answerer, examiners, report
        self._all = tuple(examiners)

    def share(self, rows: Mapping[str, Sequence[Row]], scales: tuple[float, ...], what: str) -> float:
        """The mean over experts of the share of their rows that all of them together answer rightly."""
        found = [self._together(name, own, scales, what).figures.right for name, own in rows.items()]
        return sum(found) / len(found)

    def expert(self, name: str, circles: Sequence[Circle], scales: tuple[float, ...]) -> Judged:
        rows = [row for circle in circles for row in circle.rows]
        alone = self._examiners[name].examine(
            self._answerer, rows, (name,), what=f"cases of {name}, alone", report=self._report
        )
        before = self._together(name, rows, (), "cases")
        after = self._together(name, rows, scales, "cases") if scales else before
        return Judged(cases=len(rows), alone=alone, before=before, after=after)

    def _together(self, name: str, rows: Sequence[Row], scales: tuple[float, ...], what: str) -> Answered:
        how = f"scaled by {', '.join(map(str, scales))}" if scales else "at full strength"
        return self._examiners[name].examine(
            self._answerer, rows, self._all, scales=scales, what=f"{what} of {name}, {how}", report=self._report
        )


def _require_some(experts: Sequence[Path]) -> None:
    if not 2 <= len(experts) <= MAX_EXPERTS:
        raise EvaluationError(f"scales are of 2 to {MAX_EXPERTS} experts, {len(experts)} were given")
    if missing := [each for each in experts if not each.exists()]:
        raise EvaluationError(f"{missing[0]} does not exist", hint="name an expert's folder, or its package file")


def _rows(
    subjects: Mapping[str, Path], examiners: Mapping[str, Examiner], out: Path, options: ScaleOptions, report: Report
) -> tuple[dict[str, list[Row]], dict[str, list[Row]], dict[str, list[Circle]]]:
    """Expert → rows to fit on, rows that decide whether to keep what was fitted, and circles: no
    prompt is in two of them."""
    fitted_on, judged_on, circles = {}, {}, {}
    for name, folder in subjects.items():
        examiner = examiners[name]
        place = folder_with_cases(folder, examiner, out, report)
        circles[name] = read_circles(place, examiner.settings, file=None, most=options.cases)
        examiner.require_judgeable(circles[name])
        asked = {prompt_of(row) for circle in circles[name] for row in circle.rows}
        rows = [row for row in validation_rows(place, examiner.settings) if prompt_of(row) not in asked]
        if len(rows) < 2:
            raise EvaluationError(
                f"{name} has {len(rows)} validation rows that are no cases", hint="hold more back, and split anew"
            )
        random.Random(options.fit.seed).shuffle(rows)
        num_judged = min(options.judged, len(rows) // 2)
        judged_on[name], fitted_on[name] = rows[:num_judged], rows[num_judged:][: options.rows]
    return fitted_on, judged_on, circles


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder
