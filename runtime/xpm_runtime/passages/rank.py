"""Which passages bear on a prompt most: by their words (BM25), and by vectors where there is something that makes them.

The two are combined by the places that they give a passage, not by their scores, which are of different kinds
(reciprocal rank fusion, Cormack, Clarke and Büttcher 2009).
"""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from xpm_runtime.router.lexical import LexicalIndex
from xpm_runtime.router.words import folded, words_of

Floats = NDArray[np.float32]
MAX_EMBEDDED = 512  # passages; of more, those that have most words of the prompt
_BATCH = 16
_FUSION = 60.0  # as published: how little the first places are worth more than the next


class Encoder(Protocol):
    """Makes vectors of texts, float32 (texts, size), of length 1."""

    def embed(self, texts: Sequence[str]) -> Floats: ...


def rank(texts: Sequence[str], prompt: str, *, encoder: Encoder | None = None) -> list[int]:
    """The places of all texts, those first that bear on the prompt most; of equals the earlier."""
    words = LexicalIndex(texts, is_whole=True).likeness(words_of(folded(prompt)))
    scores = _by_place(words, words > 0)
    if encoder is not None and prompt.strip():
        likeness, is_embedded = _likeness(texts, prompt, encoder, words)
        scores += _by_place(likeness, is_embedded)
    return [int(place) for place in np.argsort(-scores, kind="stable")]


def _likeness(texts: Sequence[str], prompt: str, encoder: Encoder, words: Floats) -> tuple[Floats, NDArray[np.bool_]]:
    """(cosines, which of the texts have one) of at most ``MAX_EMBEDDED`` texts."""
    chosen = np.sort(np.argsort(-words, kind="stable")[:MAX_EMBEDDED])
    ordered = sorted(
        chosen.tolist(), key=lambda place: len(texts[place])
    )  # those of a batch are filled up to the longest
    wanted = encoder.embed([prompt])[0]
    cosines = np.zeros(len(texts), np.float32)
    for first in range(0, len(ordered), _BATCH):
        places = ordered[first : first + _BATCH]
        cosines[places] = encoder.embed([texts[place] for place in places]) @ wanted
    is_embedded = np.zeros(len(texts), bool)
    is_embedded[chosen] = True
    return cosines, is_embedded


def _by_place(scores: Floats, counts: NDArray[np.bool_]) -> NDArray[np.float64]:
    """What each is worth for its place among those that count, float64 as long as ``scores``; 0 for the others."""
    result = np.zeros(len(scores))
    order = np.flatnonzero(counts)
    order = order[np.argsort(-scores[order], kind="stable")]
    result[order] = 1 / (_FUSION + 1 + np.arange(len(order)))
    return result
