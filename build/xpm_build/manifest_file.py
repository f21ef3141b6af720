"""Writing an expert's manifest.json, whole or not at all."""

import os
from pathlib import Path

from xpm_index.archive import MANIFEST
from xpm_index.manifest import Manifest


def write_manifest(folder: Path, manifest: Manifest) -> None:
    partial = folder / f".{MANIFEST}.partial"
    partial.write_bytes(manifest.to_bytes())
    os.replace(partial, folder / MANIFEST)
