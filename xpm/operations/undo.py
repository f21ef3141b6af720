"""Taking changes of an environment back, and making them again."""

from dataclasses import dataclass
from pathlib import Path

from xpm.environment import Environment
from xpm.history import ChangeRecord, Contents
from xpm.lockfile import LOCK_FILE, Lockfile
from xpm.operations.fetching import fetch_and_store, missing
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
        lock = _ready(environment, record.before, options)
        if not options.dry_run:
            environment.history.undo()
        return _undone(record, lock)


def redo(environment: Environment, options: Options = DEFAULTS) -> Undone:
    """Make the last change again that was undone; raises as ``undo`` does."""
    with environment.locked():
        record = environment.history.next()
        lock = _ready(environment, record.after, options)
        if not options.dry_run:
            environment.history.redo()
        return _undone(record, lock)


def _ready(environment: Environment, contents: Contents, options: Options) -> Lockfile | None:
    """The lock to be restored; what it names and garbage collection took is brought back into the store."""
    text = contents[LOCK_FILE]
    lock = Lockfile.parse(text, Path(LOCK_FILE)) if text is not None else None
    if lock is not None and not options.dry_run and (wanted := missing(environment, lock)):
        with options.indexes(environment, environment.project(), allow_stale=True) as indexes:
            fetch_and_store(environment, wanted, indexes, options, base=lock.stored[0])
    return lock


def _undone(record: ChangeRecord, lock: Lockfile | None) -> Undone:
    experts = tuple(map(str, lock.experts)) if lock else ()
    return Undone(command=record.command, time=record.time, experts=experts)
