"""The unpacked bytes of a compressed file, streamed, counted against limits, and known to be all of it at the end.

Neither zstandard nor gzip readers tell a truncated file from a whole one, or mind what follows it; these do.
"""

import os
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO, Protocol

import zstandard

from xpm_index.errors import ArchiveError

_READ_BYTES = 1024  # bounds what one call can expand to: a zstd block of 128 KiB takes at least four bytes
WINDOW_LOG = 22
_MIN_BYTES = 1024  # an empty tar
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
_FREE_BYTES = 1 << 20  # below this, no ratio is suspicious
_GZIP_MAGIC = b"\x1f\x8b"
_GZIP = 31  # zlib's number for one gzip member with the largest window


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Upper bounds for reading one archive; ``max_ratio`` is unpacked bytes over packed bytes."""

    max_bytes: int = 1 << 30
    max_ratio: int = 200
    max_entries: int = 256


class _Decoder(Protocol):
    """What decompression objects of zlib and zstandard share."""

    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, /) -> bytes: ...


class PackedStream:
    """One zstd frame that states its size and carries a checksum, or one gzip member; and nothing after it.

    ``seen`` is given the packed bytes as they are read; after ``finish`` it has seen the whole file.
    """

    def __init__(self, file: BinaryIO, limits: Limits, *, seen: Callable[[bytes], object]) -> None:
        packed_bytes = os.fstat(file.fileno()).st_size
        allowed = min(limits.max_bytes, max(limits.max_ratio * packed_bytes, _FREE_BYTES))
        head = file.read(32)
        file.seek(0)
        self.is_gzip = head.startswith(_GZIP_MAGIC)
        self._stated = None if self.is_gzip else _stated_size(head)
        if self._stated is not None and self._stated > allowed:
            raise ArchiveError("the archive unpacks to more than is allowed", context=f"{self._stated} bytes")
        self._max_bytes = allowed if self._stated is None else self._stated
        self._file = file
        self._seen = seen
        self._decoder: _Decoder = (
            zlib.decompressobj(_GZIP)
            if self.is_gzip
            else zstandard.ZstdDecompressor(max_window_size=1 << WINDOW_LOG).decompressobj()
        )
        self._buffer = bytearray()
        self._num_read = 0

    def read(self, size: int) -> bytes:
        """At least one byte and at most ``size``; raises ArchiveError at the end."""
        while not self._buffer:
            if not self._fill():
                raise ArchiveError("the archive is truncated")
        data = bytes(self._buffer[:size])
        del self._buffer[:size]
        self._num_read += len(data)
        return data

    def read_exactly(self, size: int) -> bytes:
        parts = bytearray()
        while len(parts) < size:
            parts += self.read(size - len(parts))
        return bytes(parts)

    def skip_zeros(self) -> None:
        """Read on to the end, which must hold nothing but zero bytes."""
        while self._buffer or self._fill():
            if any(self._buffer):
                raise ArchiveError("bytes follow the end of the archive")
            self._num_read += len(self._buffer)
            self._buffer.clear()

    def finish(self) -> None:
        """Nothing may follow: in the frame, after it, or be missing from it."""
        while not self._buffer and self._fill():
            pass
        if self._buffer or self._decoder.unused_data or self._file.read(1):
            raise ArchiveError("bytes follow the end of the archive")
        if self._stated is not None and self._num_read != self._stated:
            raise ArchiveError("the archive is truncated")

    def _fill(self) -> bool:
        """Unpack some more; False at the verified end of the frame or member."""
        if self._decoder.eof:
            return False
        chunk = self._file.read(_READ_BYTES)
        if not chunk:
            raise ArchiveError("the archive is truncated")
        self._seen(chunk)
        self._buffer += self._decoder.decompress(chunk)
        if self._num_read + len(self._buffer) > self._max_bytes:
            raise ArchiveError("the archive unpacks to more than is allowed", context=f"over {self._max_bytes} bytes")
        return True


def _stated_size(head: bytes) -> int:
    """The content size in a zstd frame's header, which must be byte for byte the canonical one."""
    size = int(zstandard.get_frame_parameters(head).content_size)
    if size < _MIN_BYTES or size in (zstandard.CONTENTSIZE_UNKNOWN, zstandard.CONTENTSIZE_ERROR):
        raise ArchiveError("the zstd frame does not state the size of a tar")
    if not head.startswith(frame_header(size)):
        raise ArchiveError("the zstd frame's header is not the canonical one")
    return size


def frame_header(size: int) -> bytes:
    """The header of a zstd frame of ``size`` bytes (1024 at least) with a checksum and, if
    that is less, a 4 MiB window.

    Source:
        RFC 8878, 3.1.1.1.
    """
    is_single_segment = size <= 1 << WINDOW_LOG
    flag, width, offset = (1, 2, 256) if size < (1 << 16) + 256 else (2, 4, 0) if size < 1 << 32 else (3, 8, 0)
    descriptor = flag << 6 | is_single_segment << 5 | 1 << 2
    window = b"" if is_single_segment else bytes([(WINDOW_LOG - 10) << 3])
    return _ZSTD_MAGIC + bytes([descriptor]) + window + (size - offset).to_bytes(width, "little")
