"""Many heads side by side, so that one gather serves all of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xpm_runtime.router.head import NUM_FEATURES, Features, Floats, Head


@dataclass(frozen=True, slots=True, kw_only=True)
class Heads:
    """
    lexical: int8 (NUM_FEATURES, heads), to be multiplied by ``scales`` (heads,). vectors: float32 (size, heads), 0
    for a head that does not know ``embedder``. with_vector and alone: float32 (2, heads): slope of the lexical sum
    and bias, in the two ways.
    """

    lexical: NDArray[np.int8]
    scales: Floats
    vectors: Floats
    with_vector: Floats
    alone: Floats
    embedder: str

    @classmethod
    def of(cls, heads: Sequence[Head], embedder: str) -> "Heads":
        """Heads as they are used with the embedder of a digest, "" for none."""
        scales = np.array([float(np.abs(head.lexical).max()) / 127 or 1.0 for head in heads], np.float32)
        rows = np.zeros((len(heads), NUM_FEATURES), np.int8)
        known = [head.vector is not None and bool(embedder) and head.embedder == embedder for head in heads]
        size = next((len(head.vector) for head in heads if head.vector is not None and head.embedder == embedder), 0)
        vectors = np.zeros((size, len(heads)), np.float32)
        alone, with_vector = np.ones((2, len(heads)), np.float32), np.ones((2, len(heads)), np.float32)
        for position, head in enumerate(heads):
            rows[position] = np.rint(head.lexical / scales[position])
            has_vector = head.vector is not None
            alone[:, position] = (head.alone_slope, head.alone_bias) if has_vector else (1, head.bias)
            with_vector[:, position] = alone[:, position]
            if known[position] and head.vector is not None:
                vectors[:, position] = head.vector
                with_vector[:, position] = (1, head.bias)
        lexical = np.ascontiguousarray(rows.T)
        return cls(
            lexical=lexical, scales=scales, vectors=vectors, with_vector=with_vector, alone=alone, embedder=embedder
        )

    def log_odds(self, features: Features, vector: Floats | None = None) -> Floats:
        """float32 (heads,), calibrated; ``vector`` is of ``embedder``."""
        sums = (features.values @ self.lexical[features.places].astype(np.float32)) * self.scales
        if vector is None or not len(self.vectors):
            odds: Floats = sums * self.alone[0] + self.alone[1]
        else:
            odds = sums * self.with_vector[0] + self.with_vector[1] + vector @ self.vectors
        return odds

    def to_tensors(self) -> dict[str, NDArray[Any]]:
        return {
            "lexical": self.lexical,
            "scales": self.scales,
            "vectors": self.vectors.astype(np.float16),
            "with_vector": self.with_vector,
            "alone": self.alone,
        }

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, NDArray[Any]], embedder: str) -> "Heads":
        return cls(
            lexical=tensors["lexical"],
            scales=tensors["scales"],
            vectors=tensors["vectors"].astype(np.float32),
            with_vector=tensors["with_vector"],
            alone=tensors["alone"],
            embedder=embedder,
        )
