"""The publisher's and the maintainer's side: keys, signing, making an index, publishing into it."""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from xpm.errors import NotFoundError, UsageError
from xpm.home import Home
from xpm_index.archive import MANIFEST, archive_name, read_files, write_archive
from xpm_index.digests import sha256_bytes, sha256_file
from xpm_index.entries import ArchiveRef, Entry
from xpm_index.errors import ManifestError, PackagingError, SignatureError
from xpm_index.index import IndexWriter
from xpm_index.integrity import read_signature, sign_manifest
from xpm_index.keys import PublicKey, SigningKey
from xpm_index.layout import archive_path
from xpm_index.manifest import Manifest
from xpm_index.names import validate_name
from xpm_index.publishers import Publisher, PublisherKey
from xpm.trust import verify_package


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyInfo:
    name: str
    path: Path
    public: PublicKey


def now() -> str:
    """The present time as packages and indexes write it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def new_key(home: Home, name: str) -> KeyInfo:
    """Make a key pair; raises KeyFileError if there is one of that name."""
    path = home.keys / f"{validate_name(name, what='key name')}.json"
    key = SigningKey.generate()
    key.save(path)
    return KeyInfo(name=name, path=path, public=key.public)


def list_keys(home: Home) -> list[KeyInfo]:
    return [KeyInfo(name=path.stem, path=path, public=SigningKey.load(path).public) for path in sorted(home.keys.glob("*.json"))]


def load_key(home: Home, name: str) -> SigningKey:
    """A key by its name, or by the path of its file."""
    path = Path(name) if name.endswith(".json") else home.keys / f"{validate_name(name, what='key name')}.json"
    return SigningKey.load(path)


def sign(archive: Path, key: SigningKey, publisher: str, *, when: str | None = None) -> Manifest:
    """Sign a package file in place; the old file stays until the signed one is complete.

    Raises:
        NotFoundError, PackagingError, ArchiveError, ManifestError.
    """
    if not archive.is_file():
        raise NotFoundError(f"there is no file {archive}")
    files = read_files(archive)
    if MANIFEST not in files:
        raise PackagingError(f"{archive.name} has no {MANIFEST}")
    digests = {name: sha256_bytes(data) for name, data in files.items()}
    manifest = Manifest.parse(files[MANIFEST])
    signed = sign_manifest(manifest, digests, key=key, publisher=validate_name(publisher, what="publisher"), created_at=when or now())
    partial = archive.with_name(f".{archive.name}.partial{archive.suffix}")
    try:
        write_archive(partial, {**files, MANIFEST: signed.to_bytes()})
        verify_package(partial, key.public)
        partial.replace(archive)
    finally:
        partial.unlink(missing_ok=True)
    return signed


def init_index(path: Path, name: str) -> IndexWriter:
    """Make a new index repository with a fresh random id."""
    return IndexWriter.init(path, name=name, id=secrets.token_hex(16))


def add_publisher(index: Path, namespace: str, key: SigningKey, *, contact: str = "", homepage: str = "", when: str | None = None) -> str:
    """Register a publisher with one key in a local index; the commit."""
    publisher = Publisher(
        namespace=validate_name(namespace, what="publisher"),
        keys=(PublisherKey(public=key.public, valid_from=when or now()),),
        signed_by=key.key_id,
        contact=contact,
        homepage=homepage,
    )
    return IndexWriter.open(index).add_publisher(publisher, key)


def publish(
    index: Path, archives: Sequence[Path], key: SigningKey, *, sources: Mapping[str, str] | None = None, when: str | None = None
) -> Entry:
    """Publish one version, in one archive per base or variant, into a local index repository.

    Args:
        sources: archive file name → URL; archives without one are stored in the index itself.
    Raises:
        SignatureError: an archive is unsigned or signed with another key. PackagingError: they are of different packages, or
            the version is published already.
    """
    verified: list[tuple[Path, Manifest]] = []
    for path in archives:
        if not path.is_file():
            raise NotFoundError(f"there is no file {path}")
        verified.append((path, verify_package(path, key.public)[0]))
    if not verified:
        raise UsageError("there is nothing to publish")
    first = verified[0][1]
    if any((m.kind, m.name, m.version) != (first.kind, first.name, first.version) for _, m in verified):
        raise PackagingError("the archives are of different packages or versions", hint="publish one version at a time")
    publishers = {read_signature(manifest).publisher for _, manifest in verified}
    if len(publishers) > 1:
        raise SignatureError("the archives are signed for different publishers")
    refs, blobs = [], {}
    for path, manifest in verified:
        url = (sources or {}).get(path.name)
        filename = _canonical_filename(manifest)
        if url is None:
            blobs[archive_path(manifest.name, filename)] = path.read_bytes()
        refs.append(_archive_ref(path, manifest, url or f"blob:{archive_path(manifest.name, filename)}"))
    entry = _entry(first, publishers.pop(), key, tuple(refs), when or now())
    IndexWriter.open(index).add_entry(entry, key, blobs=blobs)
    return entry


def _canonical_filename(manifest: Manifest) -> str:
    if manifest.base:
        return archive_name(manifest.name, manifest.version, variant=manifest.base.variant)
    return archive_name(manifest.name, manifest.version, base=manifest.bases[0].name)


def _archive_ref(path: Path, manifest: Manifest, source: str) -> ArchiveRef:
    if manifest.base:
        base, digest, variant = manifest.name, manifest.base.digest, manifest.base.variant
    else:
        ref = manifest.bases[0]
        if len(manifest.bases) != 1 or ref.digest is None:
            raise ManifestError(f"{path.name} does not name the one base it is for", hint="build it with `xpm build expert`")
        base, digest, variant = ref.name, ref.digest, ""
    return ArchiveRef(
        base=base, base_digest=digest, variant=variant, digest=sha256_file(path), size=path.stat().st_size, sources=(source,)
    )


def _entry(manifest: Manifest, publisher: str, key: SigningKey, archives: tuple[ArchiveRef, ...], when: str) -> Entry:
    return Entry(
        name=manifest.name,
        version=manifest.version,
        kind=manifest.kind,
        description=manifest.description,
        publisher=publisher,
        key_id=key.key_id,
        published_at=when,
        archives=archives,
        requires=manifest.requires,
        incompatible_with=manifest.incompatible_with,
        capabilities=manifest.capabilities,
        keywords=manifest.routing.keywords if manifest.kind == "expert" else (),
        load_order=manifest.load_order,
    )
