"""How much a Git pack will inflate to, told while it passes by, before anybody holds an object of it in memory.

A pack of a megabyte may hold a gigabyte of zeros, and a delta of a few bytes may copy it. So every object's stated size counts
before it is inflated, a delta's result too, and an object that is more than it states is refused.
"""

import zlib

from xpm_index.errors import GitError

_HEADER_BYTES = 12
_OFS_DELTA, _REF_DELTA = 6, 7
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
        end = _end_of_varint(self._buffer, 0)
        if end is None:
            return False
        kind = self._buffer[0] >> 4 & 7
        size, shift = self._buffer[0] & 15, 4
        for byte in self._buffer[1:end]:
            size |= (byte & 127) << shift
            shift += 7
        if kind == _REF_DELTA:
            end += _ID_BYTES
        elif kind == _OFS_DELTA:
            after = _end_of_varint(self._buffer, end)
            if after is None:
                return False
            end = after
        if len(self._buffer) < end:
            return False
        self._spend(size)
        self._buffer = self._buffer[end:]
        self._inflater, self._object_left = zlib.decompressobj(), size
        self._delta = bytearray() if kind in (_OFS_DELTA, _REF_DELTA) else None
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
            self._spend(_result_size(bytes(self._delta)))
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


def _end_of_varint(data: bytes, start: int) -> int | None:
    """Where a number ends that goes on while the highest bit is set; None if it is not here as a whole."""
    for position in range(start, min(len(data), start + 10)):
        if not data[position] & 128:
            return position + 1
    if len(data) - start >= 10:
        raise GitError("the remote sent a damaged pack")
    return None


def _result_size(delta: bytes) -> int:
    """The size of what a delta makes: its second number."""
    start = _end_of_varint(delta, 0)
    end = _end_of_varint(delta, start) if start is not None else None
    if start is None or end is None:
        raise GitError("the remote sent a damaged delta")
    return sum((byte & 127) << (7 * place) for place, byte in enumerate(delta[start:end]))
