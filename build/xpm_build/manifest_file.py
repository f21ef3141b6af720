"""An expert's manifest.json: read where a command needs it, written whole or not at all."""

import os
from pathlib import Path

from xpm_build.errors import UsageError
from xpm_index.archive import MANIFEST
from xpm_index.manifest import Manifest


def read_manifest(folder: Path) -> Manifest:
    """
    Raises:
        UsageError: there is none. ManifestError: it is malformed.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise UsageError(f"{folder} has no {MANIFEST}", hint="start with `xpm new expert NAME`")
    return Manifest.parse(path.read_bytes())


def write_manifest(folder: Path, manifest: Manifest) -> None:
    partial = folder / f".{MANIFEST}.partial"
    partial.write_bytes(manifest.to_bytes())
    os.replace(partial, folder / MANIFEST)
