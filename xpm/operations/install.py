"""Changing an environment: init, install, uninstall, update, lock, sync.

Each reads the project, resolves, brings what is missing into the store, and only then changes xpm.toml and xpm.lock, as one. A
failure at any point leaves both files as they were.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from xpm.environment import Environment
from xpm.errors import NotFoundError, UsageError
from xpm.fetch import Wanted, fetch_archives
from xpm.indexes import Indexes
from xpm.lockfile import LOCK_FILE, LockedPackage, Lockfile
from xpm.operations.clock import now
from xpm.operations.locking import make_lock, range_for, require_current
from xpm.operations.names import did_you_mean, published_name
from xpm.operations.options import DEFAULTS, Options
from xpm.project import PROJECT_FILE, Project
from xpm.trust import verify_archive
from xpm_index.entries import ArchiveRef, Entry
from xpm_index.errors import XpmError
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


def install(environment: Environment, requirements: Sequence[Requirement], options: Options = DEFAULTS) -> Change:
    """Add experts to the environment; one that is there already gets the new range."""
    with environment.locked():
        project = environment.project()
        with options.indexes(environment, project) as indexes:
            indexes.refresh(options.index_max_age)
            names = [published_name(requirement, indexes) for requirement in requirements]
            wanted = project
            for name, requirement in zip(names, requirements, strict=True):
                wanted = _without_spellings(wanted, name).with_expert(name, requirement.range.text)
            lock = _resolve(wanted, indexes, environment.lockfile(), options, asked=names)
            versions = {package.name: package.version for package in lock.experts}
            for name, requirement in zip(names, requirements, strict=True):
                if requirement.range.text == "*":
                    wanted = wanted.with_expert(name, range_for(versions[name]))
            lock = _resolve(wanted, indexes, lock, options)
            command = f"install {' '.join(map(str, requirements))}"
            return _apply(environment, wanted, lock, indexes, options, command=command)


def uninstall(environment: Environment, names: Sequence[str], options: Options = DEFAULTS) -> Change:
    """Remove experts from the environment; what nothing else needs goes with them."""
    with environment.locked():
        project, previous = environment.project(), environment.lockfile()
        installed = {package.name for package in previous.experts} if previous else set()
        for name in names:
            if not any(spelled in project.experts for spelled in spellings(name)):
                required = bool(installed & set(spellings(name)))
                hint = (
                    "another expert requires it"
                    if required
                    else did_you_mean(name, project.experts) or "see `xpm list`"
                )
                raise NotFoundError(f"{name} is not installed here", hint=hint)
            project = _without_spellings(project, name)
        with options.indexes(environment, project, allow_stale=True) as indexes:
            lock = _resolve(project, indexes, previous, options)
            return _apply(environment, project, lock, indexes, options, command=f"uninstall {' '.join(names)}")


def update(
    environment: Environment, names: Sequence[str], options: Options = DEFAULTS, *, bump: bool = False
) -> Change:
    """Fetch the indexes and take the newest versions that xpm.toml allows, of the named experts or of all.

    ``bump`` first raises the ranges in xpm.toml to the newest versions there are.
    """
    with environment.locked():
        project, previous = environment.project(), environment.lockfile()
        installed = [package.name for package in previous.packages] if previous else []
        upgrade = [spelled for name in names for spelled in spellings(name)]
        for name in names:
            if not set(installed) & set(spellings(name)):
                raise NotFoundError(
                    f"{name} is not installed here", hint=did_you_mean(name, installed) or "see `xpm list`"
                )
        with options.indexes(environment, project) as indexes:
            if not options.offline:
                indexes.update_all()
            if bump:
                project = _bumped(project, indexes, upgrade if names else list(project.experts))
            lock = _resolve(project, indexes, previous, options, upgrade=upgrade if names else None)
            return _apply(environment, project, lock, indexes, options, command=" ".join(["update", *names]))


def lock(environment: Environment, options: Options = DEFAULTS, *, locked: bool = False) -> Change:
    """Make xpm.lock agree with xpm.toml without installing; ``locked`` fails instead of writing."""
    with environment.locked():
        project, previous = environment.project(), environment.lockfile()
        if locked:
            current = environment.require_lockfile()
            require_current(current, project)
            return Change(lock=current)
        with options.indexes(environment, project) as indexes:
            indexes.refresh(options.index_max_age)
            made = _resolve(project, indexes, previous, options)
        if not options.dry_run:
            _write(environment, None, made, command="lock")
        return difference(previous, made)


def sync(
    environment: Environment, options: Options = DEFAULTS, *, locked: bool = False, frozen: bool = False
) -> Change:
    """Bring everything the lock names into the store.

    Args:
        locked: fail if the lock does not agree with xpm.toml, instead of locking anew.
        frozen: take the lock as it is, without looking at whether xpm.toml agrees.
    """
    with environment.locked():
        previous = environment.require_lockfile() if locked or frozen else environment.lockfile()
        project = environment.project()
        if locked and previous:
            require_current(previous, project)
        keep = previous is not None and (frozen or locked or _agrees(previous, project))
        if previous and keep and is_stored(environment, previous):
            if not options.dry_run:
                environment.history.note()
            return Change(lock=previous)
        with options.indexes(environment, project, allow_stale=keep) as indexes:  # a lock decides nothing anew
            if previous and keep:
                return _apply(environment, None, previous, indexes, options, command="sync")
            indexes.refresh(options.index_max_age)
            made = _resolve(project, indexes, previous, options)
            return _apply(environment, project, made, indexes, options, command="sync")


def require_stored(environment: Environment, options: Options = DEFAULTS) -> Lockfile:
    """The environment's lock with everything it names in the store; locks and fetches what is missing."""
    return sync(environment, options).lock


def _resolve(
    project: Project, indexes: Indexes, previous: Lockfile | None, options: Options, *,
    upgrade: Sequence[str] | None = (), asked: Sequence[str] = (),
) -> Lockfile:  # fmt: skip
    return make_lock(
        project, indexes, previous=previous, upgrade=upgrade, prefer_oldest=options.prefer_oldest,
        exclude_newer=options.exclude_newer, asked=tuple(asked),
    )  # fmt: skip


def _bumped(project: Project, indexes: Indexes, names: Sequence[str]) -> Project:
    """The project with the ranges of ``names`` raised to the newest version that is neither yanked nor a pre-release."""
    for name in names:
        if name in project.experts:
            entries = [e for e in indexes.entries(name)[1] if e.yanked is None and not e.version.is_prerelease]
            if entries:
                project = project.with_expert(name, range_for(entries[-1].version))
    return project


def _agrees(lock: Lockfile, project: Project) -> bool:
    try:
        require_current(lock, project)
    except XpmError:
        return False
    return True


def is_stored(environment: Environment, lock: Lockfile) -> bool:
    return all(environment.store.get(lock.archive_of(package).digest) for package in lock.packages)


def _without_spellings(project: Project, name: str) -> Project:
    for spelled in spellings(name):
        project = project.without_expert(spelled)
    return project


def _apply(
    environment: Environment, project: Project | None, lock: Lockfile, indexes: Indexes, options: Options, *, command: str
) -> Change:  # fmt: skip
    """Fetch what is missing, then change xpm.toml (unless ``project`` is None) and xpm.lock."""
    previous = environment.lockfile()
    missing = [package for package in lock.packages if environment.store.get(lock.archive_of(package).digest) is None]
    change = replace(difference(previous, lock), fetched=tuple(f"{each.name} {each.version}" for each in missing))
    if options.dry_run:
        return change
    bring(environment, [(package, lock.archive_of(package)) for package in missing], indexes, options)
    _write(environment, project, lock, command=command)
    return change


def _write(environment: Environment, project: Project | None, lock: Lockfile, *, command: str) -> None:
    """Change xpm.toml (unless ``project`` is None or says what it says now) and xpm.lock together."""
    path = environment.folder / PROJECT_FILE
    text = path.read_text(encoding="utf-8") if path.is_file() else None
    if project is not None and project != environment.project():
        text = project.to_bytes().decode()
    after: Mapping[str, str | None] = {PROJECT_FILE: text, LOCK_FILE: lock.to_bytes().decode()}
    environment.history.commit(after, command=command, time=now())
    environment.history.note()


def bring(
    environment: Environment, wanted: Sequence[tuple[LockedPackage, ArchiveRef]], indexes: Indexes, options: Options
) -> list[Path]:
    """Fetch and verify archives of locked packages, then store them: the store changes only if all of them verified."""
    entries = [_entry_of(package, indexes.snapshot(package.index).entries(package.name)) for package, _ in wanted]
    asked = [
        Wanted(ref=ref, what=f"{package.name} {package.version}", read_blob=indexes.snapshot(package.index).read_blob)
        for package, ref in wanted
    ]
    archives = fetch_archives(asked, environment.home.downloads, progress=options.progress, offline=options.offline)
    verified = []
    for (package, ref), entry, archive in zip(wanted, entries, archives, strict=True):
        try:
            verified.append(verify_archive(archive, ref, entry, indexes.snapshot(package.index).key_of(entry)))
        except XpmError:
            archive.unlink(missing_ok=True)
            raise
    folders = [environment.store.add(each) for each in verified]
    for archive in archives:
        archive.unlink(missing_ok=True)
    return folders


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


def difference(previous: Lockfile | None, lock: Lockfile) -> Change:
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
