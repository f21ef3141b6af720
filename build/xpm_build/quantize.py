"""Weights in blocks of 4 or 8 bits: round to nearest, symmetric, in the layout of ONNX Runtime's MatMulNBits.

A block of a row shares one float32 scale; a stored number q stands for (q - zero_point) · scale, with zero point 8 or 128.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from xpm_build.errors import BuildError

BITS = {"int8": 8, "int4": 4}
BLOCKS = (32, 64, 128, 256)


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
        numbers = self.packed
        if self.bits == 4:
            numbers = np.stack([self.packed & 15, self.packed >> 4], axis=-1)
        numbers = numbers.reshape(rows, blocks, self.block).astype(np.float32) - (1 << (self.bits - 1))
        return (numbers * self.scales[:, :, None]).reshape(rows, -1)


def quantize_matrix(weight: NDArray[np.float32], *, bits: int, block: int) -> QuantizedMatrix:
    """Quantise (rows, columns); raises BuildError if a row is not whole blocks.

    The scale maps the entry of largest magnitude, with its sign, to the most negative number, which has no positive twin.
    """
    rows, columns = weight.shape
    if columns % block:
        raise BuildError(f"rows of {columns} weights are not whole blocks of {block}", hint="choose a smaller block")
    blocks = weight.reshape(rows, columns // block, block)
    half = 1 << (bits - 1)
    places = np.abs(blocks).argmax(axis=-1)[..., None]
    scales = np.take_along_axis(blocks, places, axis=-1) / -half
    with np.errstate(divide="ignore", invalid="ignore"):
        numbers = np.where(scales == 0, 0, blocks / scales)
    stored = np.clip(np.rint(numbers) + half, 0, 2 * half - 1).astype(np.uint8)
    if bits == 4:
        stored = stored[..., 0::2] | (stored[..., 1::2] << 4)
    return QuantizedMatrix(packed=stored, scales=scales[..., 0].astype(np.float32), bits=bits, block=block)
