"""``xpm validate --matrix``: what each of several experts loses beside each of the others.

Every expert answers its own cases alone, beside each other expert, and beside all of them. A cell compares the same
cases, judged by running the answers as ``xpm validate`` does. Answers are kept as they come until the report is
written, so that a matrix that was stopped goes on where it was.
"""

import tempfile
import time
from collections.abc import Mapping, Sequence, Set
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xpm_build.errors import EvaluationError
from xpm_build.evaluation.answers import Answerer, AnswerJournal, Report, answerer_of
from xpm_build.evaluation.cases import Circle, read_circles
from xpm_build.evaluation.conflict_report import write_conflicts
from xpm_build.evaluation.examiner import Examiner
from xpm_build.evaluation.findings import Answered
from xpm_build.evaluation.metrics import Comparison, compare
from xpm_build.evaluation.own_cases import folder_with_cases, opened
from xpm_index.archive import MANIFEST
from xpm_index.manifest import Manifest
from xpm_runtime.composition import MAX_EXPERTS

TOGETHER = "all"
JOURNAL = "answers.journal"


@dataclass(frozen=True, slots=True, kw_only=True)
class MatrixOptions:
    """``cases`` is the most of each circle; ``together`` adds the column in which all experts act;
    ``threads`` the engine's.

    ``fused`` are folders or packages of experts that `xpm fuse` made of some of them, and which answer in their place.
    """

    variant: str = "fp32"
    cases: int = 500
    together: bool = True
    execution: bool = True
    fused: tuple[Path, ...] = ()
    threads: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Suffering:
    """One row of the matrix: the answers to all cases of an expert, by it alone, beside each other,
    and by what was fused of it."""

    name: str
    version: str
    metric: str
    circles: tuple[Circle, ...]
    alone: Answered
    beside: Mapping[str, Answered]
    fused: Mapping[str, Answered]

    def gained(self, answered: Answered) -> Comparison:
        """Against the expert alone, over the cases of all circles; what is lost is below 0."""
        return compare(answered.right, self.alone.right)

    def to_dict(self) -> dict[str, Any]:
        return {
            "version": self.version,
            "metric": self.metric,
            "cases": len(self.alone.verdicts),
            "alone": round(self.alone.figures.right, 4),
            "beside": self._cells(self.beside),
            **({"fused": self._cells(self.fused)} if self.fused else {}),
        }

    def _cells(self, found: Mapping[str, Answered]) -> dict[str, Any]:
        return {
            name: {
                "right": round(each.figures.right, 4),
                **self.gained(each).to_dict(),
                "circles": self._by_circle(each),
            }
            for name, each in found.items()
        }

    def _by_circle(self, answered: Answered) -> dict[str, list[int]]:
        """Circle -> (right so, right alone, asked)."""
        found, first = {}, 0
        for circle in self.circles:
            part = slice(first, first := first + len(circle.rows))
            found[circle.name] = [sum(answered.right[part]), sum(self.alone.right[part]), len(circle.rows)]
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Matrix:
    """``base`` is the digest of the base, ``variant`` its number format."""

    base: str
    variant: str
    rows: tuple[Suffering, ...]
    elapsed_s: float

    def to_dict(self) -> dict[str, Any]:
        return {
            "base": self.base,
            "variant": self.variant,
            "experts": {each.name: each.to_dict() for each in self.rows},
            "elapsed_s": round(self.elapsed_s, 1),
        }


def conflict_matrix(
    experts: Sequence[Path], base: Path, out: Path, options: MatrixOptions, *, report: Report = lambda text: None
) -> Matrix:
    """Judge experts alone and beside each other; writes ``matrix.json``, ``.md``, ``.html`` and ``.png`` into ``out``.

    Args:
        experts: folders or package files, 2 to 10. One that brings no cases is judged on those that its manifest's
            recipe makes, if that is one of xpm's own domains: they are made once and kept in ``out``.
        base: the Hugging Face folder of the base.
    Raises:
        EvaluationError: there are too few or too many experts, two have one name, one has no cases, or
            a fused one was not fused.
        BuildError: one was made for another base, or there is no judge for its language.
        SandboxError: answers cannot be run here safely.
    """
    started = time.monotonic()
    if not 2 <= len(experts) <= MAX_EXPERTS:
        raise EvaluationError(
            f"a matrix is of 2 to {MAX_EXPERTS} experts, {len(experts)} were given", hint="name them with --experts A,B"
        )
    if missing := [each for each in (*experts, *options.fused) if not each.exists()]:
        raise EvaluationError(f"{missing[0]} does not exist", hint="name an expert's folder, or its package file")
    with tempfile.TemporaryDirectory(prefix="xpm-matrix-") as scratch:
        folders = [opened(each, Path(scratch) / str(number)) for number, each in enumerate(experts)]
        examiners = [
            Examiner.of(Manifest.parse((each / MANIFEST).read_bytes()), execution=options.execution) for each in folders
        ]
        names = [each.manifest.name for each in examiners]
        fused = {}
        for number, each in enumerate(options.fused):
            folders.append(opened(each, Path(scratch) / f"fused-{number}"))
            manifest = Manifest.parse((folders[-1] / MANIFEST).read_bytes())
            names.append(manifest.name)
            fused[manifest.name] = _parts_of(manifest)
        _require_distinct(names)
        subjects = dict(zip(names, folders, strict=True))
        cases = [
            read_circles(
                folder_with_cases(folder, examiner, out, report), examiner.settings, file=None, most=options.cases
            )
            for folder, examiner in zip(folders, examiners, strict=False)  # those that were fused have none
        ]
        for examiner, circles in zip(examiners, cases, strict=True):
            examiner.require_judgeable(circles)
        out.mkdir(parents=True, exist_ok=True)
        with (
            closing(AnswerJournal(out / JOURNAL)) as journal,
            answerer_of(base, options.variant, subjects, journal, threads=options.threads, report=report) as answerer,
        ):
            rows = tuple(
                _row(answerer, examiner, circles, names[: len(experts)], fused, options, report)
                for examiner, circles in zip(examiners, cases, strict=True)
            )
            digest = answerer.base
    matrix = Matrix(base=digest, variant=options.variant, rows=rows, elapsed_s=time.monotonic() - started)
    write_conflicts(out, matrix.to_dict())
    (out / JOURNAL).unlink(missing_ok=True)
    return matrix


def _row(
    answerer: Answerer,
    examiner: Examiner,
    circles: Sequence[Circle],
    names: Sequence[str],
    fused: Mapping[str, Set[str]],
    options: MatrixOptions,
    report: Report,
) -> Suffering:
    own = examiner.manifest.name
    rows = [row for circle in circles for row in circle.rows]
    companies: dict[str, tuple[str, ...]] = {other: (own, other) for other in names if other != own}
    if options.together and len(names) > 2:
        companies[TOGETHER] = (own, *companies)
    return Suffering(
        name=own,
        version=str(examiner.manifest.version),
        metric=examiner.measure(circles),
        circles=tuple(circles),
        alone=examiner.examine(answerer, rows, (own,), what=f"{own} alone", report=report),
        beside={
            name: examiner.examine(answerer, rows, experts, what=f"{own} beside {name}", report=report)
            for name, experts in companies.items()
        },
        fused={
            name: examiner.examine(answerer, rows, (name,), what=f"{name} for {own}", report=report)
            for name, parts in fused.items()
            if own in parts
        },
    )


def _parts_of(manifest: Manifest) -> Set[str]:
    """The names of what an expert was fused of."""
    fusion = manifest.raw.get("fusion")
    parts = fusion.get("parts") if isinstance(fusion, dict) else None
    if not isinstance(parts, list):
        raise EvaluationError(f"{manifest.name} was not fused of others", hint="name what `xpm fuse` made")
    return {str(part.get("name")) for part in parts if isinstance(part, dict)}


def _require_distinct(names: Sequence[str]) -> None:
    if twice := sorted({name for name in names if names.count(name) > 1 or name == TOGETHER}):
        raise EvaluationError(f"the matrix could not tell experts called {twice[0]} apart")
