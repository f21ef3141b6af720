"""One byte altered anywhere: in an archive, its manifest, its signature, an index's files or its metadata."""

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.support.packages import FILES, PUBLISHER, make_entry, make_index, make_manifest, make_package, sign_files
from xpm_index.archive import MANIFEST, read_files
from xpm_index.digests import sha256_bytes, sha256_file
from xpm_index.errors import (
    ArchiveError,
    IndexFormatError,
    IntegrityError,
    ManifestError,
    SignatureError,
    TrustError,
    XpmError,
)
from xpm_index.integrity import verify_files, verify_signature
from xpm_index.keys import SigningKey
from xpm_index.layout import METADATA, entry_path, publisher_path
from xpm_index.manifest import Manifest
from xpm_index.verified import TufFiles, find_root, newest_fingerprint

MASKS = (*(1 << bit for bit in range(8)), 0xFF)
REFUSALS = (IntegrityError, SignatureError, ManifestError)


@pytest.fixture
def key() -> SigningKey:
    return SigningKey.generate()


def flips(data: bytes, *, masks: Sequence[int] = MASKS, step: int = 1) -> Iterator[tuple[int, bytes]]:
    """``data`` with one byte altered, for every byte: each of its bits, and all of them."""
    for position in range(0, len(data), step):
        for mask in masks:
            altered = bytearray(data)
            altered[position] ^= mask
            yield position, bytes(altered)


def accepted(
    data: bytes, check: Callable[[bytes], object], refusals: tuple[type[XpmError], ...], **which: Any
) -> list[int]:
    """Positions at which an altered byte is *not* refused by ``check``; any other exception escapes."""
    positions = []
    for position, altered in flips(data, **which):
        try:
            check(altered)
        except refusals:
            continue
        positions.append(position)
    return positions


def verify_package(path: Path, key: SigningKey) -> dict[str, bytes]:
    """The package's files, if its own signature vouches for them."""
    files = read_files(path)
    manifest = Manifest.parse(files[MANIFEST])
    verify_signature(manifest, key.public)
    digests = {name: sha256_bytes(data) for name, data in files.items() if name != MANIFEST}
    verify_files(manifest, files[MANIFEST], digests)
    return files


def test_every_byte_of_an_archive_is_bound_by_its_digest(tmp_path, key):
    path = tmp_path / "p.expert"
    make_package(path, key)
    digest, data = sha256_file(path), path.read_bytes()
    assert len(data) < 2048
    assert all(sha256_bytes(altered) != digest for _, altered in flips(data))


def test_no_altered_archive_yields_other_content(tmp_path, key):
    """Without a digest to compare with: a flip is refused, or it is one of the spare bits inside a zstd block."""
    path = tmp_path / "p.expert"
    make_package(path, key)
    data, genuine = path.read_bytes(), verify_package(path, key)
    frame_header, block_header, checksum = 7, 3, 4

    def check(altered: bytes) -> None:
        path.write_bytes(altered)
        assert verify_package(path, key) == genuine

    survivors = set(accepted(data, check, REFUSALS))
    assert all(frame_header + block_header <= each < len(data) - checksum for each in survivors)
    assert len(survivors) < len(data) / 50


def test_every_byte_of_a_manifest(key):
    manifest = sign_files(make_manifest(description="É, 1.5", perf={"vram": 1.5}), FILES, key)
    data = manifest.to_bytes()
    digests = {name: sha256_bytes(content) for name, content in FILES.items()}

    def check(altered: bytes) -> None:
        parsed = Manifest.parse(altered)
        verify_signature(parsed, key.public)
        verify_files(parsed, altered, digests)

    check(data)
    assert accepted(data, check, REFUSALS) == []


def test_every_byte_of_a_signature(key):
    manifest = sign_files(make_manifest(), FILES, key)
    signature = bytes.fromhex(manifest.integrity["signature"])

    def check(altered: bytes) -> None:
        forged = manifest.with_values(integrity={**manifest.integrity, "signature": altered.hex()})
        verify_signature(forged, key.public)

    check(signature)
    assert accepted(signature, check, (SignatureError,)) == []


def test_every_byte_of_every_file(key):
    manifest = sign_files(make_manifest(), FILES, key)
    data = manifest.to_bytes()
    for name, content in FILES.items():
        others = {each: sha256_bytes(FILES[each]) for each in FILES if each != name}
        assert (
            accepted(
                content,
                lambda altered, name=name, others=others: verify_files(
                    manifest, data, {**others, name: sha256_bytes(altered)}
                ),
                (IntegrityError,),
            )
            == []
        )


@pytest.fixture
def index(tmp_path, key):
    writer = make_index(tmp_path / "index", key, make_entry(description="naïve"), make_entry(version="1.1.0"))
    yield writer
    writer.repo.close()


def read_all(writer, replaced: dict[str, bytes], fingerprint: str) -> None:
    """Open the index with some files replaced and read everything in it, as a client does."""
    genuine = writer.repo.reader(writer.head)

    def read(path: str) -> bytes | None:
        return replaced.get(path) or genuine(path)

    files = TufFiles(read, root=find_root(read, fingerprint))
    for path in (entry_path("expert-sql"), publisher_path(PUBLISHER), "index.json"):
        assert files.read(path)


@pytest.mark.parametrize("path", [entry_path("expert-sql"), publisher_path(PUBLISHER), "index.json"])
def test_every_byte_of_what_the_metadata_vouches_for(index, path):
    data, fingerprint = index.read(path), newest_fingerprint(index.read)
    check = lambda altered: read_all(index, {path: altered}, fingerprint)  # noqa: E731
    check(data)
    assert accepted(data, check, (TrustError, IndexFormatError), masks=[1]) == []


@pytest.mark.parametrize("role", ["1.root", "timestamp", "snapshot", "targets", "entries"])
def test_every_byte_of_the_metadata(index, role):
    """What python-tuf may accept altered is its JSON's form alone: the meaning is that which was signed."""
    path = f"{METADATA}/{role}.json"
    data, fingerprint = index.read(path), newest_fingerprint(index.read)
    check = lambda altered: read_all(index, {path: altered}, fingerprint)  # noqa: E731
    check(data)
    for place in accepted(data, check, (TrustError, IndexFormatError), masks=[1], step=3):
        altered = data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]
        assert json.loads(altered)["signed"] == json.loads(data)["signed"]


def test_every_byte_of_an_archive_is_refused_when_it_is_cut_there(tmp_path, key):
    path = tmp_path / "p.expert"
    make_package(path, key)
    data = path.read_bytes()
    for length in range(len(data)):
        path.write_bytes(data[:length])
        with pytest.raises(ArchiveError):
            read_files(path)
