"""Fusing experts: finds them and their base, then leaves the work to ``xpm_build`` (the ``build`` extra)."""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from xpm.environment import Environment
from xpm.errors import UsageError
from xpm.operations.expert import base_of
from xpm.operations.extras import require_extra
from xpm.operations.installed import find_installed
from xpm.operations.model_folder import model_folder
from xpm.progress import Progress
from xpm_index.archive import extract_archive
from xpm_index.digests import sha256_file

if TYPE_CHECKING:
    from xpm_build.adapter.fuse import Fused, FuseOptions, Part


def fuse(
    environment: Environment,
    experts: Sequence[str],
    out: Path | None,
    *,
    base: str,
    scales: Mapping[str, float],
    options: "FuseOptions",
    progress: Progress,
    report: Callable[[str], None],
) -> "Fused":
    """Make one expert's folder of several.

    Args:
        experts: folders, package files, or names of what is installed here.
        out: the new folder; by default it is named like the fused expert.
        base: a model's folder or GGUF file, or a base's name; by default the one that the first expert names.
        scales: how strongly each acts, by how it is named in ``experts``; 1 of those that are not there.
    Raises:
        UsageError: there are fewer than two, or a scale is of none of them. NotFoundError: one is none of these.
    """
    require_extra()
    from xpm_build.adapter.fuse import fuse as write
    from xpm_build.base.fingerprint import base_digest
    from xpm_build.base.model_slots import adaptable
    from xpm_build.base.parity import load_model

    if len(experts) < 2:
        raise UsageError("fusing needs two experts or more", hint="xpm fuse expert-sql expert-json --out FOLDER")
    if strangers := scales.keys() - set(experts):
        raise UsageError(f"{min(strangers)} has a scale, but is not among the experts", context=", ".join(experts))
    with tempfile.TemporaryDirectory(prefix="xpm-fuse-") as scratch:
        parts = [
            _part(environment, each, scales.get(each, 1.0), Path(scratch) / str(number))
            for number, each in enumerate(experts)
        ]
        named = base or base_of([each.folder for each in parts])
        with model_folder(environment, named, progress=progress) as folder:
            report(f"loading {folder}")
            model = load_model(folder)
            return write(parts, out, adaptable(model), base_digest(model), options)


def _part(environment: Environment, expert: str, scale: float, scratch: Path) -> "Part":
    """What is named; a package file is unpacked into ``scratch``."""
    from xpm_build.adapter.fuse import Part

    path = Path(expert)
    if path.is_file():
        scratch.mkdir()
        extract_archive(path, scratch)
        return Part(folder=scratch, scale=scale, package=sha256_file(path))
    if path.is_dir():
        return Part(folder=path, scale=scale)
    found = find_installed(environment, expert)
    return Part(folder=found.require_folder(), scale=scale, package=found.digest)
