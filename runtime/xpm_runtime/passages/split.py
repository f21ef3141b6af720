"""A document as passages: cut where its form says that something begins, each of a bounded number of tokens.

A document is first taken apart into pieces, lines as far as they are short enough, and each piece knows how strong the
border before it is. A passage takes as many pieces as fit, and ends before the strongest border in its second half. So
the same rule serves prose, Markdown and code, and no parser is needed.

Invariant: passages follow one another without a gap, and together are the document.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum

from xpm_runtime.errors import RequestError

LEAST_TOKENS = 16  # of a passage; a character of four bytes may be as many tokens
_MOST_CHARACTERS = 16  # for each token: more than a token of any text has on average
_LINE = re.compile(r"[^\n]*\n|[^\n]+")
_SENTENCE = re.compile(r"(?<=[.!?。！？])(?=\s)|(?<=[。！？])")
_WORD = re.compile(r"(?<=\S)(?=\s)")
_MARKDOWN = re.compile(r"#{1,6} \S")
_UNDERLINE = re.compile(r"([=\-~^*])\1{2,}\s*$")
_DEFINITION = re.compile(
    r"@\w|(?:(?:export|default|pub(?:\(\w+\))?|public|private|protected|internal|static|abstract|final|async|unsafe) )*"
    r"(?:def|class|fn|func|function|impl|struct|enum|interface|trait|module|namespace|CREATE|create) "
)


class Border(IntEnum):
    """What begins with a piece: the larger, the better a passage begins there."""

    CHARACTER = 0
    WORD = 1
    SENTENCE = 2
    LINE = 3
    PARAGRAPH = 4
    HEADING = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Passage:
    """Characters ``start`` to ``end`` of a document, which stand in its lines ``first_line`` to ``last_line``, from 1.

    ``num_tokens`` is the sum over its pieces: within a few of what the passage as a whole comes to. ``heading`` is the
    last heading before it, "" if there is none.
    """

    start: int
    end: int
    first_line: int
    last_line: int
    num_tokens: int
    heading: str


@dataclass(frozen=True, slots=True)
class _Piece:
    text: str
    num_tokens: int
    border: Border
    line: int
    heading: str


def split(text: str, count: Callable[[str], int], *, max_tokens: int) -> tuple[Passage, ...]:
    """Cut a document.

    Args:
        count: tokens of a text.
        max_tokens: of a passage, at least ``LEAST_TOKENS``.
    Raises:
        RequestError: ``max_tokens`` is too small.
    """
    if max_tokens < LEAST_TOKENS:
        raise RequestError(f"a passage has at least {LEAST_TOKENS} tokens", context=f"got {max_tokens}")
    pieces = list(_pieces(text, count, max_tokens))
    passages: list[Passage] = []
    first = start = 0
    while first < len(pieces):
        last = _end(pieces, first, max_tokens)
        held = pieces[first:last]
        end = start + sum(len(each.text) for each in held)
        passages.append(
            Passage(
                start=start,
                end=end,
                first_line=held[0].line,
                last_line=held[-1].line,
                num_tokens=sum(each.num_tokens for each in held),
                heading=held[0].heading,
            )
        )
        first, start = last, end
    return tuple(passages)


def _end(pieces: Sequence[_Piece], first: int, max_tokens: int) -> int:
    """The piece before which a passage ends that begins with piece ``first``."""
    total, last, best = 0, first, first + 1
    strongest = -1
    while last < len(pieces) and total + pieces[last].num_tokens <= max_tokens:
        total += pieces[last].num_tokens
        last += 1
        is_second_half = 2 * total >= max_tokens
        if last < len(pieces) and is_second_half and pieces[last].border >= strongest:
            strongest, best = pieces[last].border, last
    if last == len(pieces):
        return last
    return best if strongest >= 0 else max(last, first + 1)


def _pieces(text: str, count: Callable[[str], int], max_tokens: int) -> Iterator[_Piece]:
    lines = _LINE.findall(text)
    heading = ""
    for number, line in enumerate(lines):
        before = lines[number - 1] if number else "\n"
        after = lines[number + 1] if number + 1 < len(lines) else ""
        border = _border(before, line, after)
        if border == Border.HEADING:
            heading = line.strip(" #\n\r\t:{")
        for part, num_tokens, inner in _bounded(line, count, max_tokens, Border.SENTENCE):
            yield _Piece(part, num_tokens, border if inner is None else inner, number + 1, heading)


def _border(before: str, line: str, after: str) -> Border:
    """What begins with a line."""
    is_apart = not before.strip()
    if _MARKDOWN.match(line) or (is_apart and line.strip() and _UNDERLINE.match(after)):
        return Border.HEADING
    if is_apart and line.strip():
        return Border.HEADING if _DEFINITION.match(line) else Border.PARAGRAPH
    return Border.LINE


def _bounded(
    text: str, count: Callable[[str], int], max_tokens: int, kind: Border
) -> Iterator[tuple[str, int, Border | None]]:
    """(part, its tokens, the border before it) of a text, in parts of at most ``max_tokens``; None before the first.

    A text that is far too long is not counted: that may take much longer for one than for its parts.
    """
    if len(text) <= _MOST_CHARACTERS * max_tokens and (num_tokens := count(text)) <= max_tokens:
        yield text, num_tokens, None
        return
    if kind == Border.CHARACTER:
        width = max_tokens // 4  # a character has at most four bytes, and a byte is at most a token
        parts = [text[place : place + width] for place in range(0, len(text), width)]
        for number, part in enumerate(parts):
            yield part, count(part), Border.CHARACTER if number else None
        return
    for number, part in enumerate((_SENTENCE if kind == Border.SENTENCE else _WORD).split(text)):
        for inner_number, (inner, num_tokens, border) in enumerate(_bounded(part, count, max_tokens, Border(kind - 1))):
            if inner:
                yield inner, num_tokens, border if inner_number else (kind if number else None)
