"""The one container: a tar in one zstd frame, written deterministically and read strictly.

Owns the byte form of ``.expert`` and ``.base`` files (docs/formats/archive.md) and knows nothing of signatures. What the
reader accepts is what the writer writes: one frame with content size and checksum and nothing after it, members in
order, every header block byte for byte canonical. The older packages' tar.gz is read with the same rules for members.
"""

import io
import os
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import zstandard

from xpm_index.digests import sha256_file
from xpm_index.errors import ArchiveError, PackagingError
from xpm_index.manifest import Manifest

MANIFEST = "manifest.json"
_BLOCK = 512
_READ_BYTES = 1024  # bounds what one call can expand to: a zstd block of 128 KiB takes at least four bytes
_COPY_BYTES = 1 << 20
_LEVEL = 12
_MAX_WINDOW_BYTES = 128 << 20
_GZIP_MAGIC = b"\x1f\x8b"
_RESERVED = frozenset({"con", "prn", "aux", "nul", *(f"{d}{n}" for d in ("com", "lpt") for n in range(1, 10))})


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Upper bounds for reading one archive; ``max_ratio`` is unpacked bytes over packed bytes."""

    max_bytes: int = 1 << 30
    max_ratio: int = 200
    max_entries: int = 256


EXPERT_LIMITS = Limits()
BASE_LIMITS = Limits(max_bytes=64 << 30)


def limits_for(path: Path) -> Limits:
    return BASE_LIMITS if path.suffix == ".base" else EXPERT_LIMITS


def write_archive(out: Path, files: Mapping[str, bytes | Path]) -> None:
    """Write ``files`` (member name → content) to ``out``; the same content always gives the same bytes.

    Raises:
        PackagingError: there is no manifest, or a name or size is not allowed in an archive.
    """
    if MANIFEST not in files:
        raise PackagingError(f"{out.name} would have no {MANIFEST}")
    names = ordered(files)
    sizes = {name: _size(files[name]) for name in names}
    try:
        _check_names(names)
        headers = {name: _header(name, sizes[name]) for name in names}
    except ArchiveError as error:
        raise PackagingError(error.message, context=error.context) from error
    total = sum(_BLOCK + _padded(size) for size in sizes.values()) + 2 * _BLOCK
    compressor = zstandard.ZstdCompressor(level=_LEVEL, write_checksum=True, write_content_size=True)
    with out.open("wb") as file, compressor.stream_writer(file, size=total, closefd=False) as packed:
        for name in names:
            packed.write(headers[name])
            with _open(files[name]) as source:
                while chunk := source.read(_COPY_BYTES):
                    packed.write(chunk)
            packed.write(bytes(_padded(sizes[name]) - sizes[name]))
        packed.write(bytes(2 * _BLOCK))


def ordered(names: Mapping[str, object] | list[str]) -> list[str]:
    """The order of members: the manifest, then the rest by name."""
    return sorted(names, key=lambda name: (name != MANIFEST, name))


def read_archive(path: Path, limits: Limits | None = None) -> Iterator[tuple[str, Iterator[bytes]]]:
    """Yield (member name, its content in chunks) in order. Each content must be used up before the next is asked for.

    Only when the iteration has ended without an error is the archive known to be whole.

    Raises:
        ArchiveError: see docs/formats/archive.md for every rule.
    """
    limits = limits or limits_for(path)
    try:
        with path.open("rb") as file:
            magic = file.read(2)
            file.seek(0)
            yield from _read_gzip(file, limits) if magic == _GZIP_MAGIC else _read_zstd(file, limits)
    except (zstandard.ZstdError, tarfile.TarError, EOFError) as error:
        raise ArchiveError(f"{path.name} is not a readable archive", context=str(error)[:200]) from error
    except OSError as error:
        raise ArchiveError(f"{path.name} could not be read", context=str(error)[:200]) from error


def extract_archive(path: Path, into: Path, limits: Limits | None = None) -> None:
    """Unpack into the existing, empty folder ``into``. On an error the folder holds rubbish and must be thrown away."""
    for name, chunks in read_archive(path, limits):
        target = into / name
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("xb") as file:
            for chunk in chunks:
                file.write(chunk)


def read_manifest(path: Path) -> Manifest:
    """The manifest alone, without reading what follows: for display, never for trust."""
    for name, chunks in read_archive(path):
        if name == MANIFEST:
            return Manifest.parse(b"".join(chunks))
        for _ in chunks:
            pass
    raise ArchiveError(f"{path.name} has no {MANIFEST}")


def read_files(path: Path) -> dict[str, bytes]:
    """Every member in memory; for small packages and for rewriting one."""
    return {name: b"".join(chunks) for name, chunks in read_archive(path)}


class _Stream:
    """The unpacked bytes of the only frame of a file, counted against the limits."""

    def __init__(self, file: BinaryIO, limits: Limits) -> None:
        packed_bytes = os.fstat(file.fileno()).st_size
        head = file.read(32)
        file.seek(0)
        frame = zstandard.get_frame_parameters(head)
        self.total = frame.content_size
        if len(head) < 5 or head[4] & 0b0001_1000 or not frame.has_checksum or frame.dict_id:
            raise ArchiveError("the zstd frame's header is not the canonical one")
        if self.total in (zstandard.CONTENTSIZE_UNKNOWN, zstandard.CONTENTSIZE_ERROR) or self.total % _BLOCK:
            raise ArchiveError("the zstd frame does not state the size of a tar")
        if self.total > limits.max_bytes or self.total > limits.max_ratio * packed_bytes + (1 << 20):
            raise ArchiveError("the archive unpacks to more than is allowed", context=f"{self.total} bytes")
        self._file = file
        self._decoder = zstandard.ZstdDecompressor(max_window_size=_MAX_WINDOW_BYTES).decompressobj()
        self._buffer = bytearray()
        self.num_read = 0

    def _fill(self) -> bool:
        if self._decoder.eof:
            return False
        chunk = self._file.read(_READ_BYTES)
        if not chunk:
            raise ArchiveError("the archive is truncated")
        self._buffer += self._decoder.decompress(chunk)
        if self.num_read + len(self._buffer) > self.total:
            raise ArchiveError("the archive holds more than its frame states")
        return True

    def read(self, size: int) -> bytes:
        """At least one byte, at most ``size``, unless ``size`` is 0."""
        while not self._buffer and size and self._fill():
            pass
        data = bytes(self._buffer[:size])
        del self._buffer[: len(data)]
        self.num_read += len(data)
        if size and not data:
            raise ArchiveError("the archive is truncated")
        return data

    def read_exactly(self, size: int) -> bytes:
        parts = bytearray()
        while len(parts) < size:
            parts += self.read(size - len(parts))
        return bytes(parts)

    def finish(self) -> None:
        """Nothing may follow: in the frame, after it, or missing from it."""
        while self._fill():
            pass
        if self._buffer or self.num_read != self.total or self._decoder.unused_data or self._file.read(1):
            raise ArchiveError("bytes follow the end of the archive")


def _read_zstd(file: BinaryIO, limits: Limits) -> Iterator[tuple[str, Iterator[bytes]]]:
    stream = _Stream(file, limits)
    names: list[str] = []
    while (block := stream.read_exactly(_BLOCK)) != bytes(_BLOCK):
        try:
            member = tarfile.TarInfo.frombuf(block, "utf-8", "strict")
        except (tarfile.HeaderError, UnicodeDecodeError) as error:
            raise ArchiveError("a member's header is damaged") from error
        names.append(member.name)
        _check_names(names)
        if len(names) > limits.max_entries:
            raise ArchiveError(f"the archive has more than {limits.max_entries} members")
        if block != _header(member.name, member.size):
            raise ArchiveError(
                f"the header of {member.name[:80]!r} is not the canonical one", context="only plain files may be packed"
            )
        if len(names) > 1 and ordered(names[-2:]) != names[-2:]:
            raise ArchiveError("the members are not in order")
        left = _Countdown(stream, member.size)
        yield member.name, left.chunks()
        left.require_done()
        if any(stream.read_exactly(_padded(member.size) - member.size)):
            raise ArchiveError(f"bytes hide behind {member.name!r}")
    if any(stream.read_exactly(_BLOCK)):
        raise ArchiveError("the archive does not end as a tar does")
    stream.finish()


class _Countdown:
    """The content of one member, read once and whole."""

    def __init__(self, stream: _Stream, size: int) -> None:
        self._stream = stream
        self._left = size

    def chunks(self) -> Iterator[bytes]:
        while self._left:
            chunk = self._stream.read(min(self._left, _COPY_BYTES))
            self._left -= len(chunk)
            yield chunk

    def require_done(self) -> None:
        for _ in self.chunks():
            pass


def _read_gzip(file: BinaryIO, limits: Limits) -> Iterator[tuple[str, Iterator[bytes]]]:
    names: list[str] = []
    total = 0
    with tarfile.open(fileobj=file, mode="r|gz") as tar:
        for member in tar:
            name = member.name.removeprefix("./")
            if member.isdir():
                continue
            if not member.isreg():
                raise ArchiveError(f"{name[:80]!r} is not a plain file")
            names.append(name)
            _check_names(names)
            total += member.size
            if len(names) > limits.max_entries or total > limits.max_bytes:
                raise ArchiveError(
                    "the archive holds more than is allowed", context=f"{len(names)} members, {total} bytes"
                )
            content = tar.extractfile(member)
            if content is None:
                raise ArchiveError(f"{name!r} has no content")
            yield name, iter(lambda source=content: source.read(_COPY_BYTES), b"")  # type: ignore[misc]


def _check_names(names: list[str]) -> None:
    """The last name must be allowed and differ from the others on every file system."""
    for name in names[-1:] if len(names) > 1 and len(set(names)) == len(names) else names:
        parts = name.split("/")
        if not name.isascii() or not name.isprintable() or len(name) > 99 or "\\" in name or ":" in name:
            raise ArchiveError(f"{name[:80]!r} is not allowed as a file name")
        if any(part in ("", ".", "..") or part.endswith((".", " ")) for part in parts):
            raise ArchiveError(f"{name[:80]!r} leaves the package")
        if any(part.split(".")[0].lower() in _RESERVED for part in parts):
            raise ArchiveError(f"{name[:80]!r} is a reserved name")
    folded = [name.casefold() for name in names]
    if len(set(folded)) != len(folded):
        raise ArchiveError(f"{names[-1][:80]!r} is there twice", context="names must differ in more than case")


def _header(name: str, size: int) -> bytes:
    """The canonical header block: a plain file of mode 0644 with no owner and no time."""
    member = tarfile.TarInfo(name)
    member.size, member.mode = size, 0o644
    block = member.tobuf(format=tarfile.USTAR_FORMAT, encoding="utf-8", errors="strict")
    if len(block) != _BLOCK:
        raise ArchiveError(f"{name[:80]!r} does not fit a header")
    return block


def _padded(size: int) -> int:
    return -(-size // _BLOCK) * _BLOCK


def _size(content: bytes | Path) -> int:
    return len(content) if isinstance(content, bytes) else content.stat().st_size


def _open(content: bytes | Path) -> BinaryIO:
    return io.BytesIO(content) if isinstance(content, bytes) else content.open("rb")


def archive_name(name: str, version: object, *, base: str | None = None, variant: str | None = None) -> str:
    """``expert-sql-xpm-tiny.v0.1.0.expert`` or ``xpm-tiny-fp32.v0.1.0.base``."""
    return f"{name}-{base}.v{version}.expert" if base else f"{name}-{variant}.v{version}.base"


def digest_of(path: Path) -> str:
    return sha256_file(path)
