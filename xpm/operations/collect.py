"""Garbage collection: what no environment of this user needs goes out of the store.

Roots are the lockfiles of every environment that xpm has worked in, and what their undo would need. An environment
whose folder is gone is forgotten.
"""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from xpm.environment import Environment
from xpm.errors import LockfileError
from xpm.history import ChangeRecord, History, environments
from xpm.home import Home
from xpm.lockfile import LOCK_FILE, Lockfile
from xpm.store import Store

KEEP_UNDO = timedelta(days=30)


@dataclass(frozen=True, slots=True, kw_only=True)
class Collected:
    """``removed`` are folders in the store; ``forgotten`` the folders of environments that are gone."""

    removed: tuple[str, ...]
    freed_bytes: int
    kept: int
    forgotten: tuple[str, ...]


def collect(home: Home, *, keep_undo: timedelta = KEEP_UNDO, dry_run: bool = False) -> Collected:
    """Remove what nothing needs; a lockfile that can't be read stops it, so that nothing is lost.

    Args:
        keep_undo: changes younger than this can still be undone without fetching.
    Raises:
        LockfileError: an environment's lockfile is malformed: nothing is removed then.
    """
    with home.locked():
        store, needed, gone = Store(home.store), set[str](), []
        for folder, changes in environments(home.history):
            if not folder.is_dir():
                gone.append(folder)
                continue
            Environment(home=home, folder=folder, is_project=True).history.recover()
            needed |= set(_digests(folder, changes, keep_undo))
        extra = [digest for digest in store.digests() if digest not in needed]
        freed = sum(store.size_of(digest) for digest in extra)
        freed += sum(path.stat().st_size for path in home.downloaded())
        if not dry_run:
            for digest in extra:
                store.remove(digest)
            store.clear_temporary()
            shutil.rmtree(home.downloads, ignore_errors=True)
            home.clear_abandoned()
            for folder in gone:
                History(home.history, folder).forget()
        return Collected(
            removed=tuple(extra),
            freed_bytes=freed,
            kept=len(needed & set(store.digests())),
            forgotten=tuple(str(folder) for folder in gone),
        )


def _digests(folder: Path, changes: tuple[ChangeRecord, ...], keep_undo: timedelta) -> Iterator[str]:
    """Every archive that an environment needs: all variants in its lock, and in those of its recent changes."""
    current = Lockfile.read(folder)
    locks = [current] if current else []
    oldest = (datetime.now(UTC) - keep_undo).strftime("%Y-%m-%dT%H:%M:%SZ")
    for change in changes:
        if change.time <= oldest:
            continue
        for contents in (change.before, change.after):
            if (text := contents[LOCK_FILE]) is not None:
                try:
                    locks.append(Lockfile.parse(text, folder / LOCK_FILE))
                except LockfileError:
                    continue  # a lock of the past that can't be read can't be restored either
    for lock in locks:
        for package in lock.packages:
            yield from (ref.digest for ref in package.archives)
