"""Ways out of a failure, each tried before it is shown."""

import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from xpm.errors import BaseMismatchError, ResolutionError
from xpm.resolve.problem import Candidates, Problem, Resolution
from xpm.resolve.resolver import resolve
from xpm_index.requirements import Requirement
from xpm_index.versions import ANY, Version, VersionRange

MAX_SUGGESTIONS = 3
MAX_S = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Suggestion:
    """A command to paste, and what it would do."""

    command: str
    effect: str


def suggest(
    problem: Problem, candidates: Candidates, *, clock: Callable[[], float], max_s: float = MAX_S
) -> tuple[Suggestion, ...]:
    """At most three changes of the project that make it resolvable, the least first; those found
    within ``max_s`` seconds.

    Args:
        clock: seconds, rising.
    """
    found: list[Suggestion] = []
    deadline = clock() + max_s
    for changed, describe in _ways_out(problem, candidates):
        if len(found) == MAX_SUGGESTIONS or clock() > deadline:
            break
        try:
            resolution = resolve(changed, candidates)
        except (ResolutionError, BaseMismatchError):
            continue
        suggestion = describe(resolution)
        if suggestion not in found:
            found.append(suggestion)
    return tuple(found)


_Describe = Callable[[Resolution], Suggestion]


def _ways_out(problem: Problem, candidates: Candidates) -> Iterator[tuple[Problem, _Describe]]:
    """Changed problems to try: relax one requirement, take another base, allow pre-releases, drop an expert."""
    for requirement in problem.requirements:
        if requirement.range.text != "*":
            relaxed = Requirement(requirement.name, ANY)
            yield _with(problem, requirement, relaxed), _relaxing(problem, requirement)
    if problem.base.range.text != "*":
        changed = replace(problem, base=Requirement(problem.base.name, ANY))
        yield changed, _another_base(problem)
    for requirement in problem.requirements:
        if (newest := _newest_prerelease(requirement, candidates)) is not None:
            wanted = Requirement(requirement.name, VersionRange.parse(f">={newest}"))
            yield _with(problem, requirement, wanted), _relaxing(problem, requirement, exact=wanted)
    for requirement in problem.requirements:
        if not set(requirement.name.spellings()) & set(problem.asked):
            rest = tuple(each for each in problem.requirements if each is not requirement)
            yield replace(problem, requirements=rest), _removing(problem, requirement)


def _with(problem: Problem, old: Requirement, new: Requirement) -> Problem:
    return replace(problem, requirements=tuple(new if each is old else each for each in problem.requirements))


def _relaxing(problem: Problem, requirement: Requirement, *, exact: Requirement | None = None) -> _Describe:
    def describe(resolution: Resolution) -> Suggestion:
        names = requirement.name.spellings()
        version = next((entry.version for entry in resolution.experts if entry.name in names), None)
        wanted = exact or Requirement(requirement.name, VersionRange.parse(f"^{version}") if version else ANY)
        return Suggestion(
            command=_install(problem, wanted),
            effect=f"takes {requirement.name} {version} instead of {requirement.range}",
        )

    return describe


def _another_base(problem: Problem) -> _Describe:
    def describe(resolution: Resolution) -> Suggestion:
        version = resolution.base.version
        command = shlex.join(["xpm", "base", "add", f"{problem.base.name}@^{version}"])
        return Suggestion(command=command, effect=f"takes the base {resolution.base.name} {version}")

    return describe


def _removing(problem: Problem, requirement: Requirement) -> _Describe:
    asked = [each for each in problem.requirements if set(each.name.spellings()) & set(problem.asked)]
    command = shlex.join(["xpm", "uninstall", requirement.name.name])
    if asked:
        command += f" && {shlex.join(['xpm', 'install', *map(str, asked)])}"
    return lambda resolution: Suggestion(command=command, effect=f"does without {requirement.name}")


def _install(problem: Problem, wanted: Requirement) -> str:
    """The install command for a requirement and everything that the user asked for with it."""
    others = [
        str(each)
        for each in problem.requirements
        if set(each.name.spellings()) & set(problem.asked) and each.name != wanted.name
    ]
    return shlex.join(["xpm", "install", *others, str(wanted)])


def _newest_prerelease(requirement: Requirement, candidates: Candidates) -> Version | None:
    """The newest version of a name if it is a pre-release that its range leaves out, else None."""
    versions = sorted(entry.version for entry in candidates(requirement.name.name) if entry.yanked is None)
    if not versions or not versions[-1].is_prerelease or requirement.range.contains(versions[-1]):
        return None
    return versions[-1]
