"""One writer at a time: locks on files, which end with the process that holds them at the latest. The one place that
knows how POSIX and Windows lock.

Whoever holds a lock writes its process id behind the first byte, which is the one that Windows
locks against readers, too.
"""

import contextlib
import errno
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_POLL_S = 0.05
_PID = slice(1, 21)  # bytes of the file
_TAKEN = (errno.EACCES, errno.EAGAIN, errno.EDEADLK)


class LockedError(TimeoutError):
    """``process`` is the id of the one that holds the lock, None if it did not say."""

    def __init__(self, path: Path, process: int | None) -> None:
        super().__init__(f"{path} is locked" + (f" by process {process}" if process else ""))
        self.process = process


@contextmanager
def locked_file(path: Path, *, timeout_s: float) -> Iterator[None]:
    """Hold the lock on ``path`` (made if it is not there), which ends with this process at the latest.

    Raises:
        LockedError: somebody else held it all the time. OSError: it can't be locked.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    deadline = time.monotonic() + timeout_s
    try:
        while not _try_lock(descriptor):
            if time.monotonic() > deadline:
                raise LockedError(path, _holder(descriptor))
            time.sleep(_POLL_S)
        with contextlib.suppress(OSError):  # of a full disk: only what others are told is lost
            os.lseek(descriptor, _PID.start, os.SEEK_SET)
            os.write(descriptor, str(os.getpid()).encode().ljust(_PID.stop - _PID.start))
        yield
    finally:
        os.close(descriptor)


def _holder(descriptor: int) -> int | None:
    """The process id that whoever holds the lock wrote."""
    try:
        os.lseek(descriptor, _PID.start, os.SEEK_SET)
        text = os.read(descriptor, _PID.stop - _PID.start).strip()
    except OSError:
        return None
    return int(text) if text.isdigit() else None


def _try_lock(descriptor: int) -> bool:
    """Whether the lock is ours now; raises OSError if it can't be locked at all."""
    try:
        _lock(descriptor)
    except OSError as error:
        if error.errno in _TAKEN:
            return False
        raise
    return True


if sys.platform == "win32":
    import msvcrt

    def _lock(descriptor: int) -> None:
        """Lock the first byte, which need not be there; closing the file unlocks it."""
        os.lseek(descriptor, 0, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
else:
    import fcntl

    def _lock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
