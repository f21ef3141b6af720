"""``xpm validate``: an expert judged by what its answers do.

Every circle of cases is answered by the expert and by the base alone, and if asked by an earlier version and by the
expert with others at work beside it. What the answers do is judged by ``xpm_build.judges``. Answers are kept as they
come until the report is written, so a validation that was stopped goes on where it was.
"""

import json
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from xpm_build.errors import EvaluationError
from xpm_build.evaluation.answers import Answerer, AnswerJournal, Report, answerer_of
from xpm_build.evaluation.cases import Circle, read_circles
from xpm_build.evaluation.examiner import Examiner
from xpm_build.evaluation.findings import (
    ANSWERS,
    JOURNAL,
    REPORT,
    VALIDATION,
    Answered,
    CircleResult,
    Validation,
    limitations_of,
    quality_metrics,
)
from xpm_build.evaluation.report import write_reports
from xpm_build.manifest_file import write_manifest
from xpm_build.rows import Row, write_rows
from xpm_index.archive import MANIFEST
from xpm_index.manifest import Manifest
from xpm_runtime.composition import MAX_EXPERTS

_ALL = "all"  # the composition of all experts


@dataclass(frozen=True, slots=True, kw_only=True)
class ValidationOptions:
    """``others`` are folders or archives of experts that act beside; ``against`` one of an earlier version.

    ``threads`` is the engine's, all cores if None. ``grammar`` False lets experts write freely that ask for a grammar.
    """

    variant: str = "fp32"
    cases: int = 500
    file: Path | None = None
    against: Path | None = None
    others: tuple[Path, ...] = ()
    execution: bool = True
    write_manifest: bool = True
    threads: int | None = None
    grammar: bool = True


def validate(folder: Path, base: Path, options: ValidationOptions, *, report: Report = lambda text: None) -> Validation:
    """Judge the expert in ``folder`` on ``base``; writes ``validation/`` below the folder, and the
    manifest's ``quality_metrics``.

    Args:
        base: the Hugging Face folder of the base.
    Raises:
        EvaluationError: there is nothing to judge, or the manifest's ``decoding`` makes no sense. BuildError: there is
            no judge for the language. SandboxError: answers cannot be run here safely.
    """
    started = time.monotonic()
    examiner = Examiner.of(Manifest.parse((folder / MANIFEST).read_bytes()), execution=options.execution)
    _check_others(options)
    circles = read_circles(folder, examiner.settings, file=options.file, most=options.cases)
    examiner.require_judgeable(circles)
    subjects = {"expert": folder, **({"against": options.against} if options.against else {})}
    subjects |= {f"+{each.name}": each for each in options.others}
    with (
        closing(AnswerJournal(folder / JOURNAL)) as journal,
        answerer_of(
            base, options.variant, subjects, journal, threads=options.threads, grammars=options.grammar, report=report
        ) as answerer,
    ):
        results = tuple(_judge_circle(answerer, circle, examiner, options, report) for circle in circles)
    validation = Validation(
        name=examiner.manifest.name,
        version=str(examiner.manifest.version),
        base=answerer.base,
        variant=options.variant,
        language=examiner.language,
        metric=examiner.measure(circles),
        circles=results,
        limitations=tuple(limitations_of(results)),
        elapsed_s=time.monotonic() - started,
    )
    _write(folder, validation, options)
    (folder / JOURNAL).unlink(missing_ok=True)
    return validation


def _check_others(options: ValidationOptions) -> None:
    names = [each.name for each in options.others]
    if len(names) >= MAX_EXPERTS:
        raise EvaluationError(f"at most {MAX_EXPERTS} experts act together, {1 + len(names)} were given")
    for each in (*options.others, *([options.against] if options.against else [])):
        if not each.exists():
            raise EvaluationError(f"{each} does not exist", hint="name an expert's folder, or its package file")
    if twice := sorted({name for name in names if names.count(name) > 1 or name == _ALL}):
        raise EvaluationError(
            f"the report could not tell experts called {twice[0]} apart",
            hint=f"give them folders of different names, none of them {_ALL!r}",
        )


def _judge_circle(
    answerer: Answerer, circle: Circle, examiner: Examiner, options: ValidationOptions, report: Report
) -> CircleResult:
    def answered(name: str, experts: tuple[str, ...]) -> Answered:
        return examiner.examine(answerer, circle.rows, experts, what=f"{circle.name}, {name}", report=report)

    others = [f"+{each.name}" for each in options.others]
    compositions: dict[str, tuple[str, ...]] = {each[1:]: ("expert", each) for each in others}
    if len(others) > 1:
        compositions[_ALL] = ("expert", *others)
    return CircleResult(
        circle=circle,
        expert=answered("the expert", ("expert",)),
        base=answered("the base alone", ()),
        against=answered("the earlier version", ("against",)) if options.against else None,
        with_others={name: answered(f"with {name}", experts) for name, experts in compositions.items()},
    )


def _write(folder: Path, validation: Validation, options: ValidationOptions) -> None:
    (folder / VALIDATION).mkdir(exist_ok=True)
    rows: list[Row] = []
    for each in validation.circles:
        for number, row in enumerate(each.circle.rows):
            rows.append(
                {
                    "circle": each.circle.name,
                    "number": number,
                    "family": row.get("family", ""),
                    "right": each.expert.verdicts[number].right,
                    "base_right": each.base.verdicts[number].right,
                    "answer": each.expert.answers[number],
                }
            )
    write_rows(folder / ANSWERS, rows)
    document = validation.to_dict()
    (folder / REPORT).write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    write_reports(folder / VALIDATION, document)
    if options.write_manifest:
        manifest = Manifest.parse((folder / MANIFEST).read_bytes())  # again: it may have been edited meanwhile
        write_manifest(folder, manifest.with_values(quality_metrics=quality_metrics(validation)))
