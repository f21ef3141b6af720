"""From index entries to incompatibilities: what each version requires, excludes, and is unusable for."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

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
from xpm_index.entries import Candidate
from xpm_index.names import spellings
from xpm_index.requirements import Requirement
from xpm_index.versions import VersionRange


class Facts:
    """Makes packages by name and says what is true of them; the candidates are asked for each name once."""

    def __init__(self, problem: Problem, candidates: Candidates) -> None:
        self.problem = problem
        self._candidates = candidates
        self._packages: dict[str, Package] = {}
        self._of_version: dict[tuple[Package, int], Sequence[Incompatibility]] = {}
        self._said: dict[Package, _Saying] = {}
        self._matching: dict[tuple[Package, Requirement], int] = {}
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
            "yanked": package.where(lambda e: e.yanked is not None and e.version not in in_use)
            & ~self._pinned(package),
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

    def of_version(self, package: Package, version: int) -> Sequence[Incompatibility]:
        """What one version requires and excludes; said of all versions of which the same is true."""
        key = package, version
        if key not in self._of_version:  # a version is decided again and again
            self._of_version[key] = tuple(self._what_is_true_of(package, version))
        return self._of_version[key]

    def _what_is_true_of(self, package: Package, version: int) -> Iterator[Incompatibility]:
        entry = package.chosen(version)
        if package.kind == "base":
            return
        saying = self._saying(package)
        for requirement in entry.requires:
            mask = saying.requires[requirement]
            yield self._needs(package, mask, package.describe(mask), requirement, self.package(requirement.name.name))
        for requirement in entry.incompatible_with:
            other, mask = self.package(requirement.name.name), saying.incompatible_with[requirement]
            if other is not package and (clashing := other.matching(requirement)):
                yield Incompatibility({package: mask, other: clashing}, Clashes(package.describe(mask), requirement))
        for requirement in entry.optional:
            other, mask = self.package(requirement.name.name), saying.optional[requirement]
            if other is not package and (outside := other.present & ~self._allowed(other, requirement)):
                yield Incompatibility({package: mask, other: outside}, OnlyWith(package.describe(mask), requirement))
        yield from self._fits(package, entry)

    def _pinned(self, package: Package) -> int:
        """The versions that the project itself names exactly: somebody wants just these, yanked or not."""
        wanted = (self.problem.base,) if package.kind == "base" else self.problem.requirements
        ranges = [self.range_instead(each) or each.range for each in wanted if self._is_of(each, package)]
        return package.where(lambda e: any(each.is_exact and each.contains(e.version) for each in ranges))

    @staticmethod
    def _is_of(requirement: Requirement, package: Package) -> bool:
        return package.name in requirement.name.spellings()

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
        stated = Requirement(requirement.name, overridden) if overridden else requirement
        if not allowed:
            by_publisher = requirement.name.namespace is not None
            known = tuple(_described(entry, by_publisher=by_publisher) for entry in other.entries)
            return Incompatibility({package: mask}, NoVersion(by, stated, known))
        terms, outside = {package: mask}, ABSENT | (other.present & ~allowed)
        if other is package:  # an expert that requires itself
            terms[package] = mask & outside
        else:
            terms[other] = outside
        return Incompatibility(terms, Requires(by, stated, overridden=overridden is not None))

    def _allowed(self, package: Package, requirement: Requirement) -> int:
        key = package, requirement
        if key not in self._matching:
            self._matching[key] = package.matching(requirement, instead=self.range_instead(requirement))
        return self._matching[key]

    def _fits(self, package: Package, entry: Candidate) -> Iterator[Incompatibility]:
        """An expert needs an archive for the base: said of all versions with archives for the same of its versions."""
        fitting = self._bases_of(entry)
        if fitting == self.base.present:
            return
        same = self._saying(package).bases[fitting]
        names = tuple(sorted({ref.base for each in package.of(same) for ref in each.archives}))
        terms = {package: same, self.base: self.base.everything & ~fitting} if fitting else {package: same}
        yield Incompatibility(terms, NoArchive(self.base.name, names))

    def _bases_of(self, expert: Candidate) -> int:
        """The versions of the base that an expert has an archive for."""
        digests = {each.base_digest for each in expert.archives if not each.variant}
        return self.base.where(lambda base: base.archives[0].base_digest in digests)

    def _saying(self, package: Package) -> "_Saying":
        if package not in self._said:
            self._said[package] = _Saying(
                requires=package.by(lambda e: e.requires),
                incompatible_with=package.by(lambda e: e.incompatible_with),
                optional=package.by(lambda e: e.optional),
                bases=package.by(lambda e: [self._bases_of(e)]),
            )
        return self._said[package]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Saying:
    """Which versions of a package say the same: state a requirement, or fit the same versions of the base."""

    requires: Mapping[Requirement, int]
    incompatible_with: Mapping[Requirement, int]
    optional: Mapping[Requirement, int]
    bases: Mapping[int, int]


def _described(entry: Candidate, *, by_publisher: bool) -> str:
    by = f" by {entry.publisher}" if by_publisher else ""
    return f"{entry.version}{by}{' (yanked)' if entry.yanked else ''}"


def _rising(entries: list[Candidate]) -> tuple[Candidate, ...]:
    return tuple(sorted(entries, key=lambda entry: entry.version))
