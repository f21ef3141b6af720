"""How alike a prompt and texts are in their words: BM25, and nothing learned. The texts are
those of cards, or passages."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from math import log

import numpy as np
from numpy.typing import NDArray

from xpm_runtime.router.keywords import ORDINARY
from xpm_runtime.router.words import folded, stems, words_of

_K1, _B = 1.2, 0.5
_HALF = 4.0  # the sum that counts as half alike
_STOP = frozenset(
    (
        "i me my we our you your he she they them this that these those with have has had can could would should "
        "will there its not no so if but than then into over under please der die das ein eine einen und oder ist "
        "sind mit von für den dem des zu auf im ich wie was le la les un une des et ou est sont avec de du pour "
        "dans que qui el los las una y o es son con del para por en al lo se 的 了 是 在 我 一 个 这 那 "
    ).split()
)


class LexicalIndex:
    def __init__(self, texts: Sequence[str], *, is_whole: bool = False) -> None:
        """``is_whole``: words that occur in requests of every kind, and numbers, count too."""
        self._is_whole = is_whole
        counts = [Counter(_terms(words_of(folded(text)), is_whole=is_whole)) for text in texts]
        lengths = [sum(each.values()) for each in counts]
        mean = max(sum(lengths) / max(len(lengths), 1), 1.0)
        found: dict[str, list[tuple[int, float]]] = defaultdict(list)
        for position, (count, length) in enumerate(zip(counts, lengths, strict=True)):
            for term, times in count.items():
                weight = times * (_K1 + 1) / (times + _K1 * (1 - _B + _B * length / mean))
                found[term].append((position, weight))
        self._num_texts = len(texts)
        self._postings: dict[str, tuple[NDArray[np.int64], NDArray[np.float32]]] = {}
        for term, postings in found.items():
            rarity = log(1 + (len(texts) - len(postings) + 0.5) / (len(postings) + 0.5))
            self._postings[term] = (
                np.array([position for position, _ in postings], np.int64),
                np.array([weight * rarity for _, weight in postings], np.float32),
            )

    def likeness(self, words: Sequence[str]) -> NDArray[np.float32]:
        """float32 (number of texts,), 0 (no word in common) to 1, of a folded prompt's words."""
        sums = np.zeros(self._num_texts, np.float32)
        for term in dict.fromkeys(_terms(words, is_whole=self._is_whole)):
            if term in self._postings:
                positions, weights = self._postings[term]
                sums[positions] += weights
        result: NDArray[np.float32] = sums / (sums + _HALF)
        return result


def telling_words(text: str) -> list[str]:
    """The words of a text by which something can be looked for, in order and each once."""
    words = words_of(folded(text))
    return list(
        dict.fromkeys(each for each in words if each not in _STOP and each not in ORDINARY and not each.isdigit())
    )


def _terms(words: Sequence[str], *, is_whole: bool) -> list[str]:
    if is_whole:
        return stems([each for each in words if each not in _STOP])
    return stems([each for each in words if each not in _STOP and each not in ORDINARY and not each.isdigit()])
