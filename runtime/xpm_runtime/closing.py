"""The shortest known way to end a text that a grammar constrains, byte by byte.

A breadth-first search in layers of decisions: bytes that leave no choice are followed at once. It asks a grammar
only what may come next, so it can't know what leads to an end, and goes by what holds for most languages: brackets
and quotes want to be closed, blanks to be followed by something else, of a name any letter will do. It may find
nothing where there is a way.
"""

import re
from dataclasses import dataclass, replace
from typing import Protocol

_MAX_DECISIONS = 400
_MAX_LOOKS = 1_500
_BEAM = 24
_QUOTES = b"\"'`"
_OPENING = b"([{"
_CLOSING = b"}])>"
_BLANKS = b" \n\r\t"
_OTHERS = b",:=;.-<([{"  # which are tried first
# Words that close what was begun, in languages where a name might stand in their stead: no byte tells them from one.
_ENDS = (b"end", b"END", b"fi", b"done", b"esac")
# A text is never ended by an order to change something that it had not begun. What stands behind a dot
# or a colon, in quotes, or has both cases is a name, and what begins with SELECT changes nothing.
_WORDS = rb"delete|detach|set|drop|remove|create|merge|update|insert|truncate|alter"
_CHANGES = re.compile(rb"(?<![.:`\"'\w])(?:" + _WORDS + rb"|" + _WORDS.upper() + rb")\b")
_BEHIND_BACKSLASH = re.compile(rb"(?<=\\)[\"'`]")
_READS = re.compile(rb"\s*(?:select|SELECT)\b")


class Following(Protocol):
    """What may follow a text, in bytes."""

    def copy(self) -> "Following": ...

    def next_bytes(self) -> bytes:
        """The bytes that may come next, in ascending order."""

    def take(self, text: bytes) -> bool:
        """Go on behind ``text``, if it may come next."""

    def forced_bytes(self) -> bytes:
        """The bytes that must come next."""

    @property
    def is_complete(self) -> bool: ...


@dataclass(frozen=True, slots=True)
class _Nesting:
    depth: int = 0
    quote: int = 0
    is_escaped: bool = False

    def behind(self, text: bytes) -> "_Nesting":
        depth, quote, is_escaped = self.depth, self.quote, self.is_escaped
        for byte in text:
            if quote:
                if byte == quote and not is_escaped:
                    quote = 0
                is_escaped = byte == ord("\\") and not is_escaped
            elif byte in _QUOTES:
                quote = byte
            else:
                depth += (byte in _OPENING) - (byte in b")]}")
        return _Nesting(depth, quote, is_escaped)


@dataclass(frozen=True, slots=True)
class _Way:
    """``word`` is the last one that was begun with a letter and went on by itself, ``num_words`` how many did."""

    text: bytes
    state: Following
    nesting: _Nesting
    word: bytes = b""
    num_words: int = 0
    is_known: bool = False  # what may follow was met before, which smells of a circle

    @property
    def rank(self) -> int:
        return 2 * self.nesting.depth + bool(self.nesting.quote) + 3 * self.is_known - min(self.num_words, 6)


def shortest_end(begun: Following, written: bytes) -> bytes | None:
    """What to write behind ``written`` so that the text is complete: b"" if it is, None if no way was found.

    Args:
        begun: what may follow where nothing is written yet.
    """
    may_change = _changes(written)
    start = begun.copy()
    nesting = _nested(_Nesting(), start, written)
    if nesting is None:
        return None
    layer = [_Way(b"", start, nesting)]
    met: set[tuple[bytes, _Nesting, bytes]] = set()
    num_looks = 0
    for _ in range(_MAX_DECISIONS):
        found: dict[tuple[bytes, _Nesting, bytes], _Way] = {}
        for way in layer:
            if way.state.is_complete:
                return way.text
            for further, possible in _further(way, written, may_change):
                if further.state.is_complete:
                    return further.text
                key = (possible, further.nesting, further.word)
                if key not in found:
                    known = _Way(
                        further.text, further.state, further.nesting, further.word, further.num_words, key in met
                    )
                    found[key] = known
            num_looks += 1
        if not found or num_looks > _MAX_LOOKS:
            return None
        met |= found.keys()
        layer = sorted(found.values(), key=lambda way: way.rank)[:_BEAM]
    return None


def _changes(text: bytes, start: int = 0) -> bool:
    """Whether a text orders a change from ``start`` on."""
    return _READS.match(text) is None and _CHANGES.search(text, start) is not None


def _nested(nesting: _Nesting, state: Following, text: bytes) -> _Nesting | None:
    """Lets ``state`` go on behind ``text``: how that leaves the nesting, None if ``text`` may not come next.

    Whether a backslash keeps a quote from closing is the language's affair: in SQL it does not. There anything may
    follow it, and behind the quote not any letter.
    """
    before = b"\\" if nesting.is_escaped else b""
    text = before + text
    at = len(before)
    for found in _BEHIND_BACKSLASH.finditer(text):
        if not _take(state, text[at : found.start()]):
            return None
        nesting = nesting.behind(text[at : found.start()])
        at = found.end()
        is_open = nesting.is_escaped and nesting.quote == found[0][0]
        may_close = is_open and _has_names(state.next_bytes())
        if not state.take(found[0]):
            return None
        nesting = nesting.behind(found[0])
        if may_close and not _has_names(state.next_bytes()):
            nesting = replace(nesting, quote=0)
    return nesting.behind(text[at:]) if _take(state, text[at:]) else None


def _take(state: Following, text: bytes) -> bool:
    return not text or state.take(text)


def _further(way: _Way, written: bytes, may_change: bool) -> list[tuple[_Way, bytes]]:
    """The ways one decision on, each with the bytes that may follow it."""
    result = []
    possible = way.state.next_bytes()
    letters = [bytes([byte]) for byte in _candidates(possible, (way.text or written)[-1:], way.nesting.quote)]
    ends = _ENDS if not way.nesting.quote and _has_names(possible) else ()
    for begun in (*letters, *ends):
        added, state = begun, way.state.copy()
        nesting = _nested(way.nesting, state, added)
        if nesting is None:
            continue
        if not state.is_complete and (forced := state.forced_bytes()) and (behind := _nested(nesting, state, forced)):
            added, nesting = added + forced, behind
        text = way.text + added
        if not may_change and _changes(written + text, len(written)):
            continue
        is_word = len(added) > 1 and begun not in ends and added[-2:].strip().isalpha()
        word = added if is_word else way.word
        result.append((_Way(text, state, nesting, word, way.num_words + is_word), state.next_bytes()))
    return result


def _has_names(possible: bytes) -> bool:
    """Whether what may come next is a name or a text: any letter will do."""
    return sum(chr(byte).isalpha() or byte == ord("_") for byte in possible if byte < 0x80) >= 26


def _candidates(possible: bytes, last: bytes, quote: int) -> list[int]:
    """Of the bytes that may come next those that are worth a try, the best first."""
    plain = [byte for byte in possible if byte < 0x80]
    if not plain:
        return list(possible[:1])
    letters = [byte for byte in plain if chr(byte).isalpha() or byte == ord("_")]
    digits = [byte for byte in plain if chr(byte).isdigit()]
    blanks = [byte for byte in _BLANKS if byte in plain]
    others = [byte for byte in plain if byte not in letters and byte not in digits and byte not in _BLANKS]
    if _has_names(possible):
        letters = letters[-1:]
    if quote:
        return [quote] if quote in others else letters[:1] or digits[:1] or others[:16] + blanks[:1]
    closing = [byte for byte in _CLOSING + _QUOTES if byte in others]
    others = [byte for byte in others if byte not in closing]
    others = sorted(others, key=lambda byte: _OTHERS.find(byte) % 99)[:5]
    if last.isalnum() and (closing or others or blanks) and len(letters) + len(digits) > 8:
        letters, digits = [], []  # the name is long enough
    letters = [byte for byte in letters if not (chr(byte).islower() and ord(chr(byte).upper()) in letters)]
    if last in _BLANKS and (closing or digits or letters or others):
        blanks = []
    return closing + digits[:1] + letters + others + blanks[:1]
