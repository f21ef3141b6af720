"""A prompt as the router's signals see it: read once, then held against any number of cards."""

from dataclasses import dataclass
from functools import cached_property

from xpm_runtime.router.head import Features, features_of
from xpm_runtime.router.hint import Seen
from xpm_runtime.router.signs import CONCEPT_OF_SIGN, concepts_named, is_general, signs_of
from xpm_runtime.router.words import bounded, folded, words_of


@dataclass(frozen=True)
class ReadPrompt:
    """``text`` is bounded; ``named`` are concepts that it names, ``shown`` those that its code or its data are of."""

    text: str
    folded: str
    words: tuple[str, ...]
    signs: frozenset[str]
    named: frozenset[str]
    shown: frozenset[str]
    language: str = ""

    @cached_property
    def features(self) -> Features:
        return features_of(self.words, self.signs | {f"names:{each}" for each in self.named})

    @property
    def is_general(self) -> bool:
        return is_general(self.signs)

    def seen(self, tasks: frozenset[str]) -> Seen:
        """What a ``router_hint`` is held against."""
        shown = {each.replace(":", "-") for each in self.signs}
        return Seen(
            self.folded,
            {
                "task": tasks,
                "names": self.named | self.shown,
                "shows": frozenset({*shown, *(each.partition(":")[2] for each in self.signs)}),
                "language": self.language,
                "words": float(len(self.words)),
                "characters": float(len(self.text)),
            },
        )


def read_prompt(text: str, *, language: str = "") -> ReadPrompt:
    text = bounded(text)
    lower = folded(text)
    signs = signs_of(text, lower)
    return ReadPrompt(
        text=text,
        folded=lower,
        words=tuple(words_of(lower)),
        signs=signs,
        named=concepts_named(lower),
        shown=frozenset(CONCEPT_OF_SIGN[each] for each in signs if each in CONCEPT_OF_SIGN),
        language=language,
    )
