"""Keywords of many cards looked up at once: by their first word, then as they stand."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from xpm_runtime.router.card import RoutingCard
from xpm_runtime.router.words import first_word, occurs

ORDINARY = frozenset(
    (
        "a about all and any are array as back be bug by call case check class code column columns convert count "
        "create data default define delete derive do error example explain extract false field fields file fill "
        "find fix for form format from function get give group help how in insert int is it key keys language "
        "line list make many match model name new node nodes null number object of on or order output parse plan "
        "price print query read record rename repair reply review row rows run schema search select set shape "
        "show sort start string study table template test text the time tip to travel true type update use user "
        "value view what when where which why word words work write "
    ).split()
)
"""Words that occur in requests of every kind: a keyword that is one says little by itself."""
_TELLING, _ORDINARY, _EXCLUDED = range(3)


@dataclass(frozen=True, slots=True)
class Matches:
    """Of one card: keywords of its own that occur, ordinary words among its keywords that do,
    and excluded ones that do."""

    telling: tuple[str, ...] = ()
    ordinary: tuple[str, ...] = ()
    excluded: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Keyword:
    """``positions`` are of the cards that have it, int64; ``kind`` is the place of its kind in ``Matches``."""

    keyword: str
    kind: int
    positions: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Found:
    """What of all keywords occurs in one text; ``counts`` are int64 (3, cards): telling, ordinary and excluded ones."""

    counts: NDArray[np.int64]
    occurring: tuple[_Keyword, ...]

    def of(self, position: int) -> Matches:
        kinds: tuple[list[str], list[str], list[str]] = ([], [], [])
        if self.counts[:, position].any():
            for each in self.occurring:
                if (each.positions == position).any():
                    kinds[each.kind].append(each.keyword)
        return Matches(*map(tuple, kinds))


class KeywordIndex:
    """Each keyword once, with the cards that have it, by its first word."""

    def __init__(self, cards: Sequence[RoutingCard]) -> None:
        having: dict[tuple[str, int], list[int]] = defaultdict(list)
        for position, card in enumerate(cards):
            for keyword in dict.fromkeys(card.keywords):
                having[keyword, _ORDINARY if keyword.casefold() in ORDINARY else _TELLING].append(position)
            for keyword in dict.fromkeys(card.exclude_keywords):
                having[keyword, _EXCLUDED].append(position)
        self._num_cards = len(cards)
        self._by_word: dict[str, list[_Keyword]] = defaultdict(list)
        for (keyword, kind), positions in having.items():
            if word := first_word(keyword):
                self._by_word[word].append(_Keyword(keyword, kind, np.array(positions, np.int64)))

    def matches(self, folded: str, words: Sequence[str]) -> Found:
        """What occurs in a folded text, whose words are given too."""
        occurring = tuple(
            each
            for word in dict.fromkeys(word.rstrip("+#") for word in words)
            for each in self._by_word.get(word, ())
            if occurs(each.keyword, folded)
        )
        counts = np.zeros((3, self._num_cards), np.int64)
        for each in occurring:
            counts[each.kind, each.positions] += 1
        return Found(counts, occurring)
