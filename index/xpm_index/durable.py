"""What outlasts a crash."""

import os
from pathlib import Path


def sync_folder(path: Path) -> None:
    """Make a rename in ``path`` last through a crash. Windows can't sync a folder: NTFS
    keeps renames in its journal."""
    if os.name == "nt":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
