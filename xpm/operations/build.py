"""Building packages: finds the base's source, then leaves the work to ``xpm_build`` (the ``build`` extra)."""

import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from xpm.environment import Environment
from xpm.errors import NotFoundError
from xpm.operations.editable import IN_PLACE
from xpm.operations.extras import require_extra
from xpm.operations.model_folder import model_folder
from xpm.progress import Progress
from xpm_index.archive import extract_archive
from xpm_index.names import validate_name

if TYPE_CHECKING:
    from xpm_build.embedder import BuiltEmbedder
    from xpm_build.packages import BuiltArchive


def build_base(
    source: str,
    out: Path,
    *,
    name: str,
    version: str,
    variants: Sequence[str],
    block: int,
    quantizer: str,
    exporter: str = "auto",
    template: str = "",
    report: Callable[[str], None],
) -> "list[BuiltArchive]":
    """``source`` is a Hugging Face folder, or the id of a model, which is fetched."""
    require_extra()
    from xpm_build.base.hub import fetch_model, is_model_id
    from xpm_build.packages import build_base as build

    validate_name(name, what="base name")
    folder = Path(source)
    if not folder.is_dir():
        if not is_model_id(source):
            raise NotFoundError(f"{source} is neither a folder nor a model's id", hint="name a folder, or OWNER/NAME")
        report(f"fetching {source}")
        folder = fetch_model(source)
    return build(
        folder,
        out,
        name=name,
        version=version,
        variants=variants,
        block=block,
        quantizer=quantizer,
        exporter=exporter,
        template=template,
        report=report,
    )


def build_embedder(
    source: Path, out: Path, *, layers: int | None = None, report: Callable[[str], None] | None = None
) -> "BuiltEmbedder":
    """Export the encoder in a folder, or its first layers, to the new folder ``out``; with
    ``report`` topics are trained, too."""
    require_extra()
    from xpm_build.embedder import build_embedder as build

    return build(source, out, layers=layers, report=report)


def build_expert(
    environment: Environment,
    folder: Path,
    out: Path,
    *,
    base: str,
    storage: str = "float32",
    slots_only: bool = False,
    embedder: Path | None = None,
    builder: str = "",
    progress: Progress,
    report: Callable[[str], None],
) -> "BuiltArchive":
    """Build an expert; ``base`` is a model's folder or GGUF file, or the name of a base that was made
    here or that an index has."""
    require_extra()
    from xpm_build.packages import build_expert as build

    name = None if Path(base).exists() else base
    with model_folder(environment, base, progress=progress) as source:
        return build(
            folder,
            out,
            base=source,
            name=name,
            storage=storage,
            slots_only=slots_only,
            embedder=embedder,
            builder=builder,
            report=report,
        )


def convert(
    source: Path, out: Path, *, to: str | None, base: str, sign: Path | None = None, verify: Path | None = None
) -> tuple[str, list[str]]:
    """Write an adapter in another form; (the form, the names of the files written)."""
    require_extra()
    from xpm_build.adapter.convert import convert as write
    from xpm_build.adapter.convert import form_for

    form = to or form_for(source, out)
    return form, write(source, out, to=form, base=base, sign=sign, verify=verify)


def build_in_place(
    environment: Environment, folder: Path, *, base: str, progress: Progress, report: Callable[[str], None]
) -> Path:
    """Compile an expert into its own folder, for `xpm install --editable`; the folder of what was
    compiled, replaced whole."""
    target = folder / IN_PLACE
    with tempfile.TemporaryDirectory(dir=folder, prefix=".xpm-") as scratch:
        built = build_expert(environment, folder, Path(scratch) / "out", base=base, progress=progress, report=report)
        unpacked = Path(scratch) / "new"
        unpacked.mkdir()
        extract_archive(built.path, unpacked)
        if target.exists():
            os.replace(target, Path(scratch) / "old")
        os.replace(unpacked, target)
    return target
