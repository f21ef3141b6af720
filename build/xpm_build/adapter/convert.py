"""Between the forms an adapter comes in: what PEFT saved or the hub keeps, a package (also the tar.gz of older ones),
an OCI layout, a folder to build from."""

import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from xpm_build.adapter.hub_folder import README, license_in, model_card
from xpm_build.adapter.model_signature import SIGNATURE, load_private_key, load_public_key, sign_folder, verify_folder
from xpm_build.adapter.oci_layout import INDEX_FILE, LAYOUT_FILE, read_layout, write_layout
from xpm_build.adapter.peft_files import ADAPTER_CONFIG, ADAPTER_WEIGHTS
from xpm_build.errors import BuildError
from xpm_index.archive import MANIFEST, read_files, write_archive
from xpm_index.manifest import Manifest
from xpm_index.names import validate_name

_OLDER_WEIGHTS = "weights.safetensors"
_ALONGSIDE = (README, "LICENSE", "grammar.gbnf")


def form_for(source: Path, out: Path) -> str:
    """The form that is wanted if nobody says: a package where ``out`` is named so, PEFT's of a
    package, else a folder to build."""
    if out.suffix == ".expert":
        return "package"
    return "peft" if source.suffix == ".expert" else "expert"


def convert(
    source: Path, out: Path, *, to: str, base: str = "", sign: Path | None = None, verify: Path | None = None
) -> list[str]:
    """Write ``source`` to the new folder or file ``out`` in another form; return the names of the files written.

    Args:
        source: a folder that PEFT saved, an expert's folder, an OCI layout, or a package file
            (``.expert``, ``.tar.gz``).
        to: "peft": a folder for PeftModel.from_pretrained; "hf": the same with a model card's head and the manifest,
            for the hub; "expert": a folder for ``xpm build expert``, with a manifest; "oci": a layout with all of a
            package; "package": the package that a layout holds, to the byte.
        base: the name of the base, for a manifest that is made anew.
        sign: a private key in PEM, to write ``model.sig`` with into the folder.
        verify: a public key in PEM, that the source folder's ``model.sig`` must be by.
    Raises:
        BuildError: the source holds no adapter, or ``out`` is there already. ArchiveError: the package is malformed.
        IntegrityError: a layout's blob is damaged. What ``xpm_build.adapter.model_signature``
            raises of keys and signatures.
    """
    if out.exists():
        raise BuildError(f"{out} is there already", hint="name a folder that is not")
    if sign and to == "package":
        raise BuildError("a package is a file, with a signature of its own", hint="sign it with `xpm sign`")
    if verify and not source.is_dir():
        raise BuildError(f"{source} is no folder with a {SIGNATURE}", hint="verify a package with `xpm verify`")
    signing_key = load_private_key(sign) if sign else None
    public_key = load_public_key(verify) if verify else None
    is_layout = (source / LAYOUT_FILE).is_file()
    if to in ("oci", "package") and not is_layout and source.is_dir():
        raise BuildError(f"{source} is a folder, not a package", hint="build it first: `xpm build expert`")
    files = read_layout(source) if is_layout else _read_folder(source) if source.is_dir() else read_files(source)
    if public_key is not None:
        used = {each: (source / each).read_bytes() for each in (LAYOUT_FILE, INDEX_FILE)} if is_layout else files
        verify_folder(source, public_key, used=used)  # a layout's blobs are what its index says
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=".convert-") as scratch:
        whole = Path(scratch) / "out"
        if to == "oci":
            write_layout(whole, files)
        elif to == "package":
            _write_package(whole, files, source)
        else:
            files = _adapter_files(files, source, out.name, to=to, base=base)
            for name, content in files.items():
                (whole / name).parent.mkdir(parents=True, exist_ok=True)
                (whole / name).write_bytes(content)
        if signing_key is not None:
            sign_folder(whole, signing_key, name=out.name)
        os.replace(whole, out)
    return sorted([*files, *([SIGNATURE] if signing_key else [])])


def _write_package(out: Path, files: Mapping[str, bytes], source: Path) -> None:
    if MANIFEST not in files:
        raise BuildError(f"{source} holds no {MANIFEST}", hint="convert it to an expert's folder, and build that")
    Manifest.parse(files[MANIFEST])
    write_archive(out, files)


def _adapter_files(files: Mapping[str, bytes], source: Path, name: str, *, to: str, base: str) -> dict[str, bytes]:
    """What the folder ``name`` is to hold: what PEFT reads, and what goes with it."""
    wanted = _peft_files(files)
    if not wanted:
        raise BuildError(f"{source} holds no adapter", context=f"no {ADAPTER_CONFIG} beside {ADAPTER_WEIGHTS}")
    wanted |= {name: files[name] for name in _ALONGSIDE if name in files}
    if to == "expert":
        wanted[MANIFEST] = files.get(MANIFEST) or _new_manifest(name, base, license_in(files.get(README, b"")))
    if to == "hf":
        raw = Manifest.parse(files[MANIFEST]).raw if MANIFEST in files else {}
        wanted |= {README: model_card(wanted, raw)} | ({MANIFEST: files[MANIFEST]} if raw else {})
    return wanted


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


def _new_manifest(name: str, base: str, license: str) -> bytes:
    validate_name(name, what="expert name")
    if not base:
        raise BuildError("the manifest must name the base", hint="say which with --base")
    document: dict[str, Any] = {
        "schema_version": "2.0",
        "kind": "expert",
        "name": name,
        "version": "0.1.0",
        "description": "",
        "base_models": [{"name": base}],
    }
    if license:
        document["license"] = license
    return (json.dumps(document, indent=2) + "\n").encode()
