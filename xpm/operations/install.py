"""Changing an environment: init, install, uninstall, update, lock, sync.

Each reads the project and the lock, once, resolves, and hands the new lock on (``xpm.operations.applying``). What only
fetching and resolving need is imported when they begin, so that a locked project with a warm store is done at once.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from xpm.environment import Environment
from xpm.errors import LockfileError, NotFoundError, UsageError
from xpm.lockfile import Lockfile, require_current
from xpm.operations.applying import Change, apply
from xpm.operations.fetching import missing
from xpm.operations.names import not_installed, published_name
from xpm.operations.options import DEFAULTS, Options
from xpm.project import PROJECT_FILE, Project
from xpm.sources import FromAdapter, FromArchive, FromIndex, FromModel, Source
from xpm_index.keys import PublicKey
from xpm_index.names import ExpertName, spellings, validate_name
from xpm_index.requirements import Requirement
from xpm_index.versions import Version, VersionRange

if TYPE_CHECKING:
    from xpm.indexes import Indexes
    from xpm.operations.direct import Described


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
    called: str = "",
) -> Change:
    """Add experts to the environment; one that is there already gets the new range or source. A base's
    archive becomes the base.

    Args:
        wanted: requirements on what indexes have, or direct sources.
        key: the public key of a direct source's publisher, if nobody else tells it.
        called: the name of the expert that is made of the one adapter wanted, "" for that of its folder or id.
    """
    if called and not (len(wanted) == 1 and isinstance(wanted[0], FromAdapter)):
        raise UsageError("a name is chosen for one adapter", hint="packages have names of their own: leave --name out")
    from xpm.operations.adapters import name_of, require_free
    from xpm.operations.direct import describe
    from xpm.operations.locking import resolve_project

    with environment.locked():
        before = environment.state()
        changed, previous = before.project, before.lock
        names, unbounded = list[str](), list[str]()
        described: dict[str, Described] = {}
        with options.indexes(environment, changed) as indexes:
            indexes.refresh(options.index_max_age)
            for each in wanted:
                if isinstance(each, Requirement | FromIndex):
                    requirement = each if isinstance(each, Requirement) else each.requirement
                    name = published_name(requirement, indexes)
                    changed = changed.without_expert(name).with_range(name, requirement.range)
                    unbounded += [name] if requirement.range.text == "*" else []
                elif isinstance(each, FromAdapter):
                    name = validate_name(called) if called else name_of(each, environment.folder)
                    require_free(name, each, changed, previous)
                    changed = changed.without_expert(name).with_expert(name, each)
                else:
                    found = describe(environment, each, indexes, options, previous=previous, key=key)
                    name = found.locked.name
                    described[name] = found
                    if found.locked.kind == "base" and isinstance(each, FromArchive):
                        changed = changed.with_base(name, each, variant=found.locked.archives[0].variant)
                        continue
                    changed = changed.without_expert(name).with_expert(name, each)
                names.append(name)
            lock = resolve_project(environment, changed, indexes, previous, options, asked=names, described=described)
            versions = {package.name: package.version for package in lock.experts}
            for name in unbounded:
                changed = changed.with_range(name, range_for(versions[name]))
            lock = resolve_project(environment, changed, indexes, lock, options, described=described)
            command = " ".join(["install", *(e.adapter if isinstance(e, FromAdapter) else str(e) for e in wanted)])
            return apply(environment, before, lock, options, command=command, project=changed, indexes=indexes)


def uninstall(environment: Environment, names: Sequence[str], options: Options = DEFAULTS) -> Change:
    """Remove experts from the environment; what nothing else needs goes with them."""
    from xpm.operations.locking import resolve_project

    with environment.locked():
        before = environment.state()
        project, previous = before.project, before.lock
        installed = {package.name for package in previous.experts} if previous else set()
        for name in names:
            if not set(spellings(name)) & set(project.experts):
                if installed & set(spellings(name)):
                    raise NotFoundError(f"{name} is not installed here", hint="another expert requires it")
                raise not_installed(name, project.experts)
            project = project.without_expert(name)
        with options.indexes(environment, project, allow_stale=True) as indexes:
            lock = resolve_project(environment, project, indexes, previous, options)
            command = f"uninstall {' '.join(names)}"
            return apply(environment, before, lock, options, command=command, project=project, indexes=indexes)


def use_base(environment: Environment, base: Requirement, variant: str | None, options: Options = DEFAULTS) -> Change:
    """Run the environment on another base or variant; experts are resolved anew to fit it."""
    from xpm.operations.locking import resolve_project

    with environment.locked():
        before = environment.state()
        with options.indexes(environment, before.project) as indexes:
            indexes.refresh(options.index_max_age)
            name = ExpertName.parse(published_name(base, indexes))
            source = FromIndex(requirement=Requirement(name, base.range))
            changed = before.project.with_base(name.name, source, variant=variant or "")
            lock = resolve_project(environment, changed, indexes, before.lock, options)
            command = f"base add {base}"
            return apply(environment, before, lock, options, command=command, project=changed, indexes=indexes)


def use_model(
    environment: Environment,
    source: FromModel,
    *,
    variant: str,
    name: str = "",
    options: Options = DEFAULTS,
    checked: Callable[[str], object] | None = None,
) -> Change:
    """Make a base of a model and run the environment on it; experts are resolved anew to fit it.

    Args:
        name: what it is to be called, "" for the name of its file or folder.
        checked: have it compared with Transformers on the model, which takes the build extra,
            and be told what was found.
    """
    from xpm.operations.direct import made
    from xpm.operations.locking import resolve_project
    from xpm.operations.models import name_of

    with environment.locked():
        before = environment.state()
        name = name or name_of(source)
        changed = before.project.with_base(name, source, variant=variant)
        described = {name: made(environment, source, options, name=name, variant=variant, checked=checked)}
        with options.indexes(environment, changed, allow_stale=True) as indexes:
            lock = resolve_project(environment, changed, indexes, before.lock, options, described=described)
            command = f"base add {source.model}"
            return apply(environment, before, lock, options, command=command, project=changed, indexes=indexes)


def update(
    environment: Environment,
    names: Sequence[str],
    options: Options = DEFAULTS,
    *,
    bump: bool = False,
    done: Callable[[Change], object] = lambda change: None,
) -> Change:
    """Fetch the indexes and take the newest versions that xpm.toml allows, of the named experts or of all.

    Args:
        bump: first raise the ranges in xpm.toml to the newest versions there are.
        done: told of the change, before what follows.
    Raises:
        XpmError: among others, after all else is done, the first that kept an index from being fetched; that index is
            used as it was.
    """
    from xpm.operations.locking import resolve_project

    with environment.locked():
        before = environment.state()
        project, previous = before.project, before.lock
        installed = [package.name for package in previous.packages] if previous else []
        upgrade = [spelled for name in names for spelled in spellings(name)]
        for name in names:
            if not set(installed) & set(spellings(name)):
                raise not_installed(name, installed)
        with options.indexes(environment, project) as indexes:
            failures = [] if options.offline else indexes.update_all()
            if bump:
                project = _bumped(project, indexes, upgrade if names else list(project.experts))
            lock = resolve_project(environment, project, indexes, previous, options, upgrade=upgrade if names else None)
            command = " ".join(["update", *names])
            change = apply(environment, before, lock, options, command=command, project=project, indexes=indexes)
        done(change)
        if failures:
            raise failures[0]
        return change


def lock(environment: Environment, options: Options = DEFAULTS, *, locked: bool = False) -> Change:
    """Make xpm.lock agree with xpm.toml without installing; ``locked`` fails instead of writing."""
    from xpm.operations.locking import resolve_project

    with environment.locked():
        before = environment.state()
        if locked:
            current = environment.require(before.lock)
            require_current(current, before.project)
            return Change(lock=current)
        with options.indexes(environment, before.project) as indexes:
            indexes.refresh(options.index_max_age)
            made = resolve_project(environment, before.project, indexes, before.lock, options)
        return apply(environment, before, made, options, command="lock")


def sync(
    environment: Environment,
    options: Options = DEFAULTS,
    *,
    locked: bool = False,
    frozen: bool = False,
    reinstall: bool = False,
) -> Change:
    """Fetch everything the lock names into the store, what was altered there too.

    Args:
        locked: fail if the lock does not agree with xpm.toml, instead of locking anew.
        frozen: take the lock as it is, without looking at whether xpm.toml agrees.
        reinstall: fetch again what the store has.
    """
    with environment.locked():
        before = environment.state()
        project, previous = before.project, before.lock
        if locked or frozen:
            previous = environment.require(previous)
        if locked and previous:
            require_current(previous, project)
        kept = previous if previous and (frozen or locked or _agrees(previous, project)) else None
        if kept and not reinstall and not missing(environment, kept):
            if not options.dry_run:
                environment.history.note()
            return Change(lock=kept)
        with options.indexes(
            environment, project, allow_stale=kept is not None
        ) as indexes:  # a lock decides nothing anew
            made = kept
            if made is None:
                from xpm.operations.locking import resolve_project

                indexes.refresh(options.index_max_age)
                made = resolve_project(environment, project, indexes, previous, options)
            return apply(environment, before, made, options, command="sync", indexes=indexes, again=reinstall)


def require_stored(environment: Environment, options: Options = DEFAULTS) -> Lockfile:
    """The environment's lock with everything it names in the store; locks and fetches what is missing."""
    return sync(environment, options).lock


def range_for(version: Version) -> VersionRange:
    """The range written to xpm.toml if none was asked for: compatible with what was chosen."""
    return VersionRange.parse(f"^{version}")


def _bumped(project: Project, indexes: "Indexes", names: Sequence[str]) -> Project:
    """The project with the ranges of ``names`` raised to the newest version that is neither
    yanked nor a pre-release."""
    for name in names:
        if isinstance(project.experts.get(name), FromIndex):
            entries = [e for e in indexes.entries(name)[1] if e.yanked is None and not e.version.is_prerelease]
            if entries:
                project = project.with_range(name, range_for(entries[-1].version))
    return project


def _agrees(lock: Lockfile, project: Project) -> bool:
    try:
        require_current(lock, project)
    except LockfileError:
        return False
    return True
