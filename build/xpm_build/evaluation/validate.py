"""``xpm validate``: an expert judged as its users will have it, compiled and run by the engine.

Every circle of cases is answered by the expert and by the base alone, and if asked by an earlier version and by the expert with
others at work beside it. What the answers do is judged by ``xpm_build.judges``.
"""

import json
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from xpm_build.adapters import base_digest, compile_adapters, complete, save_slots
from xpm_build.dataset.rows import Row, completion_of, prompt_of, write_rows
from xpm_build.dataset.settings import dataset_settings
from xpm_build.errors import EvaluationError
from xpm_build.evaluation.cases import Circle, read_circles
from xpm_build.evaluation.metrics import Comparison, Figures, compare, figures
from xpm_build.export import export_base, load_model
from xpm_build.judges import Judge, Verdict, judge_of, measure_of
from xpm_build.packages import adapter_places
from xpm_build.training.prompts import conversation
from xpm_index.archive import MANIFEST, extract_archive
from xpm_index.fields import Fields
from xpm_index.manifest import Manifest
from xpm_runtime import AdapterSpec, CapacityError, Engine, Message, Request, SamplingParams
from xpm_runtime.adapter import SLOTS
from xpm_runtime.engine import MAX_EXPERTS

VALIDATION = Path("validation")
REPORT = VALIDATION / "report.json"
ANSWERS = VALIDATION / "answers.jsonl"
_BATCH = 16
_WEAK = 0.8
_MAX_TOKENS = 256
_MAX_FAILURES = 50
Report = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class ValidationOptions:
    """``others`` are folders or archives of experts that act beside; ``against`` one of an earlier version."""

    variant: str = "fp32"
    cases: int = 500
    file: Path | None = None
    against: Path | None = None
    others: tuple[Path, ...] = ()
    execution: bool = True
    write_manifest: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """One subject's answers to one circle."""

    answers: tuple[str, ...]
    verdicts: tuple[Verdict, ...]
    figures: Figures

    @property
    def right(self) -> list[bool]:
        return [verdict.right for verdict in self.verdicts]


@dataclass(frozen=True, slots=True, kw_only=True)
class CircleResult:
    """``with_others`` maps a composition's name to its answers."""

    circle: Circle
    expert: Answered
    base: Answered
    against: Answered | None
    with_others: Mapping[str, Answered]

    @property
    def over_base(self) -> Comparison:
        return compare(self.expert.right, self.base.right)

    def by_family(self) -> dict[str, tuple[int, int]]:
        """Family -> (right, asked)."""
        asked: Counter[str] = Counter()
        right: Counter[str] = Counter()
        for row, verdict in zip(self.circle.rows, self.expert.verdicts, strict=True):
            family = str(row.get("family") or "all")
            asked[family] += 1
            right[family] += verdict.right
        return {family: (right[family], asked[family]) for family in sorted(asked)}

    def to_dict(self) -> dict[str, Any]:
        document: dict[str, Any] = {
            "cases": len(self.circle.rows), "digest": self.circle.digest, "expert": self.expert.figures.to_dict(),
            "base": self.base.figures.to_dict(), "over_base": self.over_base.to_dict(),
            "by_family": {family: list(counts) for family, counts in self.by_family().items()},
        }  # fmt: skip
        if self.against:
            document["against"] = self.against.figures.to_dict()
            document["over_against"] = compare(self.expert.right, self.against.right).to_dict()
        if self.with_others:
            document["compositions"] = {
                name: {
                    "figures": each.figures.to_dict(),
                    "over_alone": compare(each.right, self.expert.right).to_dict(),
                }
                for name, each in self.with_others.items()
            }
        return document


@dataclass(frozen=True, slots=True, kw_only=True)
class Validation:
    name: str
    version: str
    language: str
    metric: str
    circles: tuple[CircleResult, ...]
    limitations: tuple[str, ...]
    elapsed_s: float

    def to_dict(self) -> dict[str, Any]:
        return {
            "name": self.name, "version": self.version, "language": self.language, "metric": self.metric,
            "circles": {each.circle.name: each.to_dict() for each in self.circles}, "failures": self.failures(),
            "limitations": list(self.limitations), "elapsed_s": round(self.elapsed_s, 1),
        }  # fmt: skip

    def failures(self) -> list[dict[str, str]]:
        """The first wrong answers of each circle."""
        listed = []
        for each in self.circles:
            wrong = [
                {
                    "circle": each.circle.name, "family": str(row.get("family", "")), "prompt": prompt_of(row),
                    "wanted": completion_of(row), "got": answer, "reason": verdict.reason,
                }
                for row, answer, verdict in zip(each.circle.rows, each.expert.answers, each.expert.verdicts, strict=True)
                if not verdict.right
            ]  # fmt: skip
            listed += wrong[:_MAX_FAILURES]
        return listed


def validate(folder: Path, base: Path, options: ValidationOptions, *, report: Report = lambda text: None) -> Validation:
    """Judge the expert in ``folder`` on ``base``; writes ``validation/`` below the folder, and the manifest's ``quality_metrics``.

    Args:
        base: the Hugging Face folder of the base.
    Raises:
        EvaluationError: there is nothing to judge, or the manifest's ``decoding`` makes no sense. BuildError: there is no judge
            for the language. SandboxError: answers cannot be run here safely.
    """
    started = time.monotonic()
    manifest = Manifest.parse((folder / MANIFEST).read_bytes())
    settings = dataset_settings(manifest.raw)
    language = settings.language or "text"
    judge, sampling = judge_of(language, execution=options.execution), sampling_of(manifest)
    if len(options.others) >= MAX_EXPERTS:
        raise EvaluationError(f"at most {MAX_EXPERTS} experts act together, {1 + len(options.others)} were given")
    circles = read_circles(folder, settings, file=options.file, most=options.cases)
    subjects = {"expert": folder, **({"against": options.against} if options.against else {})}
    subjects |= {f"+{each.name}": each for each in options.others}
    with _engine(base, options.variant, subjects, report) as engine:
        results = tuple(_judge_circle(engine, circle, judge, language, sampling, options, report) for circle in circles)
    validation = Validation(
        name=manifest.name, version=str(manifest.version), language=language,
        metric=measure_of(language, [row for circle in circles for row in circle.rows], execution=options.execution),
        circles=results, limitations=tuple(_limitations(results)), elapsed_s=time.monotonic() - started,
    )  # fmt: skip
    _write(folder, validation, options)
    return validation


@contextmanager
def _engine(base: Path, variant: str, subjects: Mapping[str, Path], report: Report) -> Iterator[Engine]:
    """An engine with every subject attached under its key."""
    with tempfile.TemporaryDirectory(prefix="xpm-validate-") as scratch:
        graph = Path(scratch) / "graph"
        report(f"exporting the base as {variant}")
        export_base(base, graph, variant=variant)
        model = load_model(base)
        for number, source in enumerate(subjects.values()):
            report(f"compiling {source}")
            _compile(source, Path(scratch) / str(number), model)
        del model
        with Engine.load(graph, max_lanes=_BATCH) as engine:
            for number, name in enumerate(subjects):
                engine.attach(AdapterSpec.read(name, Path(scratch) / str(number) / SLOTS))
            yield engine


def _compile(source: Path, out: Path, model: Any) -> None:
    """Slots of an expert's folder, or of a package file."""
    out.mkdir()
    folder = source
    if source.is_file():
        folder = out / "package"
        folder.mkdir()
        extract_archive(source, folder)
    manifest = Manifest.parse((folder / MANIFEST).read_bytes())
    places = adapter_places(manifest, folder)
    whole = [complete(folder / place, out / "whole" / place, model) for place in places]
    save_slots(compile_adapters(whole, model), out / SLOTS, base_digest=base_digest(model))


def _judge_circle(
    engine: Engine, circle: Circle, judge: Judge, language: str, sampling: SamplingParams, options: ValidationOptions,
    report: Report,
) -> CircleResult:  # fmt: skip
    def answered(name: str, experts: tuple[str, ...]) -> Answered:
        report(f"{circle.name}: {len(circle.rows)} cases, {name}")
        answers, refusals = answers_of(engine, circle.rows, experts, sampling)
        verdicts = [
            Verdict(right=False, parses=False, reason=refusal) if refusal else verdict
            for verdict, refusal in zip(judge(circle.rows, answers), refusals, strict=True)
        ]
        found = figures(verdicts, [completion_of(row) for row in circle.rows], answers, language)
        return Answered(answers=tuple(answers), verdicts=tuple(verdicts), figures=found)

    others = [f"+{each.name}" for each in options.others]
    compositions: dict[str, tuple[str, ...]] = {each[1:]: ("expert", each) for each in others}
    if len(others) > 1:
        compositions["all"] = ("expert", *others)
    return CircleResult(
        circle=circle, expert=answered("the expert", ("expert",)), base=answered("the base alone", ()),
        against=answered("the earlier version", ("against",)) if options.against else None,
        with_others={name: answered(f"with {name}", experts) for name, experts in compositions.items()},
    )  # fmt: skip


def sampling_of(manifest: Manifest) -> SamplingParams:
    """How a manifest's answers are decoded, but that the likeliest token is always taken.

    Raises:
        EvaluationError: a value has the wrong type; names the key. RequestError: it is out of bounds.
    """
    fields = Fields(dict(manifest.decoding), "decoding", error=EvaluationError)
    plain = SamplingParams()
    return SamplingParams(
        max_tokens=fields.integer("max_tokens", default=_MAX_TOKENS),
        repetition_penalty=fields.number("repetition_penalty", default=plain.repetition_penalty),
        stop=fields.strings("stop_sequences"),
    )


def answers_of(
    engine: Engine, rows: Sequence[Row], experts: tuple[str, ...], sampling: SamplingParams
) -> tuple[list[str], list[str]]:
    """(answers, refusals) to rows: for a prompt that no lane can hold, "" and why; for any other, its answer and ""."""
    requests = [Request(prompt=_messages(row), experts=experts, sampling=sampling) for row in rows]
    refusals = [_refusal(engine, request) for request in requests]
    taken = [number for number, refusal in enumerate(refusals) if not refusal]
    results = engine.generate_batch([requests[number] for number in taken])
    answers = [""] * len(rows)
    for number, result in zip(taken, results, strict=True):
        answers[number] = result.text
    return answers, refusals


def _refusal(engine: Engine, request: Request) -> str:
    try:
        engine.cancel(engine.submit(request))
    except CapacityError as error:
        return error.message
    return ""


def _messages(row: Row) -> list[Message]:
    return [Message(cast(Any, each["role"]), each["content"]) for each in conversation(row)]


def _limitations(results: Sequence[CircleResult]) -> list[str]:
    """A draft of what to state: families that come out badly, and circles where the expert falls off."""
    drafted = []
    for each in results:
        weak = {
            family: f"{right}/{asked}" for family, (right, asked) in each.by_family().items() if right / asked < _WEAK
        }
        if weak:
            listed = ", ".join(f"{family} ({share})" for family, share in weak.items())
            drafted.append(f"Often wrong on {each.circle.name}: {listed}.")
        if each.expert.figures.right < results[0].expert.figures.right - 0.05:
            drafted.append(
                f"Falls from {results[0].expert.figures.right:.0%} to {each.expert.figures.right:.0%} on {each.circle.name}."
            )
    return drafted


def _write(folder: Path, validation: Validation, options: ValidationOptions) -> None:
    from xpm_build.evaluation.report import write_reports

    (folder / VALIDATION).mkdir(exist_ok=True)
    rows: list[Row] = []
    for each in validation.circles:
        for number, row in enumerate(each.circle.rows):
            rows.append(
                {
                    "circle": each.circle.name, "number": number, "family": row.get("family", ""),
                    "right": each.expert.verdicts[number].right, "base_right": each.base.verdicts[number].right,
                    "answer": each.expert.answers[number],
                }
            )  # fmt: skip
    write_rows(folder / ANSWERS, rows)
    document = validation.to_dict()
    (folder / REPORT).write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    write_reports(folder / VALIDATION, document)
    if options.write_manifest:
        from xpm_build.manifest_file import write_manifest

        manifest = Manifest.parse((folder / MANIFEST).read_bytes())  # again: it may have been edited meanwhile
        write_manifest(folder, manifest.with_values(quality_metrics=quality_metrics(validation)))


def quality_metrics(validation: Validation) -> dict[str, Any]:
    """What a manifest states: the outermost circle's figures in percent, and every circle's beside them."""
    last = validation.circles[-1]
    over = last.over_base
    expert, base = 100 * last.expert.figures.right, 100 * last.base.figures.right
    metrics: dict[str, Any] = {
        "metric": validation.metric,
        "benchmark_score": round(expert, 1),
        "base_model_score": round(base, 1),
        "win_rate_vs_base": round(100 * over.win_rate, 1),
        "test_queries": sum(len(each.circle.rows) for each in validation.circles),
        "circles": {
            each.circle.name: {
                "cases": len(each.circle.rows), "right": round(100 * each.expert.figures.right, 1),
                "parses": round(100 * each.expert.figures.parses, 1), "base": round(100 * each.base.figures.right, 1),
            }
            for each in validation.circles
        },
    }  # fmt: skip
    if base:
        metrics["improvement_percent"] = round(100 * (expert - base) / base, 1)
    return metrics


def read_report(path: Path) -> dict[str, Any]:
    """The report of a validated expert's folder.

    Raises:
        EvaluationError: it was never validated.
    """
    file = path / REPORT if path.is_dir() else path
    if not file.is_file():
        raise EvaluationError(f"{path} has no validation report", hint=f"run `xpm validate {path}` first")
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
        if not isinstance(document, dict) or "circles" not in document:
            raise ValueError("no circles")
    except ValueError as error:
        raise EvaluationError(f"{file} is no validation report", context=str(error)) from error
    return document
