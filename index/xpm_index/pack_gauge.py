"""How much a Git pack will inflate to, told while it passes by, before anybody holds an object of it in memory.

A pack of a megabyte may hold a gigabyte of zeros, and a delta of a few bytes may copy it. So every object's stated size
counts before it is inflated, a delta's result too, and an object that is more than it states is refused.
"""

import zlib
from dataclasses import dataclass

from xpm_index.errors import GitError

_HEADER_BYTES = 12
_OFS_DELTA, _REF_DELTA = 6, 7
DELTAS = (_OFS_DELTA, _REF_DELTA)
_ID_BYTES = 20
_SIZES_BYTES = 20  # two varints of at most ten bytes begin a delta
_STEP_BYTES = 1 << 16


class PackGauge:
    """Feed it a pack in pieces of any size.

    Args:
        max_object_bytes: no object may have more.
        max_bytes: nor all of them together.
    """

    def __init__(self, *, max_object_bytes: int, max_bytes: int) -> None:
        self._max_object_bytes = max_object_bytes
        self._max_bytes = max_bytes
        self.num_bytes = 0
        self._buffer = b""
        self._objects_left: int | None = None
        self._inflater: zlib._Decompress | None = None
        self._object_left = 0
        self._delta: bytearray | None = None

    def feed(self, data: bytes) -> None:
        """Raises GitError if the pack is malformed or will inflate to more than is allowed."""
        self._buffer += data
        try:
            while self._step():
                pass
        except zlib.error as error:
            raise GitError("the remote sent a damaged pack") from error

    def _step(self) -> bool:
        """Go on by one piece; whether there is more to go on with."""
        if self._objects_left is None:
            return self._read_header()
        if self._objects_left == 0:
            self._buffer = b""  # the checksum, which is verified where the pack is stored
            return False
        return self._read_object_header() if self._inflater is None else self._inflate()

    def _read_header(self) -> bool:
        if len(self._buffer) < _HEADER_BYTES:
            return False
        if self._buffer[:4] != b"PACK":
            raise GitError("the remote sent something else than a pack")
        self._objects_left = int.from_bytes(self._buffer[8:12], "big")
        self._buffer = self._buffer[_HEADER_BYTES:]
        return True

    def _read_object_header(self) -> bool:
        header = read_object_header(self._buffer)
        if header is None:
            return False
        self._spend(header.size)
        self._buffer = self._buffer[header.end :]
        self._inflater, self._object_left = zlib.decompressobj(), header.size
        self._delta = bytearray() if header.kind in DELTAS else None
        return True

    def _inflate(self) -> bool:
        assert self._inflater is not None  # _step looks
        assert self._objects_left is not None
        piece = self._inflater.decompress(self._buffer, _STEP_BYTES)
        self._object_left -= len(piece)
        if self._object_left < 0:
            raise GitError("the remote sent an object that is more than it states")
        if self._delta is not None and len(self._delta) < _SIZES_BYTES:
            self._delta += piece[:_SIZES_BYTES]
        if not self._inflater.eof:
            self._buffer = self._inflater.unconsumed_tail
            return bool(self._buffer) or len(piece) == _STEP_BYTES
        if self._delta is not None:
            self._spend(result_size(bytes(self._delta)))
        self._buffer = self._inflater.unused_data
        self._inflater = None
        self._objects_left -= 1
        return True

    def _spend(self, size: int) -> None:
        self.num_bytes += size
        if size > self._max_object_bytes:
            raise GitError(f"the remote sends an object that has more than {self._max_object_bytes} bytes")
        if self.num_bytes > self._max_bytes:
            raise GitError(f"the remote sends objects of more than {self._max_bytes} bytes together")


@dataclass(frozen=True, slots=True)
class ObjectHeader:
    """What stands before an object's compressed bytes, which begin at ``end``.

    ``size`` is of what they inflate to, for a delta that is the delta itself. ``base`` is a delta's base: how far
    before this object it lies in the pack, or its id.
    """

    kind: int
    size: int
    end: int
    base: int | bytes | None = None


def read_object_header(data: bytes) -> ObjectHeader | None:
    """The header at the beginning of ``data``; None if it is not here as a whole."""
    end = _end_of_varint(data, 0)
    if end is None:
        return None
    kind = data[0] >> 4 & 7
    size, shift = data[0] & 15, 4
    for byte in data[1:end]:
        size |= (byte & 127) << shift
        shift += 7
    if kind == _REF_DELTA:
        after = end + _ID_BYTES
        return ObjectHeader(kind, size, after, data[end:after]) if len(data) >= after else None
    if kind == _OFS_DELTA:
        stop = _end_of_varint(data, end)
        if stop is None:
            return None
        distance = data[end] & 127
        for byte in data[end + 1 : stop]:
            distance = (distance + 1 << 7) | (byte & 127)
        return ObjectHeader(kind, size, stop, distance)
    return ObjectHeader(kind, size, end)


def _end_of_varint(data: bytes, start: int) -> int | None:
    """Where a number ends that goes on while the highest bit is set; None if it is not here as a whole."""
    for position in range(start, min(len(data), start + 10)):
        if not data[position] & 128:
            return position + 1
    if len(data) - start >= 10:
        raise GitError("the remote sent a damaged pack")
    return None


def result_size(delta: bytes) -> int:
    """The size of what a delta makes: its second number."""
    start = _end_of_varint(delta, 0)
    end = _end_of_varint(delta, start) if start is not None else None
    if start is None or end is None:
        raise GitError("the remote sent a damaged delta")
    return sum((byte & 127) << (7 * place) for place, byte in enumerate(delta[start:end]))
