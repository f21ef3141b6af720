"""The parts of which the generators of functions are made: code in three languages, a task, its author, an operand."""

import keyword
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from xpm_build.domains.speech import Speaker
from xpm_build.domains.words import Vocabulary
from xpm_build.judges.code import Fields, Record
from xpm_build.judges.python import Python
from xpm_build.judges.rust import Rust
from xpm_build.judges.typescript import TypeScript

Code = type[Python] | type[TypeScript] | type[Rust]


@dataclass(frozen=True, slots=True)
class Text:
    """The same piece of code in Python, TypeScript and Rust."""

    python: str
    typescript: str
    rust: str

    def texts(self) -> tuple[str, str, str]:
        return self.python, self.typescript, self.rust

    def fill(self, **values: "str | Text") -> "Text":
        """Replace ``{key}``; a ``Text`` fills each language with its own."""
        return Text(
            *(
                fill(
                    text, {key: each if isinstance(each, str) else getattr(each, name) for key, each in values.items()}
                )
                for name, text in (("python", self.python), ("typescript", self.typescript), ("rust", self.rust))
            )
        )


def fill(text: str, values: dict[str, str]) -> str:
    return re.sub(r"\{(\w+)\}", lambda match: values.get(match[1], match[0]), text)


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A function to be written. ``draw_arguments`` makes one call's arguments."""

    does: str
    params: Fields
    returns: str
    body: Text
    draw_arguments: Callable[[], list[Any]]
    record: Record | None = None


@dataclass(slots=True)
class Author:
    """What the families share: the words and the speaker, the language, and the names given so far."""

    words: Vocabulary
    speaker: Speaker
    language: Code
    taken: list[str] = field(default_factory=lambda: ["x", "a", "b", "k", "v"])

    def name(self, draw: Callable[[], str]) -> str:
        while (name := draw()) in self.taken or name in RESERVED:
            pass
        self.taken.append(name)
        return name

    def items(self) -> str:
        return self.name(lambda: self.words.table() + "s")

    def number(self) -> str:
        return self.name(self.words.numeric_column)

    def text(self) -> str:
        return self.name(self.words.text_column)


@dataclass(frozen=True, slots=True)
class Operand:
    """What an item is compared or changed with: a literal or a parameter.

    ``said`` is how people write it; ``code`` its value, ``borrowed`` and ``size`` how Rust wants it
    as an argument or an index.
    """

    said: str
    code: str
    borrowed: str
    size: str
    params: Fields
    value: Any


def operand_of(author: Author, type_: str, *, low: int = 0, high: int = 100) -> Operand:
    rng = author.words.rng
    if rng.random() < 0.3:
        name = author.number() if type_ == "int" else author.text()
        value: Any = rng.randint(low, high) if type_ == "int" else _short_text(author)
        return Operand(name, name, f"&{name}", f"{name} as usize", ((name, type_),), value)
    if type_ == "int":
        value = rng.randint(low, rng.choice((10, high)) if high > 10 else high)
        return Operand(str(value), str(value), str(value), str(value), (), value)
    value = _short_text(author)
    quoted = f'"{value}"'
    return Operand(rng.choice((quoted, quoted, f"'{value}'", value)), quoted, quoted, quoted, (), value)


def _short_text(author: Author) -> str:
    """Text that an item could begin with, end with or contain."""
    rng = author.words.rng
    if rng.random() < 0.2:
        return rng.choice("-_.:/#+*,;")
    word = author.words.invented(rng)
    return word[: rng.randint(1, 3)] if rng.random() < 0.5 else word


# Words that one of the three languages keeps for itself, or that a body uses.
RESERVED = frozenset(
    [each.lower() for each in keyword.kwlist]
    + "abstract any arguments async await become boolean box break case catch class const continue crate debugger "
    "declare default delete do dyn else enum eval export extern extends final finally fn for function get if impl "
    "implements import in instanceof interface keyof let loop macro match mod module move mut namespace never new null "
    "number of override package priv private protected pub public range readonly ref require return self set static "
    "str string struct super switch symbol this throw trait try type typeof undefined union unknown unsafe unsized use "
    "var virtual void where while "
    "with yield seen counts keys sorted result int bool float list dict sum min max len abs i64".split()
)
