"""Semantic versions and ranges over them.

A range is a union (``||``) of conjunctions of comparators. As in node-semver, a pre-release satisfies a conjunction
only if one of its comparators names a pre-release of the same major.minor.patch.
"""

import operator
import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, total_ordering
from itertools import takewhile

import semver

from xpm_index.errors import InvalidVersion

_PART = r"(0|[1-9][0-9]{0,17}|[xX*])"
_PARTIAL = re.compile(rf"v?{_PART}(?:\.{_PART})?(?:\.{_PART})?(-[0-9A-Za-z.-]+)?(\+[0-9A-Za-z.-]+)?")
_COMPARATOR = re.compile(r"(>=|<=|!=|==|>|<|=|\^|~)?\s*([^\s,<>=!^~|]+)")


@total_ordering
@dataclass(frozen=True, slots=True)
class Version:
    """A semantic version 2.0.0; ordered by precedence, equal only if the text is equal."""

    text: str

    @classmethod
    def parse(cls, text: str) -> "Version":
        """Raises InvalidVersion if ``text`` is not ``major.minor.patch[-pre][+build]``."""
        try:
            return cls(str(semver.Version.parse(text)))
        except (ValueError, TypeError) as error:
            raise InvalidVersion(
                f"{str(text)[:80]!r} is not a semantic version", hint="write e.g. 1.2.0 or 1.2.0-rc.1"
            ) from error

    @property
    def precedence(self) -> "Precedence":
        """What versions are ordered by; build metadata has no part in it."""
        return _precedence(self.text)

    @property
    def release(self) -> tuple[int, int, int]:
        return _precedence(self.text)[0]

    @property
    def is_prerelease(self) -> bool:
        return not _precedence(self.text)[1]

    def __str__(self) -> str:
        return self.text

    def __lt__(self, other: "Version") -> bool:
        return (self.precedence, self.text) < (other.precedence, other.text)


Precedence = tuple[tuple[int, int, int], bool, tuple[tuple[bool, int, str], ...]]
"""(major.minor.patch, whether it is a release, the pre-release identifiers: numbers before words)."""


@lru_cache(maxsize=1 << 16)
def _precedence(text: str) -> Precedence:
    parsed = semver.Version.parse(text)
    identifiers = parsed.prerelease.split(".") if parsed.prerelease else []
    ordered = tuple((not each.isdigit(), int(each) if each.isdigit() else 0, each) for each in identifiers)
    return (parsed.major, parsed.minor, parsed.patch), not identifiers, ordered


_OPERATORS = {
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
    "=": operator.eq,
    "!=": operator.ne,
}


@dataclass(frozen=True, slots=True)
class Comparator:
    operator: str  # one of > >= < <= = !=
    version: Version

    def accepts(self, version: Version) -> bool:
        return bool(_OPERATORS[self.operator](version.precedence, self.version.precedence))


@dataclass(frozen=True, slots=True)
class VersionRange:
    """A union of conjunctions of comparators; ``text`` is what was parsed."""

    text: str
    alternatives: tuple[tuple[Comparator, ...], ...]

    @classmethod
    def parse(cls, text: str) -> "VersionRange":
        """Parse ``>=1.0,<2``, ``^1.2``, ``~1.2.3``, ``1.x``, ``*``, ``<1 || >=2`` …; raises InvalidVersion."""
        text = text.strip()
        return cls(text or "*", tuple(_parse_conjunction(part, text) for part in text.split("||")))

    def contains(self, version: Version) -> bool:
        return any(_satisfies(version, comparators) for comparators in self.alternatives)

    def positions(self, rising: Sequence[Version]) -> Iterator[int]:
        """The positions of the versions contained, in versions that rise; those far outside
        the range are not looked at."""
        for comparators in self.alternatives:
            low, high = _window(rising, comparators)
            yield from (each for each in range(low, high) if _satisfies(rising[each], comparators))

    @property
    def is_exact(self) -> bool:
        """Whether it names one version, ``=1.2.0`` or ``1.2.0``."""
        return [[each.operator for each in one] for one in self.alternatives] == [["="]]

    def __str__(self) -> str:
        return self.text


def _satisfies(version: Version, comparators: tuple[Comparator, ...]) -> bool:
    if version.is_prerelease and not any(
        c.version.is_prerelease and c.version.release == version.release for c in comparators
    ):
        return False
    return all(comparator.accepts(version) for comparator in comparators)


def _window(rising: Sequence[Version], comparators: Sequence[Comparator]) -> tuple[int, int]:
    """(first, end) of the positions outside of which some comparator does not accept."""
    first, end = 0, len(rising)
    for each in comparators:
        if each.operator in (">", ">=", "="):
            first = max(first, bisect_left(rising, each.version.precedence, key=_order))
        if each.operator in ("<", "<=", "="):
            end = min(end, bisect_right(rising, each.version.precedence, key=_order))
    return first, end


def _order(version: Version) -> Precedence:
    return version.precedence


def _parse_conjunction(part: str, whole: str) -> tuple[Comparator, ...]:
    rest = part.strip().strip(",").strip()
    comparators: list[Comparator] = []
    position = 0
    while position < len(rest):
        match = _COMPARATOR.match(rest, position)
        if match is None:
            raise InvalidVersion(f"{whole[:80]!r} is not a version range", hint="write e.g. `>=1.0,<2`, `^1.2` or `*`")
        comparators += _expand(match[1] or "", match[2], whole)
        position = match.end()
        while position < len(rest) and rest[position] in ", ":
            position += 1
    return tuple(comparators)


def _expand(operator: str, text: str, whole: str) -> list[Comparator]:
    match = _PARTIAL.fullmatch(text)
    parts = [group for group in match.groups()[:3] if group is not None] if match else []
    numbers = [int(part) for part in takewhile(str.isdigit, parts)]
    complete = len(numbers) == 3
    if match is None or any(map(str.isdigit, parts[len(numbers) :])) or (match[4] and not complete):
        raise InvalidVersion(
            f"{whole[:80]!r} is not a version range: {text!r} is not a version", hint="write e.g. `>=1.0,<2`"
        )
    operator = "=" if operator == "==" else operator
    if operator == "!=" and not complete:
        raise InvalidVersion(f"{whole[:80]!r}: `!=` needs a complete version", hint="write e.g. `!=1.2.0`")
    if not numbers:
        return [Comparator("<", _LOWEST)] if operator in ("<", ">") else []
    padded = numbers + [0] * (3 - len(numbers))
    low = Version.parse(".".join(map(str, padded)) + (match[4] or ""))
    if operator == "^":
        first = next((i for i, n in enumerate(numbers) if n), len(numbers) - 1)
        return _between(low, _bump(padded, first))
    if operator == "~":
        return _between(low, _bump(padded, min(1, len(numbers) - 1)))
    if complete:
        return [Comparator(operator or "=", low)]
    above = _bump(padded, len(numbers) - 1)
    if operator in ("", "="):
        return _between(low, above)
    if operator == ">":  # above every version that begins so, and no pre-release of the next one
        return [Comparator(">=", Version(".".join(map(str, above.release))))]
    return [Comparator("<", above) if operator == "<=" else Comparator(operator, low)]


def _bump(numbers: list[int], position: int) -> Version:
    """The lowest version above every one that shares ``numbers`` up to and including ``position``."""
    bumped = [*numbers[:position], numbers[position] + 1, 0, 0][:3]
    return Version.parse(".".join(map(str, bumped)) + "-0")


_LOWEST = Version("0.0.0-0")


def _between(low: Version, high: Version) -> list[Comparator]:
    return [Comparator(">=", low), Comparator("<", high)]


ANY = VersionRange.parse("*")
