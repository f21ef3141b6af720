"""Vectors of texts from vectors of their pieces: what comes with xpm, in five scripts and without a model to run.

``words.safetensors`` holds a vector for each of some ten thousands of pieces of words, taken once from an encoder for a hundred
languages (docs/explanation/routing.md says how). A text's vector is the mean of its pieces', rarer ones weighing more.
"""

import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from xpm_runtime.router.head import Floats, metadata_of
from xpm_runtime.router.words import bounded

FILE = Path(__file__).with_name("words.safetensors")
FORMAT = "xpm-word-vectors-1"
BEGIN = "\u2581"  # what a piece at the beginning of a word begins with
_MAX_PIECE = 16  # characters
_MAX_PIECES = 600  # of a text


class WordVectors:
    """Immutable. ``digest`` names the file."""

    def __init__(self, pieces: Sequence[str], vectors: NDArray[np.int8], weights: Floats, digest: str) -> None:
        """
        Args:
            vectors: int8 (pieces, size), each of its own length. weights: (pieces,), how much a piece says.
        """
        self._place = {piece: place for place, piece in enumerate(pieces)}
        self._vectors, self._weights, self.digest = vectors, weights, digest

    def embed(self, texts: Sequence[str]) -> Floats:
        """float32 (texts, size), of length 1; 0 for a text of which no piece is known."""
        result = np.zeros((len(texts), self._vectors.shape[1]), np.float32)
        for row, text in enumerate(texts):
            places = self._pieces(bounded(text))
            if places:
                total = self._weights[places] @ self._vectors[places].astype(np.float32)
                result[row] = total / max(float(np.linalg.norm(total)), 1e-9)
        return result

    def _pieces(self, text: str) -> list[int]:
        """Places of the longest known pieces, from left to right in each word."""
        found: list[int] = []
        known = self._place
        for word in text.lower().split():
            rest = BEGIN + word
            start = 0
            while start < len(rest) and len(found) < _MAX_PIECES:
                for end in range(min(len(rest), start + _MAX_PIECE), start, -1):
                    place = known.get(rest[start:end])
                    if place is not None:
                        found.append(place)
                        start = end
                        break
                else:
                    start += 1
        return found


@cache
def own_vectors() -> WordVectors:
    """Those that come with xpm."""
    from safetensors.numpy import load

    data = FILE.read_bytes()
    facts = metadata_of(data)
    tensors = load(data)
    pieces = json.loads(tensors["pieces"].tobytes().decode())
    return WordVectors(pieces, tensors["vectors"], tensors["weights"].astype(np.float32), str(facts["digest"]))
