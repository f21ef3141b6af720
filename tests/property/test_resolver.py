"""The resolver against brute force, against another resolver, and its proofs against the
facts, on small random worlds."""

import itertools
from collections.abc import Iterator

import resolvelib
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.world import World
from xpm.errors import ResolutionError
from xpm.resolve import Problem, resolve
from xpm.resolve.explain import leaves
from xpm.resolve.facts import Facts
from xpm.resolve.incompatibility import Incompatibility
from xpm.resolve.package import Package
from xpm.resolve.solver import NoSolution, Solver
from xpm_index.entries import Entry

NAMES = ("a", "b", "c", "d")
RANGES = ("*", "^1", "^2", "<2", ">=2", "1.0.0", "!=2.0.0", ">=3.0.0-rc.1")
VERSIONS = ("1.0.0", "1.1.0", "2.0.0", "3.0.0-rc.1")
BASES = ("tiny 1.0.0", "tiny 2.0.0")
QUICK = settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.too_slow])

requirements = st.builds(lambda name, wanted: f"{name}@{wanted}", st.sampled_from(NAMES), st.sampled_from(RANGES))


@st.composite
def worlds(draw) -> World:
    world = (
        World()
        .serve_base("tiny", "1.0.0")
        .serve_base("tiny", "2.0.0", variants=("int4",) if draw(st.booleans()) else ("fp32",))
    )
    for name in NAMES:
        for version in draw(st.lists(st.sampled_from(VERSIONS), unique=True, max_size=3)):
            others = st.lists(requirements.filter(lambda text, name=name: text[0] != name), max_size=2)
            world.serve(
                name,
                version,
                requires=draw(others),
                incompatible=draw(st.lists(requirements, max_size=1)),
                optional=draw(st.lists(requirements, max_size=1)),
                yanked=draw(st.integers(0, 9)) == 0,
                bases=draw(st.lists(st.sampled_from(BASES), unique=True, min_size=1)),
            )
    return world


problems = st.builds(
    lambda texts, oldest: World().problem(*texts, prefer_oldest=oldest),
    st.lists(requirements, min_size=1, max_size=3),
    st.booleans(),
)


def satisfies(problem: Problem, base: Entry, chosen: dict[str, Entry]) -> bool:
    """Whether a choice keeps every rule, told from the entries alone."""
    needs = [*problem.requirements, *(r for entry in chosen.values() for r in entry.requires)]
    if any(r.name.name not in chosen or not r.range.contains(chosen[r.name.name].version) for r in needs):
        return False
    for entry in chosen.values():
        exactly = {str(r.range).lstrip("=") for r in problem.requirements if r.name.name == entry.name}
        if entry.yanked and str(entry.version) not in exactly:
            return False
        if base.archives[0].base_digest not in {each.base_digest for each in entry.archives}:
            return False
        for r in entry.incompatible_with:
            other = chosen.get(r.name.name)
            if other and other is not entry and r.range.contains(other.version):
                return False
        for r in entry.optional:
            other = chosen.get(r.name.name)
            if other and other is not entry and not r.range.contains(other.version):
                return False
    return any(a.variant == problem.variant for a in base.archives) and not has_circle(chosen)


def has_circle(chosen: dict[str, Entry]) -> bool:
    left = dict(chosen)
    while left:
        free = [n for n, e in left.items() if not any(r.name.name in left and r.name.name != n for r in e.requires)]
        if not free:
            return True
        for name in free:
            del left[name]
    return False


def solutions(world: World, problem: Problem) -> Iterator[tuple[Entry, dict[str, Entry]]]:
    """Every choice that keeps every rule, by trying all."""
    versions = [[None, *(e for e in world.entries if e.name == name)] for name in NAMES]
    for base in (e for e in world.entries if e.kind == "base"):
        for picked in itertools.product(*versions):
            chosen = {entry.name: entry for entry in picked if entry is not None}
            if satisfies(problem, base, chosen):
                yield base, chosen


@QUICK
@given(worlds(), problems)
def test_finds_a_solution_exactly_if_there_is_one(world, problem):
    try:
        found = resolve(problem, world.candidates)
    except ResolutionError:
        assert next(solutions(world, problem), None) is None
    else:
        assert satisfies(problem, found.base, {entry.name: entry for entry in found.experts})


@QUICK
@given(worlds(), problems)
def test_nothing_is_installed_that_nothing_needs(world, problem):
    try:
        found = resolve(problem, world.candidates)
    except ResolutionError:
        return
    chosen = {entry.name: entry for entry in found.experts}
    reached, queue = set[str](), [r.name.name for r in problem.requirements]
    while queue:
        name = queue.pop()
        if name not in reached:
            reached.add(name)
            queue += [r.name.name for r in chosen[name].requires]
    assert reached == set(chosen)


@QUICK
@given(worlds(), st.sampled_from(NAMES), st.booleans())
def test_a_single_wish_gets_the_best_version_that_works(world, name, oldest):
    """One requirement without a range: no better version of it is part of any solution on the same base."""
    problem = world.problem(name, prefer_oldest=oldest)
    try:
        found = resolve(problem, world.candidates)
    except ResolutionError:
        return
    chosen = next(entry for entry in found.experts if entry.name == name)
    possible = [c[name].version for base, c in solutions(world, problem) if base is found.base]
    if not any(entry.requires or entry.incompatible_with or entry.optional for entry in world.entries):
        assert chosen.version == (min if oldest else max)(possible)
    assert chosen.version in possible


class _Provider(resolvelib.AbstractProvider):
    """The same rules as far as resolvelib knows rules: versions and requirements."""

    def __init__(self, world: World) -> None:
        self._world = world

    def identify(self, requirement_or_candidate):
        named = requirement_or_candidate
        return named.name if isinstance(named, Entry) else named.name.name

    def get_preference(self, identifier, resolutions, candidates, information, backtrack_causes):
        return identifier

    def find_matches(self, identifier, requirements, incompatibilities):
        wanted, bad = list(requirements[identifier]), list(incompatibilities[identifier])
        found = [e for e in self._world.entries if e.name == identifier and e not in bad]
        return sorted(
            (e for e in found if all(r.range.contains(e.version) for r in wanted)),
            key=lambda e: e.version,
            reverse=True,
        )

    def is_satisfied_by(self, requirement, candidate):
        return requirement.range.contains(candidate.version)

    def get_dependencies(self, candidate):
        return candidate.requires


@st.composite
def plain_worlds(draw) -> World:
    """Versions and requirements without circles, on one base."""
    world = World()
    for position, name in enumerate(NAMES):
        for version in draw(st.lists(st.sampled_from(VERSIONS), unique=True, max_size=3)):
            later = [f"{each}@{wanted}" for each in NAMES[position + 1 :] for wanted in RANGES]
            world.serve(name, version, requires=draw(st.lists(st.sampled_from(later), max_size=2)) if later else ())
    return world


@QUICK
@given(plain_worlds(), st.lists(requirements, min_size=1, max_size=3))
def test_agrees_with_another_resolver(world, texts):
    problem = world.problem(*texts)
    try:
        resolvelib.Resolver(_Provider(world), resolvelib.BaseReporter()).resolve(
            problem.requirements, max_rounds=10_000
        )
        solvable = True
    except resolvelib.ResolutionImpossible:
        solvable = False
    try:
        resolve(problem, world.candidates)
    except ResolutionError:
        assert not solvable
    else:
        assert solvable


def violates(fact: Incompatibility, base: Entry, chosen: dict[str, Entry]) -> bool:
    """Whether a choice has all terms of an incompatibility true at once."""

    def state(package: Package) -> int:
        if package.kind == "project":
            return 2
        entry = base if package.kind == "base" else chosen.get(package.name)
        return 1 if entry is None else 1 << package.entries.index(entry) + 1

    return all(state(package) & mask for package, mask in fact.terms.items())


@QUICK
@given(worlds(), problems)
def test_every_fact_of_a_proof_is_a_rule(world, problem):
    """Each leaf of a proof is violated only by choices that break a rule: it says nothing that isn't so."""
    try:
        Solver(Facts(problem, world.candidates)).solve()
    except NoSolution as failure:
        facts = leaves(failure.root)
    else:
        return
    versions = [[None, *(e for e in world.entries if e.name == name)] for name in NAMES]
    for base in (e for e in world.entries if e.kind == "base"):
        for picked in itertools.product(*versions):
            chosen = {entry.name: entry for entry in picked if entry is not None}
            if any(violates(fact, base, chosen) for fact in facts):
                assert not satisfies(problem, base, chosen)
