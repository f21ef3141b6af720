"""What is asked of the resolver, and what it answers."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from xpm_index.entries import Candidate
from xpm_index.requirements import Requirement
from xpm_index.versions import Version, VersionRange

Candidates = Callable[[str], Sequence[Candidate]]
"""All published versions of a name under either of its spellings, in any order; () if there are none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """A project's wishes.

    Args:
        requirements: the project's own, in its order.
        base: the wanted base and its range; ``variant`` is which of its archives is needed.
        locked: versions to prefer.
        kept: versions that are in use; a yanked version is chosen only if it is one of these, or
            locked, or named exactly.
        prefer_oldest: take the lowest versions that fit instead of the highest.
        exclude_newer: ignore what was published after this time (RFC 3339, UTC), unless it is locked.
        overrides: name → range that takes the place of every requirement on it.
        asked: names that the user asks for just now; suggestions repeat them.
    """

    requirements: tuple[Requirement, ...]
    base: Requirement
    variant: str
    locked: Mapping[str, Version] = field(default_factory=dict)
    kept: Mapping[str, Version] = field(default_factory=dict)
    prefer_oldest: bool = False
    exclude_newer: str | None = None
    overrides: Mapping[str, VersionRange] = field(default_factory=dict)
    asked: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolution:
    """``experts`` are in composition order."""

    base: Candidate
    experts: tuple[Candidate, ...]
