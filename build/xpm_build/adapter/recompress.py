"""Sums of updates of low rank, as one of the least rank that keeps to an error.

An update is BᵀA, with A (rank, in) and B (rank, out). A sum of some is their factors one below the other; its singular
values are those of a core that is as small as the ranks together, so no matrix of a weight's size is ever made: by QR,
Aᵀ = Qₐ Rₐ and Bᵀ = Q_b R_b; by SVD, the core R_b Rₐᵀ = U S Vᵀ.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Pair = tuple[Floats, Floats]
_NEGLIGIBLE = 1e-6  # of the largest singular value: what float32 leaves of a zero


@dataclass(frozen=True, slots=True)
class Spectrum:
    """An update in its singular vectors: ``left`` (out, k), ``values`` (k,), largest first,
    ``right`` (in, k); float64."""

    left: NDArray[np.float64]
    values: NDArray[np.float64]
    right: NDArray[np.float64]

    @property
    def rank(self) -> int:
        """How many values are not negligible."""
        return int((self.values > _NEGLIGIBLE * self.values.max(initial=0.0)).sum())

    def error(self, rank: int) -> float:
        """The relative error (Frobenius) of keeping the first ``rank`` values; 0 of an update that is zero."""
        squares = np.square(self.values)
        whole = float(squares.sum())
        return float(np.sqrt(squares[rank:].sum() / whole)) if whole else 0.0

    def rank_for(self, error: float) -> int:
        """The least rank whose relative error is at most ``error``, never more than is not negligible."""
        return next((rank for rank in range(self.rank) if self.error(rank) <= error), self.rank)

    def pair(self, rank: int) -> Pair:
        """(A, B) of the best update of that rank, what it lacks filled up with zeros; signs are settled, so
        equal sums give equal factors.
        """
        kept = min(rank, self.rank)
        root = np.sqrt(self.values[:kept])[:, np.newaxis]
        a, b = root * self.right[:, :kept].T, root * self.left[:, :kept].T
        if kept:
            largest = np.abs(a).argmax(axis=1)
            sign = np.sign(a[np.arange(kept), largest])[:, np.newaxis]
            a, b = sign * a, sign * b
        filled = ((0, rank - kept), (0, 0))
        return np.pad(a, filled).astype(np.float32), np.pad(b, filled).astype(np.float32)


def spectrum_of(pairs: Sequence[Pair]) -> Spectrum:
    """The spectrum of the sum of updates.

    Args:
        pairs: at least one (A, B), each (rank, in) and (rank, out), with the same in and out; ranks may differ.
    """
    a = np.concatenate([pair[0] for pair in pairs]).astype(np.float64)
    b = np.concatenate([pair[1] for pair in pairs]).astype(np.float64)
    basis_a, core_a = np.linalg.qr(a.T)
    basis_b, core_b = np.linalg.qr(b.T)
    left, values, right = np.linalg.svd(core_b @ core_a.T, full_matrices=False)
    return Spectrum(basis_b @ left, values, basis_a @ right.T)
