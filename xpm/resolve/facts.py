"""From index entries to incompatibilities: what each version requires, excludes, and is unusable for."""

from collections.abc import Iterator

from xpm.resolve.incompatibility import (
    Clashes,
    Incompatibility,
    NoArchive,
    NoVersion,
    OnlyWith,
    Requires,
    Unknown,
    Unusable,
)
from xpm.resolve.package import ABSENT, Package
from xpm.resolve.problem import Candidates, Problem
from xpm_index.entries import Entry
from xpm_index.names import spellings
from xpm_index.requirements import Requirement
from xpm_index.versions import VersionRange


class Facts:
    """Makes packages by name and says what is true of them; the candidates are asked for each name once."""

    def __init__(self, problem: Problem, candidates: Candidates) -> None:
        self.problem = problem
        self._candidates = candidates
        self._packages: dict[str, Package] = {}
        self.project = Package("the project", (), kind="project")
        self.project.present, self.project.everything = 2, 3
        found = [entry for entry in candidates(problem.base.name.name) if entry.kind == "base"]
        name = found[0].name if found else problem.base.name.name
        self.base = Package(name, _rising(found), kind="base")

    def package(self, name: str) -> Package:
        """The package of an expert under either spelling; without versions if no index has it."""
        if name not in self._packages:
            found = [entry for entry in self._candidates(name) if entry.kind == "expert"]
            package = Package(found[0].name if found else name, _rising(found))
            for spelled in spellings(name):
                self._packages[spelled] = package
        return self._packages[name]

    def of_project(self) -> Iterator[Incompatibility]:
        """What the project wants."""
        yield self._needs(self.project, 2, None, self.problem.base, self.base)
        for requirement in self.problem.requirements:
            yield self._needs(self.project, 2, None, requirement, self.package(requirement.name.name))

    def of_package(self, package: Package) -> Iterator[Incompatibility]:
        """What is true of whole sets of a package's versions: those that are out of the question."""
        in_use = {self.problem.locked.get(package.name), self.problem.kept.get(package.name)}
        newest = self.problem.exclude_newer
        unusable = {
            "yanked": package.where(lambda e: e.yanked is not None and e.version not in in_use),
            f"newer than {newest}": package.where(
                lambda e: newest is not None and e.published_at > newest and e.version not in in_use
            ),
        }
        if package.kind == "base":
            variant = self.problem.variant
            others = sorted({a.variant for e in package.entries for a in e.archives} - {variant})
            why = f"not there as {variant} (but as {' and '.join(others)})" if others else f"not there as {variant}"
            unusable[why] = package.where(lambda e: all(a.variant != variant for a in e.archives))
        for why, mask in unusable.items():
            if mask:
                yield Incompatibility({package: mask}, Unusable(why))

    def of_version(self, package: Package, version: int) -> Iterator[Incompatibility]:
        """What one version requires and excludes, told of all versions of which the same is true."""
        entry = package.chosen(version)
        if package.kind == "base":
            return
        for requirement in entry.requires:
            mask = package.where(lambda e, r=requirement: r in e.requires)  # type: ignore[misc]
            yield self._needs(package, mask, package.describe(mask), requirement, self.package(requirement.name.name))
        for requirement in entry.incompatible_with:
            other = self.package(requirement.name.name)
            mask = package.where(lambda e, r=requirement: r in e.incompatible_with)  # type: ignore[misc]
            if other is not package and (clashing := other.matching(requirement)):
                yield Incompatibility({package: mask, other: clashing}, Clashes(package.describe(mask), requirement))
        for requirement in entry.optional:
            other = self.package(requirement.name.name)
            mask = package.where(lambda e, r=requirement: r in e.optional)  # type: ignore[misc]
            if other is not package and (outside := other.present & ~self._allowed(other, requirement)):
                yield Incompatibility({package: mask, other: outside}, OnlyWith(package.describe(mask), requirement))
        yield from self._fits(package, entry)

    def range_instead(self, requirement: Requirement) -> VersionRange | None:
        """The override of a requirement's range, or None."""
        found = (self.problem.overrides.get(spelled) for spelled in requirement.name.spellings())
        return next((each for each in found if each is not None), None)

    def _needs(
        self, package: Package, mask: int, by: str | None, requirement: Requirement, other: Package
    ) -> Incompatibility:
        if not other.entries:
            return Incompatibility({package: mask}, Unknown(by, requirement))
        allowed = self._allowed(other, requirement)
        overridden = self.range_instead(requirement)
        told = Requirement(requirement.name, overridden) if overridden else requirement
        if not allowed:
            by_publisher = requirement.name.namespace is not None
            known = tuple(_told(entry, by_publisher=by_publisher) for entry in other.entries)
            return Incompatibility({package: mask}, NoVersion(by, told, known))
        terms, outside = {package: mask}, ABSENT | (other.present & ~allowed)
        if other is package:  # an expert that requires itself
            terms[package] = mask & outside
        else:
            terms[other] = outside
        return Incompatibility(terms, Requires(by, told, overridden=overridden is not None))

    def _allowed(self, package: Package, requirement: Requirement) -> int:
        return package.matching(requirement, instead=self.range_instead(requirement))

    def _fits(self, package: Package, entry: Entry) -> Iterator[Incompatibility]:
        """An expert needs an archive for the base: told of all versions with archives for the same of its versions."""

        def bases(expert: Entry) -> int:
            return self.base.where(lambda base: expert.archive_for(base.archives[0].base_digest) is not None)

        fitting = bases(entry)
        if fitting == self.base.present:
            return
        same = package.where(lambda e: bases(e) == fitting)
        names = tuple(sorted({ref.base for each in package.of(same) for ref in each.archives}))
        terms = {package: same, self.base: self.base.everything & ~fitting} if fitting else {package: same}
        yield Incompatibility(terms, NoArchive(self.base.name, names))


def _told(entry: Entry, *, by_publisher: bool) -> str:
    by = f" by {entry.publisher}" if by_publisher else ""
    return f"{entry.version}{by}{' (yanked)' if entry.yanked else ''}"


def _rising(entries: list[Entry]) -> tuple[Entry, ...]:
    return tuple(sorted(entries, key=lambda entry: entry.version))
