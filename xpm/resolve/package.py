"""Packages as the solver sees them: a finite set of states, and subsets of it as bit masks.

A package is either absent (bit 0) or at one of its published versions (bits 1…n, rising). A subset of these n + 1
states is an ``int``. So every set operation is exact, whatever the version syntax: node-semver's rule for pre-releases,
a publisher, a yanked version are all just subsets.
"""

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from xpm_index.entries import Candidate
from xpm_index.requirements import Requirement
from xpm_index.versions import Version, VersionRange

ABSENT = 1
_MAX_LISTED = 4
T = TypeVar("T", bound=Hashable)


@dataclass(eq=False, slots=True)
class Package:
    """``entries`` by rising version; compared by identity, since the solver makes one per name."""

    name: str
    entries: tuple[Candidate, ...]
    kind: str = "expert"
    present: int = field(init=False)
    everything: int = field(init=False)
    _versions: tuple[Version, ...] = field(init=False)

    def __post_init__(self) -> None:
        self.present = ((1 << len(self.entries)) - 1) << 1
        self.everything = self.present | ABSENT
        self._versions = tuple(entry.version for entry in self.entries)

    def where(self, accepts: Callable[[Candidate], bool]) -> int:
        """The versions that ``accepts`` holds for."""
        return sum(1 << number for number, entry in enumerate(self.entries, start=1) if accepts(entry))

    def by(self, values: Callable[[Candidate], Iterable[T]]) -> dict[T, int]:
        """For each value that entries have, the versions that have it; one pass, where asking
        ``where`` for each would be many."""
        found: dict[T, int] = {}
        for number, entry in enumerate(self.entries, start=1):
            for value in values(entry):
                found[value] = found.get(value, 0) | 1 << number
        return found

    def matching(self, requirement: Requirement, *, instead: VersionRange | None = None) -> int:
        """The versions that satisfy a requirement, with the range ``instead`` of its own if that is given."""
        wanted, publisher = instead or requirement.range, requirement.name.namespace
        found = 0
        for position in wanted.positions(self._versions):
            if publisher in (None, self.entries[position].publisher):
                found |= 2 << position
        return found

    def chosen(self, mask: int) -> Candidate:
        """The entry of a mask with one version in it."""
        return self.entries[mask.bit_length() - 2]

    def of(self, mask: int) -> Iterator[Candidate]:
        return (entry for number, entry in enumerate(self.entries, start=1) if mask >> number & 1)

    def bits(self, mask: int) -> Iterator[int]:
        """The single-version masks within ``mask``, lowest first."""
        return (1 << number for number in range(1, len(self.entries) + 1) if mask >> number & 1)

    def describe(self, mask: int) -> str:
        """A set of versions in words: ``expert-a >=1.2.0``."""
        versions = mask & self.present
        if versions == self.present:
            return (
                f"every version of {self.name}" if len(self.entries) != 1 else f"{self.name} {self.entries[0].version}"
            )
        if not versions:
            return f"no version of {self.name}"
        runs = list(self._runs(versions))
        ranges = [_run(self.entries, first, last) for first, last in runs]
        if len(ranges) > _MAX_LISTED:
            ranges = [*ranges[: _MAX_LISTED - 1], f"{len(ranges) - _MAX_LISTED + 1} further ranges"]
        return f"{self.name} {_either(ranges)}"

    def _runs(self, versions: int) -> Iterator[tuple[int, int]]:
        """(first, last) of each run of neighbouring versions, as positions in ``entries``."""
        start: int | None = None
        for position in range(len(self.entries) + 1):
            inside = bool(versions >> (position + 1) & 1)
            if inside and start is None:
                start = position
            elif not inside and start is not None:
                yield start, position - 1
                start = None


def _run(entries: Sequence[Candidate], first: int, last: int) -> str:
    if first == last:
        return str(entries[first].version)
    if last == len(entries) - 1:
        return f">={entries[first].version}"
    if first == 0:
        return f"<={entries[last].version}"
    return f">={entries[first].version},<={entries[last].version}"


def _either(items: Sequence[str]) -> str:
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} or {items[-1]}"
