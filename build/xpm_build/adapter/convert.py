"""Between the forms an adapter comes in: what PEFT saved, a package (also the tar.gz of older ones), a folder to build from."""

import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from xpm_build.adapter.peft_files import ADAPTER_CONFIG, ADAPTER_WEIGHTS
from xpm_build.errors import BuildError
from xpm_index.archive import MANIFEST, read_files
from xpm_index.manifest import Manifest
from xpm_index.names import validate_name

_OLDER_WEIGHTS = "weights.safetensors"
_ALONGSIDE = ("README.md", "LICENSE", "grammar.gbnf")


def convert(source: Path, out: Path, *, to: str, base: str = "") -> list[str]:
    """Write ``source`` to the new folder ``out`` in another form; return the names of the files written.

    Args:
        source: a folder that PEFT saved, an expert's folder, or a package file (``.expert``, ``.tar.gz``).
        to: "peft": a folder for PeftModel.from_pretrained; "expert": a folder for ``xpm build expert``, with a manifest.
        base: the name of the base, for a manifest that is made anew.
    Raises:
        BuildError: the source holds no adapter, or ``out`` is there already. ArchiveError: the package is malformed.
    """
    if out.exists():
        raise BuildError(f"{out} is there already", hint="name a folder that is not")
    files = _read_folder(source) if source.is_dir() else read_files(source)
    wanted = _peft_files(files)
    if not wanted:
        raise BuildError(f"{source} holds no adapter", context=f"no {ADAPTER_CONFIG} beside {ADAPTER_WEIGHTS}")
    wanted |= {name: files[name] for name in _ALONGSIDE if name in files}
    if to == "expert":
        wanted[MANIFEST] = files.get(MANIFEST) or _new_manifest(out.name, base)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=".convert-") as scratch:
        whole = Path(scratch) / "out"
        for name, content in wanted.items():
            (whole / name).parent.mkdir(parents=True, exist_ok=True)
            (whole / name).write_bytes(content)
        os.replace(whole, out)
    return sorted(wanted)


def _read_folder(folder: Path) -> dict[str, bytes]:
    names = (MANIFEST, ADAPTER_CONFIG, ADAPTER_WEIGHTS, _OLDER_WEIGHTS)
    found = {name: folder / name for name in (*names, *_ALONGSIDE)}
    found |= {
        path.relative_to(folder).as_posix(): path
        for path in folder.glob("*/*")
        if path.name in (ADAPTER_CONFIG, ADAPTER_WEIGHTS)
    }
    return {name: path.read_bytes() for name, path in found.items() if path.is_file()}


def _peft_files(files: Mapping[str, bytes]) -> dict[str, bytes]:
    """Each adapter's configuration and weights, the weights under PEFT's name for them."""
    stated = _stated_weights(files)
    found: dict[str, bytes] = {}
    for name in files:
        place = PurePosixPath(name)
        if place.name != ADAPTER_CONFIG:
            continue
        for candidate in (ADAPTER_WEIGHTS, _OLDER_WEIGHTS, *stated):
            weights = files.get(str(place.parent / candidate))
            if weights is not None:
                found |= {name: files[name], str(place.parent / ADAPTER_WEIGHTS): weights}
                break
    return found


def _stated_weights(files: Mapping[str, bytes]) -> list[str]:
    """The paths that an older package's manifest gives for its weights."""
    if MANIFEST not in files:
        return []
    raw = Manifest.parse(files[MANIFEST]).raw
    bases = raw.get("base_models") or [raw.get("base_model") or {}]
    entries = [*(raw.get("adapters") or []), *(entry for base in bases for entry in base.get("adapters") or [])]
    return [str(entry["path"]) for entry in entries if isinstance(entry.get("path"), str)]


def _new_manifest(name: str, base: str) -> bytes:
    validate_name(name, what="expert name")
    if not base:
        raise BuildError("the manifest must name the base", hint="say which with --base")
    document = {
        "schema_version": "2.0",
        "kind": "expert",
        "name": name,
        "version": "0.1.0",
        "description": "",
        "base_models": [{"name": base}],
    }
    return (json.dumps(document, indent=2) + "\n").encode()
