"""Writing files so that a crash leaves the old or the new content, never a part."""

import os
import tempfile
from pathlib import Path

from xpm_index.durable import sync_folder


def write_atomically(path: Path, data: bytes) -> None:
    """Replace ``path`` with ``data``: a synced temporary file beside it, one rename, a synced folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
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


def remove_durably(path: Path) -> None:
    """Remove a file, if it is there, so that it stays removed through a crash."""
    if path.exists():
        path.unlink()
        sync_folder(path.parent)
