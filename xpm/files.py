"""Writing files so that a crash leaves the old or the new content, never a part; and locking, so that one writes at a time."""

import contextlib
import glob
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from xpm_index.durable import sync_folder

_POLL_S = 0.05
_TEMPORARY = ".tmp"
_ABANDONED_AFTER_S = 60  # a writer needs its temporary file for milliseconds


def write_atomically(path: Path, data: bytes) -> None:
    """Replace ``path`` with ``data``: a synced temporary file beside it, one rename, a synced folder.

    Temporary files that writers of this file left when they were killed go.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    _clear_abandoned(path)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=_TEMPORARY)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def _clear_abandoned(path: Path) -> None:
    for each in path.parent.glob(f".{glob.escape(path.name)}.*{_TEMPORARY}"):
        with contextlib.suppress(FileNotFoundError):
            if time.time() - each.stat().st_mtime > _ABANDONED_AFTER_S:
                each.unlink()


def remove_durably(path: Path) -> None:
    """Remove a file, if it is there, so that it stays removed through a crash."""
    if path.exists():
        path.unlink()
        sync_folder(path.parent)


@contextlib.contextmanager
def locked_file(path: Path, *, timeout_s: float) -> Iterator[None]:
    """Hold the lock on ``path`` (made if it is not there), which ends with this process at the latest.

    Raises:
        TimeoutError: somebody else held it all the time. OSError: it can't be locked.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    deadline = time.monotonic() + timeout_s
    try:
        while not _try_lock(descriptor):
            if time.monotonic() > deadline:
                raise TimeoutError(f"{path} is locked")
            time.sleep(_POLL_S)
        yield
    finally:
        os.close(descriptor)


def _try_lock(descriptor: int) -> bool:
    """Whether the lock is ours now."""
    try:
        if os.name == "nt":
            import msvcrt

            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined,unused-ignore]
        else:
            import fcntl

            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    return True
