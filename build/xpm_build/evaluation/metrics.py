"""Figures of answers, and how sure one can be of them."""

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from xpm_build.judges.language import Verdict
from xpm_build.judges.languages import language_of

_RESAMPLES = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """Shares of 0 to 1 over ``cases`` answers; ``bleu`` is a corpus figure of 0 to 100."""

    cases: int
    right: float
    parses: float
    exact: float
    normalised_exact: float
    f1: float
    bleu: float

    def to_dict(self) -> dict[str, Any]:
        return {name: round(getattr(self, name), 4) for name in self.__slots__}


def figures(verdicts: Sequence[Verdict], wanted: Sequence[str], answers: Sequence[str], language: str) -> Figures:
    """What the judge says, and how alike the texts are.

    Args:
        language: what is normalised: all but the words of ``text``, the spaces alone of anything else.
    Raises:
        ValueError: there are no answers.
    """
    if not answers:
        raise ValueError("no answers")
    import sacrebleu

    count, is_alike = len(answers), language_of(language).is_alike
    pairs = list(zip(wanted, answers, strict=True))
    return Figures(
        cases=count,
        right=sum(each.right for each in verdicts) / count,
        parses=sum(each.parses for each in verdicts) / count,
        exact=sum(gold.strip() == answer.strip() for gold, answer in pairs) / count,
        normalised_exact=sum(is_alike(gold, answer) for gold, answer in pairs) / count,
        f1=sum(token_f1(gold, answer) for gold, answer in pairs) / count,
        bleu=sacrebleu.corpus_bleu(list(answers), [list(wanted)]).score,
    )


def token_f1(wanted: str, answer: str) -> float:
    """Harmonic mean of precision and recall over words, as in the SQuAD evaluation."""
    gold, got = wanted.split(), answer.split()
    shared = sum((Counter(gold) & Counter(got)).values())
    if not shared:
        return float(gold == got)
    precision, recall = shared / len(got), shared / len(gold)
    return 2 * precision * recall / (precision + recall)


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Two sets of answers to the same cases.

    ``wins`` are cases that only the first gets right, ``losses`` those that only the second does. ``difference`` is the
    first's share of right answers less the second's, ``low`` and ``high`` its 95 % interval by paired bootstrap.
    """

    wins: int
    losses: int
    ties: int
    difference: float
    low: float
    high: float

    @property
    def win_rate(self) -> float:
        """The share of decided cases that the first wins; 0.5 if none is decided."""
        decided = self.wins + self.losses
        return self.wins / decided if decided else 0.5

    def to_dict(self) -> dict[str, Any]:
        return {
            "wins": self.wins,
            "losses": self.losses,
            "ties": self.ties,
            "win_rate": round(self.win_rate, 4),
            "difference": round(self.difference, 4),
            "interval": [round(self.low, 4), round(self.high, 4)],
        }


def compare(first: Sequence[bool], second: Sequence[bool], *, seed: int = 1) -> Comparison:
    """Compare case by case; both must be about the same cases in the same order."""
    differences = [int(a) - int(b) for a, b in zip(first, second, strict=True)]
    count = len(differences)
    rng = random.Random(seed)
    means = sorted(sum(rng.choices(differences, k=count)) / count for _ in range(_RESAMPLES))
    return Comparison(
        wins=differences.count(1),
        losses=differences.count(-1),
        ties=differences.count(0),
        difference=sum(differences) / count,
        low=means[int(0.025 * _RESAMPLES)],
        high=means[int(0.975 * _RESAMPLES)],
    )
