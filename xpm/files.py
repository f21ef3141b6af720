"""Writing files so that a crash leaves the old or the new content, never a part."""

import contextlib
import glob
import os
import tempfile
import time
from pathlib import Path

from xpm_index.durable import sync_folder

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
