"""``router_hint``: an expression over what a prompt shows, e.g. ``(task=sql OR schema) AND NOT
language=zh AND words<200``.

AND, OR, NOT, parentheses, ``key=value``, comparisons of numbers, and bare words or quoted phrases that must occur.
Depth and length are bounded; an expression that is not one is the publisher's mistake and says where.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from xpm_runtime.errors import RequestError
from xpm_runtime.router.words import occurs

MAX_CHARACTERS = 1000
MAX_DEPTH = 16
Value = str | float | frozenset[str]
_TOKEN = re.compile(r'\s*(?:(?P<sign>\(|\)|<=|>=|!=|=|<|>)|"(?P<phrase>[^"]*)"|(?P<word>[^\s()<>=!"]+))')
_NUMBERS: Mapping[str, Callable[[float, float], bool]] = {
    "<": lambda one, two: one < two,
    ">": lambda one, two: one > two,
    "<=": lambda one, two: one <= two,
    ">=": lambda one, two: one >= two,
    "=": lambda one, two: one == two,
    "!=": lambda one, two: one != two,
}


@dataclass(frozen=True, slots=True)
class Seen:
    """What an expression is held against: the folded text, and values by key; a set holds all that are true at once."""

    text: str
    values: Mapping[str, Value]


Hint = Callable[[Seen], bool]


def parse_hint(text: str) -> Hint | None:
    """An expression as a function of what is seen; None of an empty one, or of a plain sentence, which only describes.

    Raises:
        RequestError: it has operators, and is no expression.
    """
    if not text.strip() or not re.search(r"[=<>()\"]|\b(AND|OR|NOT)\b", text):
        return None
    parser = _Parser(text)
    hint = parser.either(0)
    if parser.at < len(parser.tokens):
        raise parser.problem(f"{parser.tokens[parser.at][1]!r} is not expected")
    return hint


class _Parser:
    """Recursive descent over tokens of (kind, text)."""

    def __init__(self, text: str) -> None:
        self.text, self.at = text, 0
        self.tokens: list[tuple[str, str]] = []
        if len(text) > MAX_CHARACTERS:
            raise self.problem(f"it has {len(text)} characters, at most {MAX_CHARACTERS} are read")
        start = 0
        while start < len(text.rstrip()):
            found = _TOKEN.match(text, start)
            if found is None or found.lastgroup is None:
                raise self.problem(f"{text[start : start + 20]!r} is not understood")
            self.tokens.append((found.lastgroup, found[found.lastgroup]))
            start = found.end()

    def problem(self, what: str) -> RequestError:
        return RequestError(f"router_hint is no expression: {what}", context=self.text[:200])

    def either(self, depth: int) -> Hint:
        parts = [self.both(depth)]
        while self._take("OR"):
            parts.append(self.both(depth))
        return parts[0] if len(parts) == 1 else lambda seen: any(part(seen) for part in parts)

    def both(self, depth: int) -> Hint:
        parts = [self.one(depth)]
        while self._take("AND"):
            parts.append(self.one(depth))
        return parts[0] if len(parts) == 1 else lambda seen: all(part(seen) for part in parts)

    def one(self, depth: int) -> Hint:
        if depth > MAX_DEPTH:
            raise self.problem(f"it is nested more than {MAX_DEPTH} deep")
        if self._take("NOT"):
            inner = self.one(depth + 1)
            return lambda seen: not inner(seen)
        kind, text = self._next()
        if (kind, text) == ("sign", "("):
            inner = self.either(depth + 1)
            if not self._take(")"):
                raise self.problem("a parenthesis is not closed")
            return inner
        if kind == "sign" or text in ("AND", "OR"):
            raise self.problem(f"{text!r} stands where a condition should")
        if kind == "word" and self.at < len(self.tokens) and self.tokens[self.at][1] in _NUMBERS:
            sign = self._next()[1]
            return _compared(text, sign, self._next()[1])
        return lambda seen: occurs(text, seen.text)

    def _next(self) -> tuple[str, str]:
        if self.at >= len(self.tokens):
            raise self.problem("it breaks off")
        self.at += 1
        return self.tokens[self.at - 1]

    def _take(self, text: str) -> bool:
        is_next = self.at < len(self.tokens) and self.tokens[self.at] in (("word", text), ("sign", text))
        self.at += is_next
        return is_next


def _compared(key: str, sign: str, wanted: str) -> Hint:
    def holds(seen: Seen) -> bool:
        value = seen.values.get(key)
        if value is None:
            return sign == "!="
        if isinstance(value, float):
            try:
                return _NUMBERS[sign](value, float(wanted))
            except ValueError:
                return sign == "!="
        all_true = value if isinstance(value, frozenset) else frozenset([value])
        return (wanted.casefold() in all_true) == (sign == "=") if sign in ("=", "!=") else False

    return holds
