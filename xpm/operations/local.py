"""Bases and experts that are named by their paths, run as they are: no index, no lock, and nobody's signature.

What is packed is unpacked for the one run. An adapter as PEFT saved it is compiled for it; for a base that is named by
its path that takes the base's source: the model's folder, or the source variant beside the base's file.
"""

import os
from collections.abc import Callable
from pathlib import Path

from xpm.errors import NotFoundError, UsageError
from xpm.operations.editable import SLOTS, compiled_in
from xpm.operations.extras import require_extra
from xpm.operations.parts import Part
from xpm_index.archive import MANIFEST, archive_name, extract_archive, read_manifest
from xpm_index.manifest import Manifest
from xpm_runtime.graph import GRAPH_FILE

ARCHIVES = (".expert", ".base")
_GGUF = ".gguf"
_CONFIG = "config.json"
_ADAPTER = "adapter_config.json"
_SOURCE = "source"
Report = Callable[[str], None]


def is_path(text: str) -> bool:
    """Whether somebody means a path rather than a name."""
    return text.startswith((".", "/", "~")) or text.endswith((*ARCHIVES, _GGUF, "/")) or "\\" in text


def local_base(text: str, scratch: Path, report: Report) -> Part:
    """A ``.base`` file, an exported base's folder, or a model (a Hugging Face folder, a GGUF file), which is exported.

    Raises:
        NotFoundError: there is no such path. UsageError: it holds no base.
    """
    path = _existing(text)
    is_gguf = path.is_file() and path.suffix == _GGUF
    folder = _unpacked(path, scratch / "base", kind="base") if path.is_file() and not is_gguf else path
    if not (folder / GRAPH_FILE).is_file():
        if not is_gguf and not (folder / _CONFIG).is_file():
            raise UsageError(f"{path} holds no base", hint="name a .base file, an unpacked base, or a model's folder")
        report("exporting the model as it is")
        from xpm_build.base.export import export_base

        export_base(folder, scratch / "graph", variant="int4" if is_gguf else "fp32")
        folder = scratch / "graph"
    manifest = _manifest_in(folder) or (read_manifest(path) if path.is_file() and not is_gguf else None)
    name = manifest.name if manifest else path.resolve().name
    return Part(name=name, label=f"{name} {manifest.version}" if manifest else name, folder=folder, manifest=manifest)


def local_expert(text: str, scratch: Path, compile_adapter: Callable[[Path, Path], None], report: Report) -> Part:
    """An ``.expert`` file, an expert's folder, or what PEFT saved, which ``compile_adapter``
    compiles into a new folder.

    Raises:
        NotFoundError: there is no such path. UsageError: it holds no expert. BuildError: it can't be compiled.
    """
    path = _existing(text)
    folder = _unpacked(path, scratch / path.name, kind="expert") if path.is_file() else compiled_in(path)
    manifest = _manifest_in(folder) or _manifest_in(path)
    name = manifest.name if manifest else path.resolve().name
    if not (folder / SLOTS).is_file():
        if not (path / _ADAPTER).is_file():
            raise UsageError(
                f"{path} holds no expert", hint=f"name an .expert file, or a folder with {SLOTS} or {_ADAPTER}"
            )
        report(f"compiling {path}")
        folder = scratch / f"compiled-{name.rpartition('/')[2]}"
        compile_adapter(path, folder)
    return Part(name=name, label=f"{name} {manifest.version}" if manifest else name, folder=folder, manifest=manifest)


def is_written(base: Path) -> bool:
    """Whether the graph of the base in a folder was written, not traced: its slots are known by its configuration."""
    from xpm_build.base.architecture import obstacle_to_writing
    from xpm_build.base.configuration import read_configuration

    return not obstacle_to_writing(read_configuration(base))


def compile_for_model(adapter: Path, out: Path, source: Path) -> None:
    """Compile what PEFT saved for the model in ``source`` into the new folder ``out``; one that is
    traced takes the build extra.

    Raises:
        BuildError: it can't be compiled.
    """
    from xpm_build.adapter.compile import compile_adapter, save_slots
    from xpm_build.base.adaptable import Adaptable
    from xpm_build.base.export import open_checkpoint
    from xpm_build.base.exporters import exporter_for
    from xpm_build.base.fingerprint import base_digest, fingerprint

    if exporter_for(source) == "written":
        checkpoint = open_checkpoint(source)
        base = Adaptable.of_configuration(checkpoint.configuration, checkpoint.__getitem__)
        digest = fingerprint(checkpoint, checkpoint.configuration)
    else:
        require_extra()
        from xpm_build.base.model_slots import adaptable
        from xpm_build.base.parity import load_model

        model = load_model(source)
        base, digest = adaptable(model), base_digest(model)
    out.mkdir()
    save_slots(compile_adapter(adapter, base), out / SLOTS, base_digest=digest)


def source_of(text: str, scratch: Path) -> Path:
    """The model of a base named by its path: its folder or GGUF file, or unpacked from the
    source variant beside its file.

    Raises:
        NotFoundError: it is not there.
    """
    path = _existing(text)
    if path.is_dir():
        if (path / GRAPH_FILE).is_file() and not any(path.glob("*.safetensors")):
            raise NotFoundError(
                f"{path} has no weights to compile an adapter for", hint="name the model's folder as --base"
            )
        return path
    if path.suffix == _GGUF:
        return path
    manifest = read_manifest(path)
    variant = manifest.base.variant if manifest.base else ""
    beside = (
        path if variant == _SOURCE else path.with_name(archive_name(manifest.name, manifest.version, variant=_SOURCE))
    )
    if not beside.is_file():
        raise NotFoundError(
            f"there is no {beside.name} beside {path}",
            context="an adapter is compiled with the weights as they were trained on",
            hint="build the base with --variant source too, or name the model's folder as --base",
        )
    return _unpacked(beside, scratch / _SOURCE, kind="base")


def _existing(text: str) -> Path:
    path = Path(os.path.expanduser(text))
    if not path.exists():
        raise NotFoundError(f"there is no {path}", hint="for what is installed, write its name alone")
    return path


def _unpacked(path: Path, into: Path, *, kind: str) -> Path:
    found = read_manifest(path).kind
    if found != kind:
        raise UsageError(f"{path} is of a package of kind {found}", hint=f"a {kind} is wanted there")
    if not into.exists():
        into.mkdir(parents=True)
        extract_archive(path, into)
    return into


def _manifest_in(folder: Path) -> Manifest | None:
    path = folder / MANIFEST
    return Manifest.parse(path.read_bytes()) if path.is_file() else None
