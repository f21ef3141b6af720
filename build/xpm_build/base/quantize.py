"""Weights in blocks of 4 or 8 bits: round to nearest, symmetric, in the layout of ONNX Runtime's MatMulNBits.

A block of a row shares one float32 scale; a stored number q stands for (q - zero_point) · scale, with zero point 8 or 128.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from xpm_build.errors import BuildError

BITS = {"int8": 8, "int4": 4}
_ROWS_AT_ONCE = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantizedMatrix:
    """``packed`` is uint8 (rows, blocks, block · bits / 8), the first of two weights in the low half; ``scales`` (rows, blocks)."""

    packed: NDArray[np.uint8]
    scales: NDArray[np.float32]
    bits: int
    block: int

    def dequantized(self) -> NDArray[np.float32]:
        """The weights as they act, float32 (rows, blocks · block)."""
        rows, blocks, _ = self.packed.shape
        stored = np.stack([self.packed & 15, self.packed >> 4], axis=-1) if self.bits == 4 else self.packed
        numbers = stored.reshape(rows, blocks, self.block).astype(np.float32) - np.float32(1 << (self.bits - 1))
        return (numbers * self.scales[:, :, None]).reshape(rows, -1)


def quantize_matrix(weight: NDArray[np.float32], *, bits: int, block: int) -> QuantizedMatrix:
    """Quantise (rows, columns); raises BuildError if a row is not whole blocks.

    The scale maps the entry of largest magnitude, with its sign, to the most negative number, which has no positive twin.
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
    if bits == 4:
        stored = stored[..., 0::2] | (stored[..., 1::2] << 4)
    return stored, scales[..., 0].astype(np.float32)
