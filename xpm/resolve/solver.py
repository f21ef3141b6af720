"""PubGrub: decide, propagate, and learn from each conflict why it came about.

The loop alternates between unit propagation (whatever follows from what is known) and one decision (a version of a
package that must be there). A conflict is resolved back to its root cause, a new incompatibility, which makes the
search jump over everything that could not have helped. If the root cause is about the project alone, there is no
solution, and it is the proof of that.

What to decide next, and when to take a decision back that is in the way, follows uv: by conflicts,
then in the order of wishes.

Source: Natalie Weizenbaum's description of the algorithm; here over finite sets of states (``xpm.resolve.package``), so
that a positive and a negative term are the same thing.
"""

from collections.abc import Callable, Iterable, Mapping

from xpm.resolve.facts import Facts
from xpm.resolve.incompatibility import Derived, Incompatibility, resolvent
from xpm.resolve.package import Package
from xpm.resolve.partial import PartialSolution
from xpm_index.entries import Candidate
from xpm_index.versions import Version

_PROJECT_LEVEL = 1
_MANY_CONFLICTS = 5

Check = Callable[[Mapping[Package, Candidate]], Incompatibility | None]
"""Looks at a whole solution; the incompatibility that it violates, or None."""


class NoSolution(Exception):
    """``root`` is about the project alone; its derivation is the proof."""

    def __init__(self, root: Incompatibility) -> None:
        super().__init__("there is no solution")
        self.root = root


class Solver:
    def __init__(self, facts: Facts, *, check: Check = lambda chosen: None) -> None:
        self._facts = facts
        self._check = check
        self._solution = PartialSolution()
        self._known: dict[Package, list[Incompatibility]] = {}
        self._met: dict[Package, int] = {}
        self._num_conflicts: dict[Package, int] = {}
        self._in_the_way: dict[tuple[Package, Package], int] = {}
        self._swapped: set[tuple[Package, ...]] = set()
        self._stated: set[tuple[object, ...]] = set()

    def solve(self) -> dict[Package, Candidate]:
        """The chosen version of the base and of every expert needed.

        Raises:
            NoSolution: there is none.
        """
        self._solution.decide(self._facts.project, 2)
        self._learn(self._facts.of_project())
        self._propagate(self._facts.project)
        while True:
            package = self._decide()
            if package is not None:
                self._propagate(package)
                continue
            chosen = {p: p.chosen(mask) for p, mask in self._solution.decisions().items() if p.kind != "project"}
            violated = self._check(chosen)
            if violated is None:
                return chosen
            self._add(violated)
            self._propagate_from(violated)

    # Decisions

    def _decide(self) -> Package | None:
        """Decide the package that ``_urgency`` puts first; the package to propagate from, None if all is decided.

        A version whose facts contradict what is known is not decided: propagation will rule it out.
        """
        undecided = self._solution.undecided()
        if not undecided:
            return None
        package = min(undecided, key=self._urgency)
        version = self._preferred(package)
        added = self._learn(self._facts.of_version(package, version))
        contradicted = [each for each in added if self._is_contradicted(each, package, version)]
        if not contradicted:
            self._solution.decide(package, version)
        elif (level := self._level_in_the_way(package, contradicted[0])) is not None:
            self._solution.backtrack(level - 1)
        return package

    def _urgency(self, package: Package) -> tuple[int, int, int]:
        """What to decide next: the least comes first.

        1. What has one version left: nothing is chosen there.
        2. What had part in many conflicts: decided early, it is found out sooner what it does not go with.
        3. What was met first, so the project's own wishes before what only follows from them. These get their
           newest versions, and what follows is fitted to them, instead of the other way round.
        """
        is_free = self._solution.total(package).bit_count() > 1
        num_conflicts = self._num_conflicts.get(package, 0)
        return is_free, -num_conflicts if num_conflicts >= _MANY_CONFLICTS else 0, self._met[package]

    def _level_in_the_way(self, package: Package, contradicted: Incompatibility) -> int | None:
        """The level of the decision that rules out one version of ``package`` after the other,
        once it has done so often.

        Then it is taken back, and ``package`` decided before it: of two that can't both be the newest, better one that
        loses a version than one that loses a hundred. No two change places twice, and what is locked does not give way.
        """
        others = [(each, mask) for each, mask in contradicted.terms.items() if each is not package]
        level = max([_PROJECT_LEVEL, *(self._solution.satisfier(each, mask)[1].level for each, mask in others)])
        culprit, version = self._solution.decided_at(level)
        pair = package, culprit
        self._in_the_way[pair] = self._in_the_way.get(pair, 0) + 1
        if level == _PROJECT_LEVEL or self._in_the_way[pair] != _MANY_CONFLICTS:
            return None
        if pair[::-1] in self._swapped or culprit.chosen(version).version == self._locked(culprit):
            return None
        self._swapped.add(pair)
        most = max(self._num_conflicts.values(), default=0)
        self._num_conflicts[package] = max(most, _MANY_CONFLICTS) + 1
        return level

    def _locked(self, package: Package) -> Version | None:
        return self._facts.problem.locked.get(package.name)

    def _preferred(self, package: Package) -> int:
        """The locked version if it is still possible, else the newest, or the oldest if the project prefers that."""
        versions = list(package.bits(self._solution.total(package)))
        locked = self._locked(package)
        for version in versions:
            if package.chosen(version).version == locked:
                return version
        return versions[0] if self._facts.problem.prefer_oldest else versions[-1]

    def _is_contradicted(self, incompatibility: Incompatibility, package: Package, version: int) -> bool:
        """Whether deciding ``version`` would make all terms true at once."""
        return all(
            not (version if each is package else self._solution.total(each)) & ~mask
            for each, mask in incompatibility.terms.items()
        )

    # Propagation

    def _learn(self, facts: Iterable[Incompatibility]) -> list[Incompatibility]:
        """Take in facts that are new, with the facts about the packages that they mention; all of ``facts``."""
        taken = list(facts)
        for fact in taken:
            self._add(fact)
            for package in fact.terms:
                if package not in self._met:
                    self._met[package] = len(self._met)
                    if package.kind == "project":
                        continue
                    self._learn(self._facts.of_package(package))
        return taken

    def _add(self, fact: Incompatibility) -> None:
        key = (fact.cause, *((id(package), mask) for package, mask in fact.terms.items()))
        if not isinstance(fact.cause, Derived):
            if key in self._stated:
                return
            self._stated.add(key)
        for package in fact.terms:
            self._known.setdefault(package, []).append(fact)

    def _propagate(self, package: Package) -> None:
        """Derive everything that follows from a change of ``package``."""
        changed = [package]
        while changed:
            current = changed.pop()
            for fact in reversed(self._known.get(current, [])):
                if not self._solution.total(current) & fact.terms[current]:
                    continue  # it says nothing of what is left
                state = self._examine(fact)
                if state is True:
                    root = self._resolve(fact)
                    changed = [self._derive_from(root)]
                    break
                if isinstance(state, Package):
                    self._solution.derive(state, state.everything & ~fact.terms[state], fact)
                    changed.append(state)

    def _propagate_from(self, violated: Incompatibility) -> None:
        """Go on after a whole solution turned out to violate something."""
        self._propagate(self._derive_from(self._resolve(violated)))

    def _derive_from(self, root: Incompatibility) -> Package:
        """Derive what a root cause says after backtracking: all its terms but one are true."""
        state = self._examine(root)
        if not isinstance(state, Package):
            raise AssertionError("a root cause leaves exactly one term open")
        self._solution.derive(state, state.everything & ~root.terms[state], root)
        return state

    def _examine(self, fact: Incompatibility) -> bool | Package:
        """True if all terms are true (a conflict), the one package whose term is open, or False."""
        left: Package | None = None
        for package, mask in fact.terms.items():
            total = self._solution.total(package)
            if not total & ~mask:
                continue
            if not total & mask or left is not None:
                return False
            left = package
        return left if left is not None else True

    # Conflicts

    def _resolve(self, conflict: Incompatibility) -> Incompatibility:
        """Find the root cause of a conflict and go back to where it leaves one term open; raises NoSolution."""
        for package in conflict.terms:
            self._num_conflicts[package] = self._num_conflicts.get(package, 0) + 1
        while not conflict.is_failure:
            found = {package: self._solution.satisfier(package, mask) for package, mask in conflict.terms.items()}
            package = max(found, key=lambda each: found[each][0])
            satisfier = found[package][1]
            earlier = [assignment.level for each, (_, assignment) in found.items() if each is not package]
            if satisfier.mask & ~conflict.terms[package]:
                # It took an earlier assignment of the same package too.
                rest = conflict.terms[package] | (package.everything & ~satisfier.mask)
                earlier.append(self._solution.satisfier(package, rest)[1].level)
            previous = max([_PROJECT_LEVEL, *earlier])
            if satisfier.cause is None or previous != satisfier.level:
                self._solution.backtrack(previous)
                if isinstance(conflict.cause, Derived):
                    self._add(conflict)
                return conflict
            conflict = resolvent(conflict, satisfier.cause, package)
        raise NoSolution(conflict)
