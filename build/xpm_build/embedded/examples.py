"""One training or evaluation case, and the rule that keeps the phrasings of the two sides apart."""

import random
import re
from collections.abc import Callable
from dataclasses import dataclass

from xpm_build.embedded.words import Split, Vocabulary, side_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    name: str
    numeric: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    name: str
    columns: tuple[Column, ...]

    def __str__(self) -> str:
        return f"{self.name}({', '.join(column.name for column in self.columns)})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """One case.

    ``phrasing`` is the prompt with every identifier and value replaced by a placeholder; ``answer_in_words`` is what a
    chat model without any expert would say; ``literals`` are the values a database must contain for the answer to
    be told apart from a wrong one.
    """

    prompt: str
    completion: str
    family: str
    phrasing: str
    answer_in_words: str
    tables: tuple[Table, ...] = ()
    literals: tuple[str | int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Oddity:
    """How odd the words of a training text are; see ``Vocabulary``."""

    share: float = 0.0
    pieces: tuple[str, ...] = ()

    def vocabulary(self, split: Split, rng: random.Random) -> Vocabulary:
        return Vocabulary(split, rng, odd=self.share, pieces=self.pieces)


NOTHING_ODD = Oddity()


def draw(
    make: Callable[[Vocabulary], Example], split: Split, rng: random.Random, *, oddity: Oddity = NOTHING_ODD
) -> Example:
    """Draw an example whose words *and* phrasing belong to ``split``."""
    vocabulary = oddity.vocabulary(split, rng)
    while True:
        example = make(vocabulary)
        if side_of(example.phrasing) == split:
            return example


_PLACEHOLDER = re.compile(r"\{(\w+)\}")


def fill(template: str, values: dict[str, str]) -> str:
    """Replace ``{key}`` by ``values[key]``; unlike str.format, braces elsewhere are left alone."""
    return _PLACEHOLDER.sub(lambda match: values[match[1]], template)
