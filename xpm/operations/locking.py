"""From a project to a lock."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace

from xpm.environment import Environment
from xpm.errors import BaseMismatchError, ResolutionError, UsageError
from xpm.indexes import Indexes
from xpm.lockfile import Indexed, LockedIndex, LockedPackage, Lockfile, stated_requirements
from xpm.operations.adapters import Target, find_or_make
from xpm.operations.direct import Described, describe, described_by
from xpm.operations.models import made_candidate
from xpm.operations.names import did_you_mean
from xpm.operations.options import Options
from xpm.project import Project
from xpm.resolve import Candidates, Problem, resolve, suggest
from xpm_index.entries import Candidate, Entry
from xpm_index.names import spellings
from xpm_index.versions import Version

_Published = dict[tuple[str, Version], tuple[str, Entry]]
"""(name, version) → the index it is in, and its entry."""


def resolve_project(
    environment: Environment,
    project: Project,
    indexes: Indexes,
    previous: Lockfile | None,
    options: Options,
    *,
    upgrade: Sequence[str] | None = (),
    asked: Sequence[str] = (),
    described: Mapping[str, Described] | None = None,
) -> Lockfile:
    """Resolve the project against its indexes.

    Args:
        previous: the lock whose versions are preferred.
        upgrade: names that take the newest version instead; None for all of them.
        asked: the names that the user asks for just now.
        described: name → what its direct source holds, where that was looked at already; else it is taken as it is
            locked, or described now.
    Raises:
        ResolutionError, BaseMismatchError, TrustError and what fetching raises. UsageError: a source
        holds another expert than
            xpm.toml says.
    """
    direct = _direct(environment, project, indexes, previous, options, described or {})
    if project.adapters:
        without = replace(
            project, wants={each: source for each, source in project.wants.items() if each not in project.adapters}
        )
        alone = resolve_project(
            environment, without, indexes, previous, options, upgrade=upgrade, described={**(described or {}), **direct}
        )
        direct |= _made(project, Target.of(environment, alone, indexes, options), previous, upgrade, asked)
    published: _Published = {}

    def candidates(name: str) -> Sequence[Candidate]:
        if (own := next((direct[each] for each in spellings(name) if each in direct), None)) is not None:
            return (own.candidate,)
        index, entries = indexes.entries(name)
        published.update({(entry.name, entry.version): (index, entry) for entry in entries})
        return entries

    problem = Problem(
        requirements=project.requirements,
        base=project.base_requirement,
        variant=project.variant,
        locked=_preferred(previous, upgrade),
        kept={package.name: package.version for package in previous.packages} if previous else {},
        prefer_oldest=options.prefer_oldest,
        exclude_newer=options.exclude_newer,
        overrides=project.overrides,
        asked=tuple(asked),
    )
    try:
        found = resolve(problem, candidates)
    except ResolutionError as error:
        raise _with_ways_out(error, problem, candidates, indexes) from error.__cause__
    packages = []
    for chosen in (found.base, *found.experts):
        if chosen.yanked is not None:
            instead = f"; its publisher says to use {chosen.yanked.replacement}" if chosen.yanked.replacement else ""
            indexes.warn(f"{chosen.name} {chosen.version} was yanked: {chosen.yanked.reason}{instead}")
        if (own := direct.get(chosen.name)) is not None:
            packages.append(own.locked)
        else:
            packages.append(LockedPackage.of(chosen, Indexed.of(*published[chosen.name, chosen.version])))
    used = {each.origin.index for each in packages if isinstance(each.origin, Indexed)}
    return Lockfile(
        requirements=stated_requirements(project),
        variant=project.variant,
        indexes=tuple(_locked_index(name, indexes) for name in sorted(used)),
        base=packages[0],
        experts=tuple(packages[1:]),
    )


def _direct(
    environment: Environment,
    project: Project,
    indexes: Indexes,
    previous: Lockfile | None,
    options: Options,
    described: Mapping[str, Described],
) -> dict[str, Described]:
    """What comes through no index, by the name that it has itself."""
    direct = {}
    for name, source in project.direct.items():
        found = (
            described.get(name)
            or described_by(environment, source, previous, name)
            or describe(environment, source, indexes, options, previous=previous)
        )
        if found.candidate.name not in spellings(name):
            raise UsageError(
                f"{source} holds {found.candidate.name}, xpm.toml calls it {name}", hint="rename it in xpm.toml"
            )
        direct[found.candidate.name] = found
    return direct


def _made(
    project: Project, target: Target, previous: Lockfile | None, upgrade: Sequence[str] | None, asked: Sequence[str]
) -> dict[str, Described]:
    """The experts that are made of adapters for the base that the others go with."""
    made = {}
    for name, source in project.adapters.items():
        must = name in asked or bool(upgrade and set(upgrade) & set(spellings(name)))
        package = find_or_make(target, name, source, previous=previous, look=must or upgrade is None, must=must)
        made[name] = Described(candidate=made_candidate(package), locked=package)
    return made


def _with_ways_out(
    error: ResolutionError, problem: Problem, candidates: Candidates, indexes: Indexes
) -> ResolutionError:
    """The error with commands that would help, or with the name that was probably meant."""
    meant = (did_you_mean(name, indexes.all_names()) for name in error.unknown)
    if (alike := next(filter(None, meant), None)) is not None:
        error.hint = alike
        return error
    ways = suggest(problem, candidates, clock=time.monotonic)
    error.suggestions = tuple((way.command, way.effect) for way in ways)
    if ways:
        commands = "\n".join(f"  {way.command}    # {way.effect}" for way in ways)
        error.hint = f"{error.hint}\n{commands}" if isinstance(error, BaseMismatchError) else f"one of\n{commands}"
    return error


def _preferred(previous: Lockfile | None, upgrade: Sequence[str] | None) -> Mapping[str, Version]:
    if previous is None or upgrade is None:
        return {}
    return {package.name: package.version for package in previous.packages if package.name not in upgrade}


def _locked_index(name: str, indexes: Indexes) -> LockedIndex:
    snapshot = indexes.snapshot(name)
    files = snapshot.files
    return LockedIndex(
        name=name, id=snapshot.info.id, head=files.state or snapshot.commit, snapshot=files.snapshot_version
    )
