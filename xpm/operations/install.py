"""Changing an environment: init, install, uninstall, update, lock, sync.

Each reads the project, resolves, brings what is missing into the store, and only then writes xpm.toml and, last, xpm.lock.
A failure at any point leaves both files as they were.
"""

import difflib
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from xpm.environment import Environment
from xpm.errors import NotFoundError, UsageError
from xpm.fetch import fetch_archive
from xpm.files import write_atomically
from xpm.indexes import Indexes
from xpm.lockfile import LOCK_FILE, LockedPackage, Lockfile
from xpm.operations.locking import make_lock, range_for, require_current
from xpm.progress import Progress
from xpm.project import PROJECT_FILE, Project
from xpm.trust import verify_archive
from xpm_index.entries import ArchiveRef, Entry
from xpm_index.names import spellings
from xpm_index.requirements import Requirement


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What an operation did. ``fetched`` are the packages that were not in the store before."""

    lock: Lockfile
    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    updated: tuple[str, ...] = ()
    fetched: tuple[str, ...] = ()


def init(folder: Path) -> Path:
    """Start a project in ``folder``; raises UsageError if there is one."""
    path = folder / PROJECT_FILE
    if path.exists():
        raise UsageError(f"{path} exists already")
    Project().save(folder)
    return path


def install(
    environment: Environment,
    requirements: Sequence[Requirement],
    *,
    progress: Progress,
    offline: bool = False,
    dry_run: bool = False,
) -> Change:
    """Add experts to the environment; one that is there already gets the new range."""
    with environment.home.locked():
        project = environment.project()
        with Indexes(environment.home, project, offline=offline) as indexes:
            wanted = project
            for requirement in requirements:
                name = _published_name(requirement, indexes)
                wanted = _without_spellings(wanted, name).with_expert(name, requirement.range.text)
            lock = make_lock(wanted, indexes, previous=environment.lockfile())
            versions = {package.name: package.version for package in lock.experts}
            for requirement in requirements:
                name = _published_name(requirement, indexes)
                if requirement.range.text == "*":
                    wanted = wanted.with_expert(name, range_for(versions[name]))
            lock = make_lock(wanted, indexes, previous=lock)
            return _apply(environment, wanted, lock, indexes, progress, offline=offline, dry_run=dry_run)


def uninstall(environment: Environment, names: Sequence[str], *, progress: Progress, dry_run: bool = False) -> Change:
    """Remove experts from the environment; what nothing else needs goes with them."""
    with environment.home.locked():
        project, previous = environment.project(), environment.lockfile()
        installed = {package.name for package in previous.experts} if previous else set()
        for name in names:
            if not any(spelled in project.experts for spelled in spellings(name)):
                hint = "another expert requires it" if installed & set(spellings(name)) else "see `xpm list`"
                raise NotFoundError(f"{name} is not installed here", hint=hint)
            project = _without_spellings(project, name)
        with Indexes(environment.home, project) as indexes:
            lock = make_lock(project, indexes, previous=previous)
            return _apply(environment, project, lock, indexes, progress, dry_run=dry_run)


def update(environment: Environment, names: Sequence[str], *, progress: Progress, dry_run: bool = False) -> Change:
    """Fetch the indexes and take the newest versions that xpm.toml allows, of the named experts or of all."""
    with environment.home.locked():
        project, previous = environment.project(), environment.lockfile()
        installed = {package.name for package in previous.packages} if previous else set()
        upgrade = [spelled for name in names for spelled in spellings(name)]
        for name in names:
            if not installed & set(spellings(name)):
                raise NotFoundError(f"{name} is not installed here", hint="see `xpm list`")
        with Indexes(environment.home, project) as indexes:
            indexes.update_all(progress)
            lock = make_lock(project, indexes, previous=previous, upgrade=upgrade if names else None)
            return _apply(environment, project, lock, indexes, progress, dry_run=dry_run)


def lock(environment: Environment, *, progress: Progress, locked: bool = False, dry_run: bool = False) -> Change:
    """Make xpm.lock agree with xpm.toml without installing; ``locked`` fails instead of writing."""
    with environment.home.locked():
        project, previous = environment.project(), environment.lockfile()
        if locked:
            current = environment.require_lockfile()
            require_current(current, project)
            return Change(lock=current)
        with Indexes(environment.home, project) as indexes:
            made = make_lock(project, indexes, previous=previous)
            indexes.save_trust()
        if not dry_run:
            made.save(environment.folder)
        return _difference(previous, made)


def sync(
    environment: Environment,
    *,
    progress: Progress,
    locked: bool = False,
    frozen: bool = False,
    offline: bool = False,
    dry_run: bool = False,
) -> Change:
    """Bring everything the lock names into the store.

    Args:
        locked: fail if the lock does not agree with xpm.toml, instead of locking anew.
        frozen: take the lock as it is, without looking at xpm.toml.
        offline: open no socket.
    """
    with environment.home.locked():
        previous = environment.require_lockfile() if locked or frozen else environment.lockfile()
        project = environment.project()
        if locked and previous:
            require_current(previous, project)
        if (
            previous
            and not dry_run
            and _is_stored(environment, previous)
            and (frozen or locked or _agrees(previous, project))
        ):
            return Change(lock=previous)
        with Indexes(environment.home, project, offline=offline) as indexes:
            keep = previous is not None and (frozen or locked or _agrees(previous, project))
            wanted = previous if keep and previous else make_lock(project, indexes, previous=previous)
            return _apply(
                environment, None if keep else project, wanted, indexes, progress, offline=offline, dry_run=dry_run
            )


def require_stored(environment: Environment, *, progress: Progress) -> Lockfile:
    """The environment's lock with everything it names in the store; locks and fetches what is missing."""
    return sync(environment, progress=progress).lock


def _agrees(lock: Lockfile, project: Project) -> bool:
    try:
        require_current(lock, project)
    except Exception:
        return False
    return True


def _is_stored(environment: Environment, lock: Lockfile) -> bool:
    return all(environment.store.get(lock.archive_of(package).digest) for package in lock.packages)


def _published_name(requirement: Requirement, indexes: Indexes) -> str:
    """The spelling under which the expert is published; raises NotFoundError with what is spelled alike."""
    name = requirement.name.name
    _, entries = indexes.entries(name)
    if entries:
        if requirement.name.namespace not in (None, entries[0].publisher):
            raise NotFoundError(
                f"{requirement.name.namespace} has not published {entries[0].name}",
                context=f"{entries[0].publisher} has",
            )
        return entries[0].name
    alike = difflib.get_close_matches(name, [each for known in indexes.all_names() for each in spellings(known)], n=1)
    hint = (
        f"did you mean {alike[0]}?" if alike else "look for it with `xpm search`, or add an index with `xpm index add`"
    )
    raise NotFoundError(f"no index has {name}", hint=hint)


def _without_spellings(project: Project, name: str) -> Project:
    for spelled in spellings(name):
        project = project.without_expert(spelled)
    return project


def _apply(
    environment: Environment, project: Project | None, lock: Lockfile, indexes: Indexes, progress: Progress, *,
    offline: bool = False, dry_run: bool = False,
) -> Change:  # fmt: skip
    """Fetch what is missing, then write xpm.toml (unless ``project`` is None) and xpm.lock."""
    previous = environment.lockfile()
    missing = [package for package in lock.packages if environment.store.get(lock.archive_of(package).digest) is None]
    change = replace(_difference(previous, lock), fetched=tuple(f"{each.name} {each.version}" for each in missing))
    if dry_run:
        return change
    _bring(
        environment, [(package, lock.archive_of(package)) for package in missing], indexes, progress, offline=offline
    )
    indexes.save_trust()
    _write(environment, project, lock)
    return change


def _write(environment: Environment, project: Project | None, lock: Lockfile) -> None:
    """Write xpm.toml (unless ``project`` is None) and xpm.lock; if the lock can't be written, xpm.toml is as before."""
    path = environment.folder / PROJECT_FILE
    before = path.read_bytes() if path.is_file() else None
    if project is not None and project != environment.project():
        project.save(environment.folder)
    try:
        if lock != environment.lockfile():
            lock.save(environment.folder)
    except BaseException:
        if before is not None:
            write_atomically(path, before)
        else:
            path.unlink(missing_ok=True)
        raise


def _bring(
    environment: Environment,
    wanted: Sequence[tuple[LockedPackage, ArchiveRef]],
    indexes: Indexes,
    progress: Progress,
    *,
    offline: bool,
) -> list[Path]:
    """Fetch and verify archives of locked packages, then store them: the store changes only if all of them verified."""
    environment.home.root.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=environment.home.root, prefix="fetch-") as folder:
        verified = []
        for number, (package, ref) in enumerate(wanted):
            snapshot = indexes.snapshot(package.index)
            entry = _entry_of(package, snapshot.entries(package.name))
            key = snapshot.publisher(entry.publisher).key(entry.key_id, at=entry.published_at)
            archive = Path(folder) / f"{number}{'.base' if package.kind == 'base' else '.expert'}"
            what = f"{package.name} {package.version}"
            fetch_archive(ref, snapshot, archive, what=what, progress=progress, offline=offline)
            verified.append(verify_archive(archive, ref, entry, key))
        return [environment.store.add(each) for each in verified]


def fetch_package(
    environment: Environment,
    package: LockedPackage,
    ref: ArchiveRef,
    indexes: Indexes,
    progress: Progress,
    *,
    offline: bool = False,
) -> Path:
    """Fetch, verify and store one archive of a locked package; the folder in the store."""
    return _bring(environment, [(package, ref)], indexes, progress, offline=offline)[0]


def _entry_of(package: LockedPackage, entries: Sequence[Entry]) -> Entry:
    for entry in entries:
        if entry.version == package.version:
            if (entry.archives, entry.publisher, entry.key_id) != (package.archives, package.publisher, package.key_id):
                raise NotFoundError(
                    f"{package.name} {package.version} in {LOCK_FILE} is not what index {package.index} has",
                    hint="run `xpm lock`",
                )
            return entry
    raise NotFoundError(
        f"index {package.index} has no {package.name} {package.version}", hint=f"run `xpm index update {package.index}`"
    )


def _difference(previous: Lockfile | None, lock: Lockfile) -> Change:
    before = {package.name: package.version for package in previous.experts} if previous else {}
    after = {package.name: package.version for package in lock.experts}
    return Change(
        lock=lock,
        added=tuple(f"{name} {version}" for name, version in after.items() if name not in before),
        removed=tuple(f"{name} {version}" for name, version in before.items() if name not in after),
        updated=tuple(
            f"{name} {before[name]} -> {version}"
            for name, version in after.items()
            if before.get(name, version) != version
        ),
    )
