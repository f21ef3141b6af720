"""One byte altered anywhere: in an archive, its manifest, its signature, an index entry or a publisher file."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.packages import FILES, PUBLISHER, make_entry, make_manifest, make_package, make_publisher, sign_files
from xpm_index.archive import MANIFEST, read_files
from xpm_index.digests import sha256_bytes, sha256_file
from xpm_index.entries import parse_entries
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
from xpm_index.manifest import Manifest
from xpm_index.publishers import Publisher

MASKS = (*(1 << bit for bit in range(8)), 0xFF)
REFUSALS = (IntegrityError, SignatureError, ManifestError)


@pytest.fixture
def key() -> SigningKey:
    return SigningKey.generate()


def flips(data: bytes) -> Iterator[tuple[int, bytes]]:
    """``data`` with one byte altered, for every byte: each of its bits, and all of them."""
    for position in range(len(data)):
        for mask in MASKS:
            altered = bytearray(data)
            altered[position] ^= mask
            yield position, bytes(altered)


def accepted(data: bytes, check: Callable[[bytes], object], refusals: tuple[type[XpmError], ...]) -> list[int]:
    """Positions at which an altered byte is *not* refused by ``check``; any other exception escapes."""
    positions = []
    for position, altered in flips(data):
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
        assert accepted(
            content, lambda altered, name=name, others=others: verify_files(
                manifest, data, {**others, name: sha256_bytes(altered)}
            ), (IntegrityError,)
        ) == []  # fmt: skip


def test_every_byte_of_an_entry_file(key):
    lines = [make_entry(version=version, description="naïve").to_line(key) for version in ("1.0.0", "1.1.0")]
    data = b"\n".join(lines) + b"\n"
    publisher = make_publisher(key)

    def check(altered: bytes) -> None:
        for signed in parse_entries(altered, name="expert-sql"):
            if signed.entry.publisher != PUBLISHER:
                raise TrustError("no such publisher")
            signed.verify(publisher.key(signed.entry.key_id, at=signed.entry.published_at))

    check(data)
    assert accepted(data, check, (IndexFormatError, SignatureError, TrustError)) == []


def test_every_byte_of_a_publisher_file(key):
    data = make_publisher(key, SigningKey.generate(), contact="a@example.org").to_bytes(key)

    def check(altered: bytes) -> None:
        Publisher.parse(altered, what="the publisher file")

    check(data)
    assert accepted(data, check, (IndexFormatError, SignatureError)) == []


def test_every_byte_of_an_archive_is_refused_when_it_is_cut_there(tmp_path, key):
    path = tmp_path / "p.expert"
    make_package(path, key)
    data = path.read_bytes()
    for length in range(len(data)):
        path.write_bytes(data[:length])
        with pytest.raises(ArchiveError):
            read_files(path)
