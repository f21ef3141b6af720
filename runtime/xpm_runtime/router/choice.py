"""From probabilities to experts: the likeliest, one for a format beside one for a task, and what they require."""

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from xpm_runtime.router.card import RoutingCard
from xpm_runtime.router.head import Floats
from xpm_runtime.router.prompt import ReadPrompt

_ALSO = 0.2  # share from which an expert for a task joins the one for the format that was asked for
_TIE = 0.96  # of the likeliest's share, however many share it
_FORMAT = "format"
_CODE_TIERS = frozenset({"language", "tech"})
_WANTS_FORMAT = re.compile(
    r"\b(as|in|into|to|als|en|au format|como|return|respond|answer|output|give|structured)\b.{0,40}\b(json"
    r"|xml|yaml|csv|markdown)\b|\bjson object\b|(json|xml|yaml)(格式|对象)"
)


class Chooser:
    def __init__(self, cards: Sequence[RoutingCard], concepts: Sequence[frozenset[str]]) -> None:
        """
        Args:
            concepts: what each card is about.
        """
        self._cards, self._concepts = cards, concepts
        self._at = {card.name: position for position, card in enumerate(cards)}
        self._of_formats = [each for each, card in enumerate(cards) if card.tier == _FORMAT]
        is_task = [card.tier != _FORMAT and card.tier not in _CODE_TIERS for card in cards]
        self._of_tasks: NDArray[np.int64] = np.flatnonzero(np.array(is_task, bool))

    def choose(self, read: ReadPrompt, shares: Floats, hot: frozenset[str], max_experts: int) -> list[int]:
        """Positions of cards, best first, with what they require; [] for the base.

        Args:
            shares: float32 (cards,), the probability of each card; what is left of 1 is the base's.
            hot: names of experts that are attached already.
        """
        top = float(shares.max(initial=0))
        if top <= 1 - float(shares.sum()):
            return []
        best = self._best(shares, hot)
        chosen = [best]
        if not _WANTS_FORMAT.search(read.folded):
            return self._with_required(chosen, max_experts)
        tier = self._cards[best].tier
        if tier == _FORMAT:
            likeliest = max(self._of_tasks.tolist(), key=shares.__getitem__, default=best)
            if shares[likeliest] > _ALSO:
                chosen.insert(0, likeliest)
        elif tier not in _CODE_TIERS:
            formats = [each for each in self._of_formats if self._concepts[each] & read.named]
            chosen += [max(formats, key=shares.__getitem__)] if formats else []
        return self._with_required(chosen, max_experts)

    def _best(self, shares: Floats, hot: frozenset[str]) -> int:
        """Of those that are as good as the likeliest: one that is hot, then by priority."""
        tied = np.flatnonzero(shares >= shares.max() * _TIE).tolist()
        cards = self._cards
        return min(
            tied, key=lambda each: (cards[each].name not in hot, -cards[each].priority, -shares[each], cards[each].name)
        )

    def _with_required(self, chosen: list[int], max_experts: int) -> list[int]:
        """The chosen, best first, each with what it requires, as long as they get on with each
        other and are not too many."""
        taken: list[int] = []
        for each in chosen:
            needed, waiting = [], [each]
            while waiting:
                position = waiting.pop()
                if position in needed:
                    continue
                needed.append(position)
                waiting += [self._at[name] for name in self._cards[position].requires if name in self._at]
            wanted = [*taken, *(position for position in needed if position not in taken)]
            names = {self._cards[position].name for position in wanted}
            if len(wanted) <= max_experts and not any(
                names & set(self._cards[position].incompatible) for position in wanted
            ):
                taken = wanted
        return taken
