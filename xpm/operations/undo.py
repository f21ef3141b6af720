"""Taking changes of an environment back, and making them again."""

from dataclasses import dataclass
from pathlib import Path

from xpm.environment import Environment
from xpm.history import ChangeRecord, Contents
from xpm.lockfile import LOCK_FILE, Lockfile
from xpm.operations.bring import bring, is_stored, missing_packages
from xpm.operations.options import DEFAULTS, Options


@dataclass(frozen=True, slots=True, kw_only=True)
class Undone:
    """The command taken back or made again, and the experts that the environment has now."""

    command: str
    time: str
    experts: tuple[str, ...]


def undo(environment: Environment, options: Options = DEFAULTS) -> Undone:
    """Restore what was before the last change that xpm made here.

    Raises:
        UsageError: there is none, or the files were edited since. What fetching raises, if the store no longer has what
            is restored; nothing is changed then.
    """
    with environment.locked():
        record = environment.history.last()
        _ensure_stored(environment, record.before, options)
        if not options.dry_run:
            environment.history.undo()
        return _undone(record, record.before)


def redo(environment: Environment, options: Options = DEFAULTS) -> Undone:
    """Make the last change again that was undone; raises as ``undo`` does."""
    with environment.locked():
        record = environment.history.next()
        _ensure_stored(environment, record.after, options)
        if not options.dry_run:
            environment.history.redo()
        return _undone(record, record.after)


def _ensure_stored(environment: Environment, contents: Contents, options: Options) -> None:
    """Bring back into the store what a lock names and garbage collection took."""
    lock = _lock(contents)
    if lock is None or options.dry_run or is_stored(environment, lock):
        return
    with options.indexes(environment, environment.project(), allow_stale=True) as indexes:
        missing = missing_packages(environment, lock)
        bring(environment, [(package, lock.archive_of(package)) for package in missing], indexes, options)


def _undone(record: ChangeRecord, contents: Contents) -> Undone:
    lock = _lock(contents)
    experts = tuple(f"{each.name} {each.version}" for each in lock.experts) if lock else ()
    return Undone(command=record.command, time=record.time, experts=experts)


def _lock(contents: Contents) -> Lockfile | None:
    text = contents[LOCK_FILE]
    return Lockfile.parse(text, Path(LOCK_FILE)) if text is not None else None
