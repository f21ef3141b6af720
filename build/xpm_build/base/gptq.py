"""GPTQ: weights are rounded column by column, and what each rounding costs is made up for by the columns to come.

Frantar et al., "GPTQ: Accurate Post-Training Quantization for Generative Pre-trained Transformers", 2022,
with the scale of a block chosen when its first column is reached. Columns keep their order, so that a
block stays one run of a row.
"""

import numpy as np
from numpy.typing import NDArray

from xpm_build.base import block_scales
from xpm_build.base.quantize import QuantizedMatrix, pack

Floats = NDArray[np.float32]
_DAMPING = 0.01  # share of the mean diagonal that is added to it


def gptq(
    weight: Floats, products: NDArray[np.float64], *, bits: int, block: int, with_minima: bool = False
) -> QuantizedMatrix:
    """Quantise (rows, columns), of which ``products`` (columns, columns) is XᵀX of the inputs that
    it will be multiplied by."""
    rows, columns = weight.shape
    left = weight.astype(np.float32)
    upper = _upper(products)
    importance = np.diag(products).astype(np.float32)
    half = 1 << (bits - 1)
    numbers = np.empty((rows, columns), np.float32)
    scales = np.empty((rows, columns // block), np.float32)
    minima = np.zeros_like(scales)
    for number, first in enumerate(range(0, columns, block)):
        last = first + block
        piece = left[:, first:last].copy()
        counts = importance[None, first:last]
        if with_minima:
            chosen, lowest = block_scales.asymmetric(piece[:, None], bits, counts)
            scales[:, number] = chosen[:, 0].astype(np.float16)  # as they will be stored
            minima[:, number] = lowest[:, 0].astype(np.float16)
        else:
            scales[:, number] = block_scales.symmetric(piece[:, None], bits, counts)[:, 0]
        scale, minimum = scales[:, number], minima[:, number]
        inverse = np.divide(1, scale, out=np.zeros_like(scale), where=scale != 0)
        costs = np.empty_like(piece)
        for column in range(block):
            whole = piece[:, column]
            number_of = np.clip(np.rint((whole - minimum) * inverse), -half, half - 1)
            numbers[:, first + column] = number_of
            row = upper[first + column, first + column : last]
            costs[:, column] = (whole - number_of * scale - minimum) / row[0]
            piece[:, column + 1 :] -= np.outer(costs[:, column], row[1:])
        left[:, last:] -= costs @ upper[first:last, last:]
    stored = (numbers + half).astype(np.uint8).reshape(rows, -1, block)
    return QuantizedMatrix(
        packed=pack(stored, bits), scales=scales, bits=bits, block=block, minima=minima if with_minima else None
    )


def _upper(products: NDArray[np.float64]) -> Floats:
    """The upper Cholesky factor of the damped products' inverse."""
    damped = products.copy()
    diagonal = np.diag_indices_from(damped)
    dead = damped[diagonal] <= 0
    damped[diagonal] += _DAMPING * damped[diagonal].mean() + dead
    inverse = np.linalg.inv(damped)
    return np.linalg.cholesky((inverse + inverse.T) / 2).T.astype(np.float32)
