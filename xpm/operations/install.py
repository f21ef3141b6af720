"""Changing an environment: init, install, uninstall, update, lock, sync.

Each reads the project, resolves, brings what is missing into the store, and only then changes xpm.toml and xpm.lock, as one. A
failure at any point leaves both files as they were. What only fetching and resolving need is imported when they begin, so that a
locked project with a warm store is done at once.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from xpm.environment import Environment
from xpm.errors import NotFoundError, UsageError
from xpm.history import Contents
from xpm.lockfile import LOCK_FILE, Lockfile, require_current
from xpm.operations.bring import bring, is_stored, missing_packages
from xpm.operations.clock import now
from xpm.operations.names import did_you_mean, published_name
from xpm.operations.options import DEFAULTS, Options
from xpm.project import PROJECT_FILE, Project
from xpm.sources import Direct, FromArchive, FromIndex, Source
from xpm_index.errors import XpmError
from xpm_index.keys import PublicKey
from xpm_index.names import spellings
from xpm_index.requirements import Requirement
from xpm_index.versions import Version, VersionRange

if TYPE_CHECKING:
    from xpm.indexes import Indexes
    from xpm.operations.direct import DirectPackage


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What an operation did.

    ``base`` tells of another base, version or variant, "" if it stayed. ``fetched`` are the packages that were not in the
    store before, or altered there. ``files`` are those of xpm.toml and xpm.lock that changed.
    """

    lock: Lockfile
    base: str = ""
    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    updated: tuple[str, ...] = ()
    fetched: tuple[str, ...] = ()
    files: tuple[str, ...] = ()

    @property
    def is_nothing(self) -> bool:
        return not (self.base or self.added or self.removed or self.updated or self.fetched or self.files)


def init(folder: Path) -> Path:
    """Start a project in ``folder``; raises UsageError if there is one."""
    path = folder / PROJECT_FILE
    if path.exists():
        raise UsageError(f"{path} exists already")
    Project().save(folder)
    return path


def install(
    environment: Environment,
    wanted: Sequence[Requirement | Source],
    options: Options = DEFAULTS,
    *,
    key: PublicKey | None = None,
) -> Change:
    """Add experts to the environment; one that is there already gets the new range or source. A base's archive becomes the base.

    Args:
        wanted: requirements on what indexes have, or direct sources.
        key: the public key of a direct source's publisher, if nobody else tells it.
    """
    with environment.locked():
        project, previous = environment.project(), environment.lockfile()
        with options.indexes(environment, project) as indexes:
            indexes.refresh(options.index_max_age)
            changed, names, open_names, looked = project, [], [], {}
            for each in wanted:
                if isinstance(each, Requirement | FromIndex):
                    requirement = each if isinstance(each, Requirement) else each.requirement
                    name = published_name(requirement, indexes)
                    changed = _without_spellings(changed, name).with_expert(name, requirement.range.text)
                    open_names += [name] if requirement.range.text == "*" else []
                else:
                    found = _look(environment, each, indexes, options, previous, key)
                    name = found.entry.name
                    looked[name] = found
                    if found.entry.kind == "base" and isinstance(found.source, FromArchive):
                        variant = found.entry.archives[0].variant
                        changed = changed.with_base(name, variant=variant, archive=found.source)
                        continue
                    changed = _without_spellings(changed, name).with_direct(name, found.source)
                names.append(name)
            lock = resolve_project(environment, changed, indexes, previous, options, asked=names, looked=looked)
            versions = {package.name: package.version for package in lock.experts}
            for name in open_names:
                changed = changed.with_expert(name, range_for(versions[name]))
            lock = resolve_project(environment, changed, indexes, lock, options, looked=looked)
            return _apply(environment, changed, lock, indexes, options, command=f"install {' '.join(map(str, wanted))}")


def uninstall(environment: Environment, names: Sequence[str], options: Options = DEFAULTS) -> Change:
    """Remove experts from the environment; what nothing else needs goes with them."""
    with environment.locked():
        project, previous = environment.project(), environment.lockfile()
        installed = {package.name for package in previous.experts} if previous else set()
        for name in names:
            if not any(spelled in (*project.experts, *project.direct) for spelled in spellings(name)):
                required = bool(installed & set(spellings(name)))
                hint = (
                    "another expert requires it"
                    if required
                    else did_you_mean(name, project.experts) or "see `xpm list`"
                )
                raise NotFoundError(f"{name} is not installed here", hint=hint)
            project = _without_spellings(project, name)
        with options.indexes(environment, project, allow_stale=True) as indexes:
            lock = resolve_project(environment, project, indexes, previous, options)
            return _apply(environment, project, lock, indexes, options, command=f"uninstall {' '.join(names)}")


def use_base(environment: Environment, base: Requirement, variant: str | None, options: Options = DEFAULTS) -> Change:
    """Run the environment on another base or variant; experts are resolved anew to fit it."""
    with environment.locked():
        project, previous = environment.project(), environment.lockfile()
        with options.indexes(environment, project) as indexes:
            indexes.refresh(options.index_max_age)
            name = published_name(base, indexes)
            changed = project.with_base(name, wanted=base.range.text, variant=variant or "")
            lock = resolve_project(environment, changed, indexes, previous, options)
            return _apply(environment, changed, lock, indexes, options, command=f"base add {base}")


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
            lock = resolve_project(environment, project, indexes, previous, options, upgrade=upgrade if names else None)
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
            made = resolve_project(environment, project, indexes, previous, options)
        change = replace(difference(previous, made), files=_differing(environment, None, made))
        if not options.dry_run:
            _write(environment, None, made, command="lock")
        return change


def sync(
    environment: Environment,
    options: Options = DEFAULTS,
    *,
    locked: bool = False,
    frozen: bool = False,
    reinstall: bool = False,
) -> Change:
    """Bring everything the lock names into the store, what was altered there too.

    Args:
        locked: fail if the lock does not agree with xpm.toml, instead of locking anew.
        frozen: take the lock as it is, without looking at whether xpm.toml agrees.
        reinstall: fetch again what the store has.
    """
    with environment.locked():
        previous = environment.require_lockfile() if locked or frozen else environment.lockfile()
        project = environment.project()
        if locked and previous:
            require_current(previous, project)
        keep = previous is not None and (frozen or locked or _agrees(previous, project))
        if previous and keep and not reinstall and is_stored(environment, previous):
            if not options.dry_run:
                environment.history.note()
            return Change(lock=previous)
        with options.indexes(environment, project, allow_stale=keep) as indexes:  # a lock decides nothing anew
            if previous and keep:
                return _apply(environment, None, previous, indexes, options, command="sync", again=reinstall)
            indexes.refresh(options.index_max_age)
            made = resolve_project(environment, project, indexes, previous, options)
            return _apply(environment, project, made, indexes, options, command="sync", again=reinstall)


def require_stored(environment: Environment, options: Options = DEFAULTS) -> Lockfile:
    """The environment's lock with everything it names in the store; locks and fetches what is missing."""
    return sync(environment, options).lock


def resolve_project(
    environment: Environment,
    project: Project,
    indexes: "Indexes",
    previous: Lockfile | None,
    options: Options,
    *,
    upgrade: Sequence[str] | None = (),
    asked: Sequence[str] = (),
    looked: "Mapping[str, DirectPackage] | None" = None,
) -> Lockfile:
    """Resolve the project, with what comes directly as it was ``looked`` at, as it is locked, or looked at now."""
    from xpm.operations.direct import from_lock, pinned_in
    from xpm.operations.locking import make_lock

    direct = {}
    for name, source in project.sources.items():
        pinned = pinned_in(previous.packages, name) if previous else None
        known = from_lock(environment, source, pinned) if pinned else None
        found = (looked or {}).get(name) or known or _look(environment, source, indexes, options, previous, None)
        if found.entry.name not in spellings(name):
            raise UsageError(
                f"{source} holds {found.entry.name}, xpm.toml calls it {name}", hint="rename it in xpm.toml"
            )
        indexes.add_direct(found.entry)
        direct[found.entry.name] = found.locked()
    return make_lock(
        project,
        indexes,
        previous=previous,
        upgrade=upgrade,
        prefer_oldest=options.prefer_oldest,
        exclude_newer=options.exclude_newer,
        asked=tuple(asked),
        direct=direct,
    )


def _look(
    environment: Environment,
    source: Direct,
    indexes: "Indexes",
    options: Options,
    previous: Lockfile | None,
    key: PublicKey | None,
) -> "DirectPackage":
    """What a direct source holds, verified with the key that is pinned for the expert, if it is locked already."""
    from xpm.operations.direct import look

    pinned = [each for each in previous.packages if each.source] if previous else []
    same = next((each for each in pinned if each.source.partition("@")[0] == str(source).partition("@")[0]), None)
    return look(environment, source, indexes, options, pinned=same, key=key)


def range_for(entry_version: Version) -> str:
    """The range written to xpm.toml if none was asked for: compatible with what was chosen."""
    return str(VersionRange.parse(f"^{entry_version}"))


def _bumped(project: Project, indexes: "Indexes", names: Sequence[str]) -> Project:
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


def _without_spellings(project: Project, name: str) -> Project:
    for spelled in spellings(name):
        project = project.without_expert(spelled)
    return project


def _apply(
    environment: Environment,
    project: Project | None,
    lock: Lockfile,
    indexes: "Indexes",
    options: Options,
    *,
    command: str,
    again: bool = False,
) -> Change:
    """Fetch what is missing (``again``: everything), then change xpm.toml (unless ``project`` is None) and xpm.lock."""
    previous = environment.lockfile()
    stored = [package for package in lock.packages if not package.is_editable]
    missing = stored if again else missing_packages(environment, lock)
    change = replace(
        difference(previous, lock),
        fetched=tuple(f"{each.name} {each.version}" for each in missing),
        files=_differing(environment, project, lock),
    )
    if options.dry_run:
        return change
    bring(environment, [(package, lock.archive_of(package)) for package in missing], indexes, options)
    _write(environment, project, lock, command=command)
    return change


def _write(environment: Environment, project: Project | None, lock: Lockfile, *, command: str) -> None:
    """Change xpm.toml (unless ``project`` is None or says what it says now) and xpm.lock together."""
    environment.history.commit(_texts(environment, project, lock), command=command, time=now())
    environment.history.note()


def _texts(environment: Environment, project: Project | None, lock: Lockfile) -> Contents:
    text = environment.history.contents()[PROJECT_FILE]
    if project is not None and project != environment.project():
        text = project.edit(text or "")
    return {PROJECT_FILE: text, LOCK_FILE: lock.to_bytes().decode()}


def _differing(environment: Environment, project: Project | None, lock: Lockfile) -> tuple[str, ...]:
    """The files that ``_write`` would change."""
    before = environment.history.contents()
    return tuple(name for name, text in _texts(environment, project, lock).items() if text != before[name])


def difference(previous: Lockfile | None, lock: Lockfile) -> Change:
    before = {package.name: package.version for package in previous.experts} if previous else {}
    after = {package.name: package.version for package in lock.experts}
    return Change(
        lock=lock,
        base=f"{_base(previous)} -> {_base(lock)}" if previous and _base(previous) != _base(lock) else "",
        added=tuple(f"{name} {version}" for name, version in after.items() if name not in before),
        removed=tuple(f"{name} {version}" for name, version in before.items() if name not in after),
        updated=tuple(
            f"{name} {before[name]} -> {version}"
            for name, version in after.items()
            if before.get(name, version) != version
        ),
    )


def _base(lock: Lockfile) -> str:
    return f"{lock.base.name} {lock.base.version} {lock.variant}"
