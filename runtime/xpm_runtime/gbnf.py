"""GBNF, the grammars of llama.cpp, written as the Lark that llguidance reads. Pure: text in, text out.

The language stays exactly the same, so every character becomes a terminal of its own: a lexer takes the longest
terminal that fits, and a keyword that begins a name would take that name away. Line ends separate nothing: a rule
ends where the next one begins. Rules that can't be reached, or never end, are left out, so that no text leads to
where nothing may follow.
"""

import json
import re
from collections.abc import Iterator
from functools import lru_cache

from xpm_runtime.errors import ConstraintError
from xpm_runtime.gbnf_rules import (
    EMPTY,
    ROOT,
    All,
    Either,
    Node,
    Repeated,
    Rule,
    Text,
    ending_rules,
    reached_rules,
    rules_used,
)

MAX_RULES = 10_000
MAX_DEPTH = 64  # of groups in groups
MAX_REPEATS = 100_000
_TOKEN = re.compile(
    r"""(?P<space>(?:\s|\#[^\n]*)+)
      | (?P<rule>[A-Za-z0-9_-]+)(?=\s*::=) | (?P<name>[A-Za-z0-9_-]+) | (?P<defines>::=)
      | "(?P<literal>(?:[^"\\]|\\.)*)" | \[(?P<class>(?:[^\]\\]|\\.)*)\]
      | \{\s*(?P<least>\d+)\s*(?P<most>,\s*\d*)?\s*\} | (?P<sign>[|()?*+.])""",
    re.VERBOSE | re.DOTALL,
)
_CHARACTER = re.compile(r"\\x([0-9A-Fa-f]{2})|\\u([0-9A-Fa-f]{4})|\\U([0-9A-Fa-f]{8})|\\(.)|([^\\])", re.DOTALL)
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t"} | {each: each for each in '"\\[]-^/'}
_SURROGATES = (0xD800, 0xDFFF)
_SURROGATE = re.compile(r"[\ud800-\udfff]")
_LAST = 0x10FFFF


def to_lark(text: str) -> str:
    """The grammar ``text`` in Lark; its rule ``root`` becomes ``start``.

    Raises:
        ConstraintError: it is malformed (says where), too large, or no text fits it.
    """
    rules = _Parser(text).rules()
    rules = ending_rules(rules)
    if ROOT not in rules:
        raise ConstraintError("no text fits the grammar", context="every way through its rule root goes on without end")
    names = {name: "start" if name == ROOT else f"r{number}" for number, name in enumerate(reached_rules(rules))}
    lines = [f"{lark}: {_written(rules[name], names)}" for name, lark in names.items()]
    return "\n".join(["%llguidance {}", *lines, ""])


class _Parser:
    """Reads a grammar once, from left to right."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = list(self._split())
        self._at = 0
        self._depth = 0

    def rules(self) -> dict[str, Node]:
        """All rules by name; every name that is used is among them."""
        rules: dict[str, Node] = {}
        while self._at < len(self._tokens):
            token = self._tokens[self._at]
            if token.lastgroup != "rule":
                raise self._error("expected a rule, `name ::= …`", token.start())
            self._at += 2
            if token["rule"] in rules:
                raise self._error(f"the rule {token['rule']} is defined twice", token.start())
            rules[token["rule"]] = self._choice()
            if len(rules) > MAX_RULES:
                raise ConstraintError(f"the grammar has more than {MAX_RULES:,} rules", hint="make it smaller")
        if ROOT not in rules:
            raise ConstraintError("the grammar has no rule root", hint="name the rule that it begins with `root`")
        for used in (each for node in rules.values() for each in rules_used(node)):
            if used.name not in rules:
                raise self._error(f"the rule {used.name} is not defined", used.place)
        return rules

    def _split(self) -> Iterator[re.Match[str]]:
        place = 0
        while place < len(self._text):
            token = _TOKEN.match(self._text, place)
            if token is None:
                raise self._error("this is no GBNF", place)
            if token.lastgroup != "space":
                yield token
            place = token.end()

    def _sign(self) -> str:
        """The sign that comes next, "" if something else does."""
        return (self._tokens[self._at]["sign"] or "") if self._at < len(self._tokens) else ""

    def _choice(self) -> Node:
        options = [self._sequence()]
        while self._sign() == "|":
            self._at += 1
            options.append(self._sequence())
        return options[0] if len(options) == 1 else Either(tuple(options))

    def _sequence(self) -> Node:
        parts: list[Node] = []
        while self._at < len(self._tokens):
            token = self._tokens[self._at]
            if token.lastgroup == "rule" or token["sign"] in ("|", ")"):
                break
            self._at += 1
            if token["least"] is not None or token["sign"] in ("?", "*", "+"):
                if not parts:
                    raise self._error("nothing stands before this to be repeated", token.start())
                parts[-1] = self._repeated(parts[-1], token)
            else:
                parts.append(self._item(token))
        return parts[0] if len(parts) == 1 else All(tuple(parts))

    def _item(self, token: re.Match[str]) -> Node:
        if token["literal"] is not None:
            return self._literal(token)
        if token["class"] is not None:
            return self._class(token)
        if token["name"] is not None:
            return Rule(token["name"], token.start())
        if token["sign"] == ".":
            return Text(_class_of([(0, _LAST)]))
        if token["sign"] == "(":
            return self._group(token)
        raise self._error(f"{token[0]} is out of place", token.start())

    def _group(self, opened: re.Match[str]) -> Node:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise self._error(f"groups are more than {MAX_DEPTH} deep", opened.start())
        node = self._choice()
        if self._sign() != ")":
            raise self._error("this group is not closed", opened.start())
        self._at += 1
        self._depth -= 1
        return node

    def _repeated(self, node: Node, token: re.Match[str]) -> Node:
        if token["sign"]:
            least, most = {"?": (0, 1), "*": (0, None), "+": (1, None)}[token["sign"]]
        else:
            least = int(token["least"])
            rest = (token["most"] or f",{least}")[1:].strip()
            most = int(rest) if rest else None
        if max(least, most or 0) > MAX_REPEATS or (most is not None and most < least):
            raise self._error(f"repeats must be 0 to {MAX_REPEATS:,}, the first not above the second", token.start())
        return EMPTY if most == 0 else Repeated(node, least, most)

    def _literal(self, token: re.Match[str]) -> Node:
        text = token["literal"]
        if "\\" in text or _SURROGATE.search(text):
            text = "".join(chr(code) for code, _ in self._characters(text, token.start("literal")))
        return Text(" ".join(map(_terminal, text))) if text else EMPTY

    def _class(self, token: re.Match[str]) -> Node:
        body, place = token["class"], token.start("class")
        is_negated = body.startswith("^")
        characters = list(self._characters(body[is_negated:], place + is_negated))
        ranges: list[tuple[int, int]] = []
        at = 0
        while at < len(characters):
            first = last = characters[at][0]
            if at + 2 < len(characters) and characters[at + 1] == (ord("-"), False):
                last = characters[at + 2][0]
                at += 2
            if last < first:
                raise self._error(f"the range {chr(first)}-{chr(last)} is upside down", place)
            ranges.append((first, last))
            at += 1
        if not ranges and not is_negated:
            raise self._error("this class is empty", place)
        return Text(_class_of(_others(ranges) if is_negated else ranges))

    def _characters(self, body: str, place: int) -> Iterator[tuple[int, bool]]:
        """(code point, whether it was escaped) of each character of a literal or class."""
        at = 0
        while at < len(body):
            match = _CHARACTER.match(body, at)
            assert match is not None
            code = next((int(each, 16) for each in match.groups()[:3] if each), None)
            if code is None:
                plain = match[5] or _ESCAPES.get(match[4])
                if plain is None:
                    raise self._error(f"the escape {match[0]} is unknown", place + at)
                code = ord(plain)
            if code > _LAST or _SURROGATES[0] <= code <= _SURROGATES[1]:
                raise self._error(f"{match[0]} is no character", place + at)
            yield code, match[5] is None
            at = match.end()

    def _error(self, what: str, place: int) -> ConstraintError:
        line = self._text.count("\n", 0, place) + 1
        column = place - (self._text.rfind("\n", 0, place) + 1) + 1
        found = self._text[place : place + 40].split("\n")[0]
        return ConstraintError(f"the grammar is not valid: {what}", context=f"line {line}, column {column}: {found}")


@lru_cache(maxsize=1024)
def _terminal(character: str) -> str:
    return json.dumps(character, ensure_ascii=False)


def _others(ranges: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """The code points outside of ``ranges``."""
    result, start = [], 0
    for first, last in sorted(ranges):
        if first > start:
            result.append((start, first - 1))
        start = max(start, last + 1)
    return [*result, (start, _LAST)] if start <= _LAST else result


def _class_of(ranges: list[tuple[int, int]]) -> str:
    """A regular expression for one character of ``ranges``, without surrogates, which are none."""
    low, high = _SURROGATES
    parts = [
        part
        for first, last in ranges
        for part in ((first, min(last, low - 1)), (max(first, high + 1), last))
        if part[0] <= part[1]
    ]
    return "/[" + "".join(rf"\x{{{first:x}}}-\x{{{last:x}}}" for first, last in parts) + "]/"


def _written(node: Node, names: dict[str, str]) -> str:
    match node:
        case Text():
            return node.lark
        case Rule():
            return names[node.name]
        case Repeated():
            inner = _written(node.node, names)
            most = "" if node.most is None else node.most
            return f"({inner}){{{node.least},{most}}}" if (node.least, node.most) != (0, None) else f"({inner})*"
        case All():
            return (
                " ".join(
                    f"({_written(each, names)})" if isinstance(each, Either) else _written(each, names)
                    for each in node.parts
                )
                or '""'
            )
        case Either():
            return " | ".join(_written(each, names) for each in node.options)
