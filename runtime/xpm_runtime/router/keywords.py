"""Keywords of many cards looked up at once: by their first word, then as they stand."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

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


@dataclass(frozen=True, slots=True)
class Matches:
    """Of one card: keywords of its own that occur, ordinary words among its keywords that do, and excluded ones that do."""

    telling: tuple[str, ...] = ()
    ordinary: tuple[str, ...] = ()
    excluded: tuple[str, ...] = ()


class KeywordIndex:
    def __init__(self, cards: Sequence[RoutingCard]) -> None:
        self._by_word: dict[str, list[tuple[str, int, bool]]] = defaultdict(list)
        for position, card in enumerate(cards):
            for keywords, excludes in ((card.keywords, False), (card.exclude_keywords, True)):
                for keyword in dict.fromkeys(keywords):
                    if word := first_word(keyword):
                        self._by_word[word].append((keyword, position, excludes))

    def matches(self, folded: str, words: Sequence[str]) -> dict[int, Matches]:
        """Position of a card → what of its keywords occurs in a folded text, whose words are given too."""
        found: dict[int, tuple[list[str], list[str], list[str]]] = {}
        for word in dict.fromkeys(each.rstrip("+#") for each in words):
            for keyword, position, excludes in self._by_word.get(word, ()):
                if not occurs(keyword, folded):
                    continue
                kinds = found.setdefault(position, ([], [], []))
                kinds[2 if excludes else 1 if keyword.casefold() in ORDINARY else 0].append(keyword)
        return {position: Matches(*map(tuple, kinds)) for position, kinds in found.items()}
