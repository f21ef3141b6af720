"""What ``xpm validate`` finds out about an expert, and the report of it that is kept beside the expert."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xpm_build.errors import EvaluationError
from xpm_build.evaluation.cases import Circle
from xpm_build.evaluation.metrics import Comparison, Figures, compare
from xpm_build.judges import Verdict
from xpm_build.rows import completion_of, prompt_of

VALIDATION = Path("validation")
REPORT = VALIDATION / "report.json"
ANSWERS = VALIDATION / "answers.jsonl"
JOURNAL = VALIDATION / "answers.journal"
_WEAK = 0.8
_MAX_FAILURES = 50


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
            "cases": len(self.circle.rows),
            "digest": self.circle.digest,
            "expert": self.expert.figures.to_dict(),
            "base": self.base.figures.to_dict(),
            "over_base": self.over_base.to_dict(),
            "by_family": {family: list(counts) for family, counts in self.by_family().items()},
        }
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
    """``base`` is the digest of the base it was judged on, ``variant`` the base's number format."""

    name: str
    version: str
    base: str
    variant: str
    language: str
    metric: str
    circles: tuple[CircleResult, ...]
    limitations: tuple[str, ...]
    elapsed_s: float

    def to_dict(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "version": self.version,
            "base": self.base,
            "variant": self.variant,
            "language": self.language,
            "metric": self.metric,
            "circles": {each.circle.name: each.to_dict() for each in self.circles},
            "failures": self.failures(),
            "limitations": list(self.limitations),
            "elapsed_s": round(self.elapsed_s, 1),
        }

    def failures(self) -> list[dict[str, str]]:
        """The first wrong answers of each circle."""
        listed = []
        for each in self.circles:
            wrong = [
                {
                    "circle": each.circle.name,
                    "family": str(row.get("family", "")),
                    "prompt": prompt_of(row),
                    "wanted": completion_of(row),
                    "got": answer,
                    "reason": verdict.reason,
                }
                for row, answer, verdict in zip(
                    each.circle.rows, each.expert.answers, each.expert.verdicts, strict=True
                )
                if not verdict.right
            ]
            listed += wrong[:_MAX_FAILURES]
        return listed


def limitations_of(results: Sequence[CircleResult]) -> list[str]:
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
                f"Falls from {results[0].expert.figures.right:.0%} to {each.expert.figures.right:.0%} on "
                f"{each.circle.name}."
            )
    return drafted


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
                "cases": len(each.circle.rows),
                "right": round(100 * each.expert.figures.right, 1),
                "parses": round(100 * each.expert.figures.parses, 1),
                "base": round(100 * each.base.figures.right, 1),
            }
            for each in validation.circles
        },
    }
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
