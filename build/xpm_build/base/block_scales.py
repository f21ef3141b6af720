"""Scales of blocks, chosen so that what is left of the weights differs least from them, and not
by the largest entry alone.

Weights are (rows, blocks, block). ``importance`` (blocks, block), where there is one, says how much a column's error
counts: the mean square of what it is multiplied by.
"""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
_FACTORS = np.linspace(0.64, 1.12, 9, dtype=np.float32)
_ROUNDS = 3


def symmetric(weight: Floats, bits: int, importance: Floats | None = None) -> Floats:
    """Scales (rows, blocks) for numbers from -half to half - 1. Each candidate's scale is the
    best one for its own numbers."""
    half = 1 << (bits - 1)
    places = np.abs(weight).argmax(axis=-1)[..., None]
    largest = np.take_along_axis(weight, places, axis=-1)[..., 0] / -half
    best, least = largest.copy(), np.full(largest.shape, np.inf, np.float32)
    for factor in (*_FACTORS, *-_FACTORS):
        numbers = _numbers(weight, largest * factor, half)
        counted = numbers if importance is None else numbers * importance
        above, below = _dot(counted, weight), _dot(counted, numbers)
        # Of the error only -above² / below depends on the numbers, once the scale is the best for them.
        error = np.divide(-above * above, below, out=np.zeros_like(below), where=below > 0)
        scale = np.divide(above, below, out=np.zeros_like(below), where=below > 0)
        better = (error < least) & (below > 0)
        best, least = np.where(better, scale, best), np.where(better, error, least)
    return best.astype(np.float32, copy=False)


def asymmetric(weight: Floats, bits: int, importance: Floats | None = None) -> tuple[Floats, Floats]:
    """(scales, minima), both (rows, blocks), for w = (q - half) · scale + minimum; improved by
    turns of rounding and fitting."""
    half, top = 1 << (bits - 1), (1 << bits) - 1
    low, high = weight.min(axis=-1), weight.max(axis=-1)
    scales, minima = (high - low) / top, low + (high - low) / top * half
    best_scales, best_minima = scales, minima
    least = np.full(scales.shape, np.inf, np.float32)
    counts = np.ones(weight.shape[1:], np.float32) if importance is None else importance
    for number in range(_ROUNDS + 1):
        numbers = _numbers(weight - minima[..., None], scales, half)
        error = (counts * (numbers * scales[..., None] + minima[..., None] - weight) ** 2).sum(axis=-1)
        better = error < least
        best_scales, best_minima = np.where(better, scales, best_scales), np.where(better, minima, best_minima)
        least = np.minimum(error, least)
        if number < _ROUNDS:
            scales, minima = _line(numbers, weight, counts)
    return best_scales, best_minima


def rounded(weight: Floats, scales: Floats, minima: Floats | None, bits: int) -> NDArray[np.uint8]:
    """The stored numbers, zero point included: (rows, blocks, block)."""
    half = 1 << (bits - 1)
    numbers = _numbers(weight if minima is None else weight - minima[..., None], scales, half)
    return (numbers + half).astype(np.uint8)


def _numbers(weight: Floats, scales: Floats, half: int) -> Floats:
    inverse = np.divide(1, scales, out=np.zeros_like(scales), where=scales != 0)
    numbers = weight * inverse[..., None]
    np.rint(numbers, out=numbers)
    return np.clip(numbers, -half, half - 1, out=numbers)


def _dot(a: Floats, b: Floats) -> Floats:
    product: Floats = np.einsum("rbk,rbk->rb", a, b)
    return product


def _line(numbers: Floats, weight: Floats, counts: Floats) -> tuple[Floats, Floats]:
    """The scale and the minimum of least squared error for given numbers."""
    total = counts.sum(axis=-1)
    mean = (numbers * counts).sum(axis=-1) / total
    wanted = (weight * counts).sum(axis=-1) / total
    centred = numbers - mean[..., None]
    spread = (counts * centred * centred).sum(axis=-1)
    slope = (counts * centred * weight).sum(axis=-1)
    scales = np.divide(slope, spread, out=np.zeros_like(spread), where=spread > 0)
    return scales, wanted - mean * scales
