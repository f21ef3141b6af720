"""How well decisions agree with labels: accuracy, precision and recall of each expert,
calibration, who is taken for whom."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

NOBODY = "(base)"
_BINS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Routed:
    """One labelled prompt: who should have been chosen, who was, and how sure the router was of that (0 to 1)."""

    prompt: str
    wanted: frozenset[str]
    chosen: frozenset[str]
    confidence: float
    ms: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """Of one expert, or of the base: ``precision`` and ``recall`` are None where there is nothing to divide by."""

    name: str
    num_wanted: int
    num_chosen: int
    num_right: int

    @property
    def precision(self) -> float | None:
        return self.num_right / self.num_chosen if self.num_chosen else None

    @property
    def recall(self) -> float | None:
        return self.num_right / self.num_wanted if self.num_wanted else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """``accuracy`` counts a prompt whose set of experts is exactly the wanted one. ``calibration_error`` is the
    expected one over ten bins (ECE). ``confusion`` is (wanted, chosen) → prompts; a set of several is joined by ``+``.
    """

    num_prompts: int
    accuracy: float
    calibration_error: float
    scores: tuple[Score, ...]
    confusion: dict[tuple[str, str], int]
    wrong: tuple[Routed, ...]
    p50_ms: float
    p99_ms: float

    def to_dict(self) -> dict[str, Any]:
        return {
            "num_prompts": self.num_prompts,
            "accuracy": round(self.accuracy, 4),
            "calibration_error": round(self.calibration_error, 4),
            "p50_ms": round(self.p50_ms, 3),
            "p99_ms": round(self.p99_ms, 3),
            "experts": [
                {
                    "name": each.name,
                    "wanted": each.num_wanted,
                    "chosen": each.num_chosen,
                    "precision": each.precision and round(each.precision, 4),
                    "recall": each.recall and round(each.recall, 4),
                }
                for each in self.scores
            ],
            "wrong": [
                {"prompt": each.prompt, "wanted": sorted(each.wanted), "chosen": sorted(each.chosen)}
                for each in self.wrong
            ],
        }


def evaluate(routed: Sequence[Routed]) -> Evaluation:
    """Figures of at least one labelled prompt."""
    wanted: Counter[str] = Counter()
    chosen: Counter[str] = Counter()
    right: Counter[str] = Counter()
    for each in routed:
        one, other = each.wanted or {NOBODY}, each.chosen or {NOBODY}
        wanted.update(one)
        chosen.update(other)
        right.update(one & other)
    names = sorted({*wanted, *chosen})
    times = np.array([each.ms for each in routed])
    return Evaluation(
        num_prompts=len(routed),
        accuracy=sum(each.wanted == each.chosen for each in routed) / len(routed),
        calibration_error=calibration_error(
            [each.confidence for each in routed], [each.wanted == each.chosen for each in routed]
        ),
        scores=tuple(
            Score(name=name, num_wanted=wanted[name], num_chosen=chosen[name], num_right=right[name]) for name in names
        ),
        confusion=dict(Counter((_joined(each.wanted), _joined(each.chosen)) for each in routed)),
        wrong=tuple(each for each in routed if each.wanted != each.chosen),
        p50_ms=float(np.percentile(times, 50)),
        p99_ms=float(np.percentile(times, 99)),
    )


def calibration_error(confidences: Sequence[float], is_right: Sequence[bool]) -> float:
    """Expected calibration error: how far, on average, confidence and the share that is right lie
    apart, over ten equal bins."""
    sure, right = np.asarray(confidences, np.float64), np.asarray(is_right, np.float64)
    bins = np.minimum((sure * _BINS).astype(int), _BINS - 1)
    apart = [abs(sure[bins == each].sum() - right[bins == each].sum()) for each in range(_BINS)]
    return float(sum(apart) / max(len(sure), 1))


def _joined(names: frozenset[str]) -> str:
    return "+".join(sorted(names)) or NOBODY
