"""Weights in blocks of 4 or 8 bits, in the layout of ONNX Runtime's MatMulNBits.

A block of a row shares one float32 scale, and a minimum where there is one; a stored number q stands for
(q - zero_point) · scale + minimum, with zero point 8 or 128.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from xpm_build.errors import BuildError

BITS = {"int8": 8, "int4": 4}
_ROWS_AT_ONCE = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantizedMatrix:
    """``packed`` is uint8 (rows, blocks, block · bits / 8), the first of two weights in the low half; ``scales`` (rows,
    blocks), and ``minima`` of the same shape, or None where they are zero."""

    packed: NDArray[np.uint8]
    scales: NDArray[np.float32]
    bits: int
    block: int
    minima: NDArray[np.float32] | None = None

    def numbers(self) -> NDArray[np.uint8]:
        """As they are stored, zero point included: (rows, blocks, block)."""
        rows, blocks, _ = self.packed.shape
        stored = np.stack([self.packed & 15, self.packed >> 4], axis=-1) if self.bits == 4 else self.packed
        return stored.reshape(rows, blocks, self.block)

    def dequantized(self) -> NDArray[np.float32]:
        """The weights as they act, float32 (rows, blocks · block)."""
        numbers = self.numbers().astype(np.float32)
        numbers -= np.float32(1 << (self.bits - 1))
        numbers *= self.scales[:, :, None]
        if self.minima is not None:
            numbers += self.minima[:, :, None]
        return numbers.reshape(len(numbers), -1)

    def taken(self, rows: NDArray[np.integer]) -> "QuantizedMatrix":
        """The same rows in another order."""
        minima = None if self.minima is None else self.minima[rows]
        return replace(self, packed=self.packed[rows], scales=self.scales[rows], minima=minima)

    def widened(self) -> "QuantizedMatrix":
        """The same weights in 8 bits."""
        if self.bits == 8:
            return self
        return replace(self, packed=self.numbers() + np.uint8(128 - 8), bits=8)


def joined(parts: Sequence[QuantizedMatrix]) -> QuantizedMatrix | None:
    """The rows of several as one matrix, in the most bits of them; None if their blocks are of different sizes."""
    if len({part.block for part in parts}) != 1:
        return None
    bits = max(part.bits for part in parts)
    parts = [part if part.bits == bits else part.widened() for part in parts]
    minima = None
    if any(part.minima is not None for part in parts):
        minima = np.concatenate([np.zeros_like(p.scales) if p.minima is None else p.minima for p in parts])
    return QuantizedMatrix(
        packed=np.concatenate([part.packed for part in parts]),
        scales=np.concatenate([part.scales for part in parts]),
        bits=bits,
        block=parts[0].block,
        minima=minima,
    )


def pack(numbers: NDArray[np.uint8], bits: int) -> NDArray[np.uint8]:
    """(rows, blocks, block) stored numbers as bytes (rows, blocks, block · bits / 8)."""
    return numbers[..., 0::2] | numbers[..., 1::2] << np.uint8(4) if bits == 4 else numbers


def quantize_matrix(weight: NDArray[np.float32], *, bits: int, block: int) -> QuantizedMatrix:
    """Quantise (rows, columns), round to nearest; raises BuildError if a row is not whole blocks.

    The scale maps the entry of largest magnitude, with its sign, to the most negative number,
    which has no positive twin.
    """
    rows, columns = weight.shape
    if columns % block:
        raise BuildError(f"rows of {columns} weights are not whole blocks of {block}", hint="choose a smaller block")
    pieces = [
        _quantize_rows(weight[first : first + _ROWS_AT_ONCE], bits, block) for first in range(0, rows, _ROWS_AT_ONCE)
    ]
    packed, scales = (np.concatenate(parts) for parts in zip(*pieces, strict=True))
    return QuantizedMatrix(packed=packed, scales=scales, bits=bits, block=block)


def _quantize_rows(weight: NDArray[np.float32], bits: int, block: int) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    blocks = weight.reshape(len(weight), -1, block)
    half = 1 << (bits - 1)
    places = np.abs(blocks).argmax(axis=-1)[..., None]
    scales = np.take_along_axis(blocks, places, axis=-1) / -half
    inverse = np.divide(1, scales, out=np.zeros_like(scales), where=scales != 0)
    stored = np.clip(np.rint(blocks * inverse) + half, 0, 2 * half - 1).astype(np.uint8)
    return pack(stored, bits), scales[..., 0].astype(np.float32)
