"""GGUF's blocks of integers as blocks of a base: the same numbers in another order, so nothing is lost.

Every kind says w = (number - offset) · scale, or number · scale + minimum, for 16 or 32 neighbouring weights of a row;
the K kinds keep the scales and minima of several such blocks in a few bits.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from xpm_build.base.quantize import QuantizedMatrix, pack

_Bytes = NDArray[np.uint8]
_Floats = NDArray[np.float32]
_FEW_BITS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockKind:
    """How ``weights`` neighbours lie in ``num_bytes`` bytes.

    ``read`` takes (n, num_bytes) and gives numbers (n, parts, block), scales (n, parts), and minima (n, parts) or None.
    ``offset`` is the number that stands for 0 where there are no minima, and the middle one where there are.
    """

    name: str
    weights: int
    num_bytes: int
    bits: int
    offset: int
    read: Callable[[_Bytes], tuple[NDArray[np.integer], _Floats, _Floats | None]]

    def matrix(self, stored: _Bytes, shape: tuple[int, int]) -> QuantizedMatrix:
        """Bytes of (rows, columns) weights; an exact change of notation, but for the last bit of a minimum."""
        rows, _ = shape
        numbers, scales, minima = self.read(stored.reshape(-1, self.num_bytes))
        block = numbers.shape[-1]
        bits = _FEW_BITS if self.bits == _FEW_BITS else 8
        centred = numbers.astype(np.int16) + ((1 << (bits - 1)) - self.offset)
        if minima is not None:
            minima = (minima + self.offset * scales).reshape(rows, -1)
        return QuantizedMatrix(
            packed=pack(centred.astype(np.uint8).reshape(rows, -1, block), bits),
            scales=scales.reshape(rows, -1),
            bits=bits,
            block=block,
            minima=minima,
        )


def _half(stored: _Bytes) -> _Floats:
    return np.ascontiguousarray(stored).view(np.float16).astype(np.float32)


def _nibbles(stored: _Bytes) -> _Bytes:
    """(..., n) bytes as (..., 2 n) numbers: all low halves, then all high ones."""
    return np.concatenate([stored & 15, stored >> 4], axis=-1)


def _fifth_bit(stored: _Bytes) -> _Bytes:
    """(n, 4) bytes as (n, 32) numbers, 0 or 16."""
    return np.unpackbits(stored, axis=-1, bitorder="little") << np.uint8(4)


def _q8_0(b: _Bytes) -> tuple[NDArray[np.integer], _Floats, None]:
    return b[:, None, 2:].view(np.int8), _half(b[:, :2]), None


def _q4_0(b: _Bytes) -> tuple[NDArray[np.integer], _Floats, None]:
    return _nibbles(b[:, 2:])[:, None], _half(b[:, :2]), None


def _q4_1(b: _Bytes) -> tuple[NDArray[np.integer], _Floats, _Floats]:
    return _nibbles(b[:, 4:])[:, None], _half(b[:, :2]), _half(b[:, 2:4])


def _q5_0(b: _Bytes) -> tuple[NDArray[np.integer], _Floats, None]:
    return (_nibbles(b[:, 6:]) | _fifth_bit(b[:, 2:6]))[:, None], _half(b[:, :2]), None


def _q5_1(b: _Bytes) -> tuple[NDArray[np.integer], _Floats, _Floats]:
    return (_nibbles(b[:, 8:]) | _fifth_bit(b[:, 4:8]))[:, None], _half(b[:, :2]), _half(b[:, 2:4])


def _six_bits(b: _Bytes) -> tuple[_Bytes, _Bytes]:
    """12 bytes as eight scales and eight minima of six bits each."""
    low, middle, high = b[:, :4], b[:, 4:8], b[:, 8:12]
    scales = np.concatenate([low & 63, (high & 15) | ((low >> 2) & 48)], axis=-1)
    return scales, np.concatenate([middle & 63, (high >> 4) | ((middle >> 2) & 48)], axis=-1)


def _of_eight(b: _Bytes) -> tuple[_Floats, _Floats]:
    scales, minima = _six_bits(b[:, 4:16])
    return _half(b[:, :2]) * scales, -_half(b[:, 2:4]) * minima


def _q4_k(b: _Bytes) -> tuple[NDArray[np.integer], _Floats, _Floats]:
    return _nibbles(b[:, 16:].reshape(-1, 4, 32)).reshape(-1, 8, 32), *_of_eight(b)


def _q5_k(b: _Bytes) -> tuple[NDArray[np.integer], _Floats, _Floats]:
    fifth = np.unpackbits(b[:, 16:48, None], axis=-1, bitorder="little").swapaxes(1, 2) << 4
    return _nibbles(b[:, 48:].reshape(-1, 4, 32)).reshape(-1, 8, 32) | fifth, *_of_eight(b)


def _q6_k(b: _Bytes) -> tuple[NDArray[np.integer], _Floats, None]:
    low = _nibbles(b[:, :128].reshape(-1, 2, 64)).reshape(-1, 8, 32)
    high = b[:, 128:192].reshape(-1, 2, 1, 32) >> np.array([0, 2, 4, 6], np.uint8)[:, None] & 3
    numbers = (low | (high.reshape(-1, 8, 32) << 4)).reshape(-1, 16, 16)
    scales = _half(b[:, 208:210]) * np.ascontiguousarray(b[:, 192:208]).view(np.int8)
    return numbers, scales, None


BLOCK_KINDS = {
    2: BlockKind(name="Q4_0", weights=32, num_bytes=18, bits=4, offset=8, read=_q4_0),
    3: BlockKind(name="Q4_1", weights=32, num_bytes=20, bits=4, offset=8, read=_q4_1),
    6: BlockKind(name="Q5_0", weights=32, num_bytes=22, bits=5, offset=16, read=_q5_0),
    7: BlockKind(name="Q5_1", weights=32, num_bytes=24, bits=5, offset=16, read=_q5_1),
    8: BlockKind(name="Q8_0", weights=32, num_bytes=34, bits=8, offset=0, read=_q8_0),
    12: BlockKind(name="Q4_K", weights=256, num_bytes=144, bits=4, offset=8, read=_q4_k),
    13: BlockKind(name="Q5_K", weights=256, num_bytes=176, bits=5, offset=16, read=_q5_k),
    14: BlockKind(name="Q6_K", weights=256, num_bytes=210, bits=6, offset=32, read=_q6_k),
}
"""By GGUF's number of the kind."""


def floats(kind: int, stored: _Bytes) -> _Floats:
    """Numbers stored as F32, F16 or BF16 (``FLOAT_KINDS``)."""
    if kind == 1:
        return stored.view(np.float16).astype(np.float32)
    if kind == 30:
        return (stored.view(np.uint16).astype(np.uint32) << 16).view(np.float32)
    return stored.view(np.float32)


FLOAT_KINDS = {0: 4, 1: 2, 30: 2}
"""Bytes of a number, by GGUF's number of the kind: F32, F16, BF16."""
