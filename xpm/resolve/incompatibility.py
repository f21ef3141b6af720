"""Incompatibilities: what can't all be true at once, and why.

``terms`` maps packages to sets of states. The incompatibility says: not all of these packages are in their sets. A
requirement of ``a 1.0.0`` on ``b ^1`` reads: not (a is at 1.0.0 and b is absent or at a version outside ^1).
"""

from collections.abc import Mapping
from dataclasses import dataclass

from xpm.resolve.package import Package
from xpm_index.requirements import Requirement


@dataclass(frozen=True, slots=True)
class Requires:
    """A dependency; ``package`` None is the project itself. ``overridden`` tells that xpm.toml replaced its range."""

    by: str | None
    requirement: Requirement
    overridden: bool = False


@dataclass(frozen=True, slots=True)
class Unknown:
    """A dependency on a name that no index has."""

    by: str | None
    requirement: Requirement


@dataclass(frozen=True, slots=True)
class NoVersion:
    """A dependency that no published version satisfies; ``known`` are those that there are."""

    by: str | None
    requirement: Requirement
    known: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Clashes:
    """``incompatible_with`` of a manifest."""

    by: str
    requirement: Requirement


@dataclass(frozen=True, slots=True)
class OnlyWith:
    """An optional requirement: if the other is there, then in this range."""

    by: str
    requirement: Requirement


@dataclass(frozen=True, slots=True)
class NoArchive:
    """An expert fits some versions of ``base``, or none; ``bases`` are all that it has archives for."""

    base: str
    bases: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Unusable:
    """Versions that are out of the question; ``why`` completes "x is …"."""

    why: str


@dataclass(frozen=True, slots=True)
class Cycle:
    """Experts that require each other in a circle; ``path`` names them, the first again at the end."""

    path: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Derived:
    """Follows from two others."""

    left: "Incompatibility"
    right: "Incompatibility"


Cause = Requires | Unknown | NoVersion | Clashes | OnlyWith | NoArchive | Unusable | Cycle | Derived


@dataclass(frozen=True, slots=True, eq=False)
class Incompatibility:
    terms: Mapping[Package, int]
    cause: Cause

    @property
    def is_failure(self) -> bool:
        """Whether it says that the project itself is impossible."""
        return all(package.kind == "project" for package in self.terms)


def resolvent(conflict: Incompatibility, cause: Incompatibility, package: Package) -> Incompatibility:
    """What follows from two incompatibilities that meet in ``package``: their other terms can't all be true either.

    In ``package`` the union of both sets remains; if that is everything, the package is out of it.
    """
    terms = {each: mask for each, mask in conflict.terms.items() if each is not package}
    for each, mask in cause.terms.items():
        if each is not package:
            terms[each] = terms.get(each, each.everything) & mask
    union = conflict.terms[package] | cause.terms[package]
    if union != package.everything:
        terms[package] = union
    return Incompatibility(terms, Derived(conflict, cause))
