"""From a lock to a changed environment: what is missing comes into the store, then xpm.toml and xpm.lock change as one.

A failure at any point leaves both files as they were.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from xpm.environment import Environment, State
from xpm.lockfile import LOCK_FILE, Lockfile
from xpm.operations.clock import now
from xpm.operations.fetching import fetch_and_store, missing
from xpm.operations.options import Options
from xpm.project import PROJECT_FILE, Project
from xpm_index.versions import Version

if TYPE_CHECKING:
    from xpm.indexes import Indexes


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What an operation did.

    ``base`` tells of another base, version or variant, "" if it stayed. ``fetched`` are the packages that were not in
    the store before, or altered there. ``files`` are those of xpm.toml and xpm.lock that changed.
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


def apply(
    environment: Environment,
    before: State,
    lock: Lockfile,
    options: Options,
    *,
    command: str,
    project: Project | None = None,
    indexes: "Indexes | None" = None,
    again: bool = False,
) -> Change:
    """Make an environment what a lock says; with ``dry_run``, say only what that would change.

    Args:
        before: what the environment was when the operation began.
        command: what the user called, for the history.
        project: what xpm.toml is to say, None if it stays as it is.
        indexes: where packages are fetched from, None to leave the store as it is.
        again: fetch what the store has already, too.
    """
    wanted = [] if indexes is None else list(lock.stored) if again else missing(environment, lock)
    texts = environment.history.contents()
    text = texts[PROJECT_FILE]
    if project is not None and project != before.project:
        text = project.edit(text or "")
    after = {PROJECT_FILE: text, LOCK_FILE: lock.to_bytes().decode()}
    if not options.dry_run:
        if indexes is not None:
            fetch_and_store(environment, wanted, indexes, options, base=lock.stored[0])
        environment.history.commit(after, command=command, time=now())
        environment.history.note()
    fetched = tuple(str(package) for package, _ in wanted)
    files = tuple(name for name in after if after[name] != texts[name])
    return _change(before.lock, lock, fetched=fetched, files=files)


def _change(previous: Lockfile | None, lock: Lockfile, *, fetched: tuple[str, ...], files: tuple[str, ...]) -> Change:
    before, after = _versions(previous), _versions(lock)
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
        fetched=fetched,
        files=files,
    )


def _versions(lock: Lockfile | None) -> Mapping[str, Version]:
    return {package.name: package.version for package in lock.experts} if lock else {}


def _base(lock: Lockfile) -> str:
    return f"{lock.base} {lock.variant}"
