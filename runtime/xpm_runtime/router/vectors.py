"""Vectors of texts from vectors of their pieces: what comes with xpm, in five scripts and without a model to run.

``words.safetensors`` holds a vector in 4 bits for each of 22,000 pieces of words, taken once from an encoder for a
hundred languages (``xpm_build.routing.words``). A text's vector is the mean of its pieces', rarer ones weighing more.
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

    def __init__(self, pieces: Sequence[str], vectors: NDArray[np.uint8], weights: Floats, digest: str) -> None:
        """
        Args:
            vectors: (pieces, size / 2), two numbers from -7 to 7 to a byte, 8 added, the first in the lower half.
            weights: float32 (pieces,), what a piece's numbers are multiplied by: how much it says,
                and the unit of its numbers.
        """
        self._place = {piece: place for place, piece in enumerate(pieces)}
        self._vectors, self._weights, self.digest = vectors, weights, digest

    def embed(self, texts: Sequence[str]) -> Floats:
        """float32 (texts, size), of length 1; 0 for a text of which no piece is known."""
        result = np.zeros((len(texts), self._vectors.shape[1] * 2), np.float32)
        for row, text in enumerate(texts):
            places = self._pieces(bounded(text))
            if places:
                packed, weights = self._vectors[places], self._weights[places]
                result[row, 0::2] = weights @ ((packed & 15).astype(np.float32) - 8)
                result[row, 1::2] = weights @ ((packed >> 4).astype(np.float32) - 8)
                result[row] /= max(float(np.linalg.norm(result[row])), 1e-9)
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
    return WordVectors(pieces, tensors["vectors"], tensors["weights"], str(facts["digest"]))
