"""The partial solution: what has been decided and what follows from it, in order."""

from dataclasses import dataclass

from xpm.resolve.incompatibility import Incompatibility
from xpm.resolve.package import ABSENT, Package


@dataclass(frozen=True, slots=True, eq=False)
class Assignment:
    """``package`` is in ``mask``; with all before it, in ``total``. ``cause`` is None for a decision."""

    package: Package
    mask: int
    total: int
    level: int
    cause: Incompatibility | None


class PartialSolution:
    """Invariant: ``total`` of a package's last assignment is the intersection of the masks of all of them."""

    def __init__(self) -> None:
        self.trail: list[Assignment] = []
        self.level = 0
        self._totals: dict[Package, int] = {}
        self._of: dict[Package, list[tuple[int, Assignment]]] = {}

    def total(self, package: Package) -> int:
        return self._totals.get(package, package.everything)

    def decide(self, package: Package, mask: int) -> None:
        self.level += 1
        self._assign(package, mask, None)

    def derive(self, package: Package, mask: int, cause: Incompatibility) -> None:
        self._assign(package, mask, cause)

    def undecided(self) -> list[Package]:
        """Packages that must be there without a decision, in the order in which they came up.

        One may have a single version left: what that version requires follows only from its decision.
        """
        return [
            package
            for package, assignments in self._of.items()
            if not self._totals[package] & ABSENT and assignments[-1][1].cause is not None
        ]

    def decisions(self) -> dict[Package, int]:
        """Packages that are there, with their one version."""
        return {p: total for p, total in self._totals.items() if not total & ABSENT and total.bit_count() == 1}

    def decided_at(self, level: int) -> tuple[Package, int]:
        """(package, version) of the decision that began a level."""
        return next((each.package, each.mask) for each in self.trail if each.level == level and each.cause is None)

    def backtrack(self, level: int) -> None:
        """Forget everything above ``level``."""
        while self.trail and self.trail[-1].level > level:
            gone = self.trail.pop().package
            self._of[gone].pop()
            if self._of[gone]:
                self._totals[gone] = self._of[gone][-1][1].total
            else:
                del self._of[gone], self._totals[gone]
        self.level = level

    def satisfier(self, package: Package, mask: int) -> tuple[int, Assignment]:
        """(position, assignment) at which ``package`` first was in ``mask`` for certain."""
        return next(each for each in self._of[package] if not each[1].total & ~mask)

    def _assign(self, package: Package, mask: int, cause: Incompatibility | None) -> None:
        total = self.total(package) & mask
        made = Assignment(package, mask, total, self.level, cause)
        self._of.setdefault(package, []).append((len(self.trail), made))
        self.trail.append(made)
        self._totals[package] = total
