"""A package as an OCI image layout on disk, in the form of CNCF's ModelPack: each file is a layer of its own, as it is.

What copies layouts (oras, skopeo) takes it to a registry and back. All of the package is in it, its manifest and
signature too, so that the package that is made of it again is the one that was signed. Read without trust: digests,
sizes and names are checked.
"""

import io
import json
import re
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from xpm_build.errors import BuildError
from xpm_index import strict_json
from xpm_index.archive import EXPERT_LIMITS, MANIFEST, check_names, ordered
from xpm_index.digests import sha256_bytes
from xpm_index.errors import ArchiveError, IntegrityError, ManifestError
from xpm_index.fields import Fields
from xpm_index.manifest import Manifest

LAYOUT_FILE, INDEX_FILE = "oci-layout", "index.json"
_LAYOUT_VERSION = "1.0.0"
_INDEX_TYPE = "application/vnd.oci.image.index.v1+json"
_MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
ARTIFACT_TYPE = "application/vnd.cncf.model.manifest.v1+json"
_CONFIG_TYPE = "application/vnd.cncf.model.config.v1+json"
_LAYER_TYPE = re.compile(r"application/vnd\.cncf\.model\.(weight|weight\.config|doc|code|dataset)\.v1\.(raw|tar)")
_FILE_PATH = "org.cncf.model.filepath"
_DIGEST = re.compile(r"sha256:([0-9a-f]{64})")
_MAX_DOCUMENT_BYTES = 1 << 20
_DOCS = ("README.md", "LICENSE")


def write_layout(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write a package's files as a layout into the new folder ``folder``; the same files always give the same bytes.

    Raises:
        BuildError: there is no manifest among them.
    """
    if MANIFEST not in files:
        raise BuildError(f"there is no {MANIFEST}", hint="build the expert first, and convert the package")
    manifest = Manifest.parse(files[MANIFEST])
    blobs = folder / "blobs" / "sha256"
    blobs.mkdir(parents=True)

    def put(data: bytes, media_type: str, **more: Any) -> dict[str, Any]:
        digest = sha256_bytes(data)
        (blobs / digest.removeprefix("sha256:")).write_bytes(data)
        return {"mediaType": media_type, "digest": digest, "size": len(data), **more}

    names = ordered(files)
    layers = [put(files[name], _layer_type(name), annotations={_FILE_PATH: name}) for name in names]
    config = {
        "descriptor": _described(manifest),
        "config": {"format": "safetensors", "capabilities": {"inputTypes": ["text"], "outputTypes": ["text"]}},
        "modelfs": {"type": "layers", "diffIds": [each["digest"] for each in layers]},
    }
    document = {
        "schemaVersion": 2,
        "mediaType": _MANIFEST_TYPE,
        "artifactType": ARTIFACT_TYPE,
        "config": put(_json(config), _CONFIG_TYPE),
        "layers": layers,
        "annotations": {
            "org.opencontainers.image.title": manifest.name,
            "org.opencontainers.image.version": str(manifest.version),
        },
    }
    tag = re.sub(r"[^A-Za-z0-9_.-]", "_", str(manifest.version))
    named = put(_json(document), _MANIFEST_TYPE, artifactType=ARTIFACT_TYPE)
    named["annotations"] = {"org.opencontainers.image.ref.name": tag}
    index = {"schemaVersion": 2, "mediaType": _INDEX_TYPE, "manifests": [named]}
    (folder / INDEX_FILE).write_bytes(_json(index))
    (folder / LAYOUT_FILE).write_bytes(_json({"imageLayoutVersion": _LAYOUT_VERSION}))


def read_layout(folder: Path) -> dict[str, bytes]:
    """The files in a layout of one model.

    Raises:
        BuildError: it is malformed, holds no model or several, or has layers that are compressed.
        IntegrityError: a blob is not the one that its digest names. ArchiveError: a file's name is not
            allowed, or it is too much.
    """
    layout = _Layout(folder)
    named = layout.document(folder / INDEX_FILE).objects("manifests")
    if len(named) != 1:
        raise BuildError(
            f"{folder} holds {len(named)} manifests", hint="copy the one that is meant into a layout alone"
        )
    document = layout.referenced(named[0])
    if document.text("artifactType", required=False) != ARTIFACT_TYPE:
        raise BuildError(f"{folder} holds no model", context=f"its artifactType is not {ARTIFACT_TYPE}")
    files: dict[str, bytes] = {}
    for layer in document.objects("layers"):
        for name, data in layout.files(layer):
            check_names([*files, name])
            files[name] = data
    return files


class _Layout:
    """A layout's blobs, each verified; altogether no more than a package may have."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._left = EXPERT_LIMITS.max_bytes
        version = self.document(folder / LAYOUT_FILE).text("imageLayoutVersion")
        if version != _LAYOUT_VERSION:
            raise BuildError(f"{folder} is a layout of version {version[:20]!r}", hint=f"{_LAYOUT_VERSION} is known")

    def document(self, path: Path) -> Fields:
        try:
            with path.open("rb") as file:
                data = file.read(_MAX_DOCUMENT_BYTES + 1)
        except OSError as error:
            raise BuildError(f"{path} can't be read", context=str(error)) from error
        return self._parsed(data, path.name)

    def referenced(self, descriptor: Fields) -> Fields:
        return self._parsed(self._blob(descriptor, _MAX_DOCUMENT_BYTES), descriptor.text("digest")[:80])

    def files(self, layer: Fields) -> Iterator[tuple[str, bytes]]:
        """(name, content) of what a layer holds."""
        kind = _LAYER_TYPE.fullmatch(layer.text("mediaType"))
        if kind is None:
            raise BuildError(
                f"{layer.at('mediaType')} {layer.text('mediaType')[:80]!r} is not read",
                hint="layers must be a model's files, raw or in a tar, and not compressed",
            )
        data = self._blob(layer, self._left)
        self._left -= len(data)
        if kind[2] == "raw":
            yield layer.object("annotations").text(_FILE_PATH), data
            return
        try:
            with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as tar:
                for member in tar:
                    if member.isdir():
                        continue
                    content = tar.extractfile(member) if member.isreg() and not member.issparse() else None
                    if content is None:
                        raise ArchiveError(f"{member.name[:80]!r} is not a plain file")
                    yield member.name.removeprefix("./"), content.read()
        except (tarfile.TarError, ValueError, EOFError) as error:
            raise BuildError(f"{layer.at('digest')} is no tar", context=str(error)[:200]) from error

    def _blob(self, descriptor: Fields, most: int) -> bytes:
        digest, size = descriptor.text("digest"), descriptor.integer("size")
        named = _DIGEST.fullmatch(digest)
        if named is None:
            raise BuildError(f"{descriptor.at('digest')} {digest[:80]!r} is no SHA-256")
        if not 0 <= size <= most:
            raise ArchiveError(f"{digest} has {size:,} bytes", context=f"at most {most:,} more are read")
        path = self._folder / "blobs" / "sha256" / named[1]
        try:
            with path.open("rb") as file:
                data = file.read(size + 1)
        except OSError as error:
            raise BuildError(f"{path} can't be read", context=str(error)) from error
        if len(data) != size or sha256_bytes(data) != digest:
            raise IntegrityError(f"{path} is not what its name says", hint="copy the layout again")
        return data

    @staticmethod
    def _parsed(data: bytes, what: str) -> Fields:
        try:
            return Fields(strict_json.loads(data, what=what), error=BuildError)
        except ManifestError as error:
            raise BuildError(error.message, context=error.context) from error


def _layer_type(name: str) -> str:
    kind = "weight" if name.endswith(".safetensors") else "doc" if name in _DOCS else "weight.config"
    return f"application/vnd.cncf.model.{kind}.v1.raw"


def _described(manifest: Manifest) -> dict[str, Any]:
    raw = manifest.raw
    described: dict[str, Any] = {"name": manifest.name, "version": str(manifest.version)}
    if isinstance(raw.get("description"), str) and raw["description"]:
        described["description"] = raw["description"]
    for theirs, ours in (("authors", "author"), ("licenses", "license")):
        if isinstance(raw.get(ours), str) and raw[ours]:
            described[theirs] = [raw[ours]]
    return described


def _json(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()
