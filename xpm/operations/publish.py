"""The publisher's and the maintainer's side: keys, signing, making an index, publishing into it."""

import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import filelock

from xpm.errors import NotFoundError, UsageError
from xpm.home import Home
from xpm.trust import verify_package
from xpm_index.entries import Entry
from xpm_index.errors import PackagingError, SignatureError
from xpm_index.index import IndexWriter
from xpm_index.integrity import read_signature
from xpm_index.keys import PublicKey, SigningKey
from xpm_index.manifest import Manifest
from xpm_index.names import validate_name
from xpm_index.publishers import Publisher, PublisherKey
from xpm_index.publishing import archive_ref, entry_for, path_in_index, sign_archive

_LOCK_TIMEOUT_S = 120


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
    return [
        KeyInfo(name=path.stem, path=path, public=SigningKey.load(path).public)
        for path in sorted(home.keys.glob("*.json"))
    ]


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
    validate_name(publisher, what="publisher")
    return sign_archive(archive, key, publisher=publisher, created_at=when or now())


def init_index(path: Path, name: str) -> IndexWriter:
    """Make a new index repository with a fresh random id."""
    return IndexWriter.init(path, name=name, id=secrets.token_hex(16))


def add_publisher(
    index: Path, namespace: str, key: SigningKey, *, contact: str = "", homepage: str = "", when: str | None = None
) -> str:
    """Register a publisher with one key in a local index; the commit."""
    publisher = Publisher(
        namespace=validate_name(namespace, what="publisher"),
        keys=(PublisherKey(public=key.public, valid_from=when or now()),),
        signed_by=key.key_id,
        contact=contact,
        homepage=homepage,
    )
    with _writing(index) as writer:
        return writer.add_publisher(publisher, key)


def publish(
    index: Path,
    archives: Sequence[Path],
    key: SigningKey,
    *,
    sources: Mapping[str, str] | None = None,
    when: str | None = None,
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
        if url is None:
            blobs[path_in_index(manifest)] = path.read_bytes()
        refs.append(archive_ref(path, manifest, source=url))
    entry = entry_for(first, tuple(refs), publisher=publishers.pop(), key_id=key.key_id, published_at=when or now())
    with _writing(index) as writer:
        writer.add_entry(entry, key, blobs=blobs)
    return entry


@contextmanager
def _writing(index: Path) -> Iterator[IndexWriter]:
    """An index opened for writing by nobody else meanwhile."""
    writer = IndexWriter.open(index)
    try:
        with filelock.FileLock(index / "xpm-write.lock", timeout=_LOCK_TIMEOUT_S):
            yield writer
    except filelock.Timeout as error:
        raise PackagingError(f"another xpm is writing to {index}", hint="try again when it has ended") from error
    finally:
        writer.repo.close()
