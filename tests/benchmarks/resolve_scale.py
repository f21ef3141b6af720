"""How long resolving takes in a universe of 10,000 names x 10 versions, beside resolvelib in the same run.

Run as ``python -m tests.benchmarks.resolve_scale``.
"""

import argparse
import contextlib
import random
import statistics
import time
from collections.abc import Callable

import resolvelib

from tests.support.world import World
from xpm.errors import ResolutionError
from xpm.resolve import resolve
from xpm_index.entries import Entry
from xpm_index.requirements import Requirement


class Provider(resolvelib.AbstractProvider):
    """Versions and requirements for resolvelib, with the newest first."""

    def __init__(self, entries: dict[str, list[Entry]]) -> None:
        self._entries = entries

    def identify(self, requirement_or_candidate):
        named = requirement_or_candidate
        return named.name if isinstance(named, Entry) else named.name.name

    def get_preference(self, identifier, resolutions, candidates, information, backtrack_causes):
        return identifier

    def find_matches(self, identifier, requirements, incompatibilities):
        wanted, bad = list(requirements[identifier]), list(incompatibilities[identifier])
        found = [e for e in self._entries.get(identifier, ()) if e not in bad]
        return sorted(
            (e for e in found if all(r.range.contains(e.version) for r in wanted)),
            key=lambda e: e.version,
            reverse=True,
        )

    def is_satisfied_by(self, requirement, candidate):
        return requirement.range.contains(candidate.version)

    def get_dependencies(self, candidate):
        return candidate.requires


def universe(num_names: int, num_versions: int, seed: int) -> tuple[dict[str, list[Entry]], list[str]]:
    """Names that each need up to two earlier ones, in ranges that leave some of their versions out."""
    choose, world = random.Random(seed), World()
    names = [f"e{number:05}" for number in range(num_names)]
    for number, name in enumerate(names):
        needed = choose.sample(names[:number], min(number, choose.choice((0, 0, 1, 1, 2))))
        for version in range(num_versions):
            major, minor = divmod(version, 5)
            ranges = [choose.choice(("*", "^1", f">=1.{choose.randrange(5)}", "^2", ">=1,<3")) for _ in needed]
            world.serve(
                name, f"{major + 1}.{minor}.0", requires=[f"{n}@{r}" for n, r in zip(needed, ranges, strict=True)]
            )
    entries: dict[str, list[Entry]] = {}
    for entry in world.entries:
        entries.setdefault(entry.name, []).append(entry)
    return entries, names


def conflict(num_names: int, num_versions: int) -> tuple[dict[str, list[Entry]], list[str]]:
    """Names of which every version needs one thing, and one more that needs another: no solution."""
    world = World()
    for number in range(num_names):
        for version in range(num_versions):
            world.serve(f"c{number}", f"{version + 1}.0.0", requires=["shared@^1"])
    world.serve("odd", "1.0.0", requires=["shared@^2"]).serve("shared", "1.0.0").serve("shared", "2.0.0")
    entries: dict[str, list[Entry]] = {}
    for entry in world.entries:
        entries.setdefault(entry.name, []).append(entry)
    return entries, [*(f"c{number}" for number in range(num_names)), "odd"]


def measure(action: Callable[[], object]) -> float:
    start = time.perf_counter()
    with contextlib.suppress(ResolutionError, resolvelib.ResolutionError):
        action()
    return (time.perf_counter() - start) * 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--names", type=int, default=10_000)
    parser.add_argument("--versions", type=int, default=10)
    parser.add_argument("--projects", type=int, default=200)
    arguments = parser.parse_args()
    entries, names = universe(arguments.names, arguments.versions, seed=5)
    base = World().serve_base("tiny", "1.0.0").entries
    choose, ours, theirs = random.Random(6), [], []
    for _ in range(arguments.projects):
        wanted = choose.sample(names, 4)
        problem = World().problem(*wanted)
        candidates = lambda name: base if name == "tiny" else entries.get(name, [])  # noqa: E731
        ours.append(measure(lambda problem=problem, get=candidates: resolve(problem, get)))
        requirements = [Requirement.parse(name) for name in wanted]
        solver = resolvelib.Resolver(Provider(entries), resolvelib.BaseReporter())
        theirs.append(measure(lambda solver=solver, wanted=requirements: solver.resolve(wanted, max_rounds=5000)))
    for name, found in (("xpm", ours), ("resolvelib", theirs)):
        slow = statistics.quantiles(found, n=20)[-1]
        print(f"{name}: median {statistics.median(found):.2f} ms, 95 % {slow:.2f} ms, most {max(found):.1f} ms")
    print(f"ratio of medians, resolvelib to xpm: {statistics.median(theirs) / statistics.median(ours):.2f}")
    for size in (2, 3, 4):
        entries, wanted = conflict(size, 8)
        problem, requirements = World().problem(*wanted), [Requirement.parse(name) for name in wanted]
        candidates = lambda name, entries=entries: base if name == "tiny" else entries.get(name, [])  # noqa: E731
        mine = measure(lambda problem=problem, get=candidates: resolve(problem, get))
        solver = resolvelib.Resolver(Provider(entries), resolvelib.BaseReporter())
        other = measure(lambda solver=solver, wanted=requirements: solver.resolve(wanted, max_rounds=100_000))
        print(f"conflict of {size} names x 8 versions: xpm {mine:.1f} ms, resolvelib {other:.1f} ms")


if __name__ == "__main__":
    main()
