"""From a project to a lock."""

import time
from collections.abc import Mapping, Sequence

from xpm.errors import BaseMismatchError, ResolutionError
from xpm.indexes import Indexes
from xpm.lockfile import LockedIndex, LockedPackage, Lockfile, stated_requirements
from xpm.operations.names import did_you_mean
from xpm.project import Project
from xpm.resolve import Candidates, Problem, resolve, suggest
from xpm_index.entries import Entry
from xpm_index.requirements import Requirement
from xpm_index.verified import TufFiles
from xpm_index.versions import Version, VersionRange


def make_lock(
    project: Project,
    indexes: Indexes,
    *,
    previous: Lockfile | None,
    upgrade: Sequence[str] | None = (),
    prefer_oldest: bool = False,
    exclude_newer: str | None = None,
    asked: tuple[str, ...] = (),
    direct: Mapping[str, LockedPackage] | None = None,
) -> Lockfile:
    """Resolve the project against its indexes.

    Args:
        previous: the lock whose versions are preferred.
        upgrade: names that take the newest version instead; None for all of them.
        asked: the names that the user asks for just now.
        direct: name → package that comes through no index, as it is to be locked.
    Raises:
        ResolutionError, BaseMismatchError, TrustError and what fetching an index raises.
    """
    homes: dict[str, str] = {}

    def candidates(name: str) -> Sequence[Entry]:
        index, entries = indexes.entries(name)
        homes.update({entry.name: index for entry in entries})
        return entries

    problem = Problem(
        requirements=project.requirements,
        base=Requirement.parse(f"{project.base}@{project.base_range}"),
        variant=project.variant,
        locked=_preferred(previous, upgrade),
        kept={package.name: package.version for package in previous.packages} if previous else {},
        prefer_oldest=prefer_oldest,
        exclude_newer=exclude_newer,
        overrides={name: VersionRange.parse(text) for name, text in project.overrides.items()},
        asked=asked,
    )
    try:
        found = resolve(problem, candidates)
    except ResolutionError as error:
        raise _with_ways_out(error, problem, candidates, indexes) from error.__cause__
    for entry in (found.base, *found.experts):
        if entry.yanked is not None:
            instead = f"; its publisher says to use {entry.yanked.replacement}" if entry.yanked.replacement else ""
            indexes.warn(f"{entry.name} {entry.version} was yanked: {entry.yanked.reason}{instead}")
    used = {homes[entry.name] for entry in (found.base, *found.experts)} - {""}
    return Lockfile(
        requirements=stated_requirements(project),
        variant=project.variant,
        indexes=tuple(_locked_index(name, indexes) for name in sorted(used)),
        base=(direct or {}).get(found.base.name) or _locked_package(found.base, homes[found.base.name]),
        experts=tuple((direct or {}).get(e.name) or _locked_package(e, homes[e.name]) for e in found.experts),
    )


def _with_ways_out(
    error: ResolutionError, problem: Problem, candidates: Candidates, indexes: Indexes
) -> ResolutionError:
    """The error with commands that would help, or with the name that was probably meant."""
    alike = [told for name in error.unknown if (told := did_you_mean(name, indexes.all_names()))]
    if alike:
        error.hint = alike[0]
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
    version = snapshot.files.snapshot_version if isinstance(snapshot.files, TufFiles) else 0
    return LockedIndex(name=name, id=snapshot.info.id, head=snapshot.commit, snapshot=version)


def _locked_package(entry: Entry, index: str) -> LockedPackage:
    return LockedPackage(
        name=entry.name,
        version=entry.version,
        kind=entry.kind,
        index=index,
        publisher=entry.publisher,
        key_id=entry.key_id,
        load_order=entry.load_order,
        requires=tuple(str(requirement) for requirement in entry.requires),
        archives=entry.archives,
    )
