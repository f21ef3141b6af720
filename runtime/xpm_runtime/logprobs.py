"""How likely the model itself found what was written: log-probabilities before temperature,
penalties, biases and grammars."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenReport:
    """A token that was written: its id, its bytes, the natural logarithm of its probability.

    ``top`` are the likeliest tokens at its place, best first: (id, bytes, logprob) each.
    """

    id: int
    text: bytes
    logprob: float
    top: tuple[tuple[int, bytes, float], ...] = ()


def report(logits: NDArray[np.float32], token: int, *, num_top: int, write: Callable[[int], bytes]) -> TokenReport:
    """What one row of logits, float32 (vocab,), says of a token and of the ``num_top`` likeliest; of
    equals the lower id first."""
    wide = logits.astype(np.float64)
    largest = wide.max()
    total = largest + np.log(np.exp(wide - largest).sum())
    top: tuple[tuple[int, bytes, float], ...] = ()
    if num_top:
        count = min(num_top, len(wide))
        border = np.partition(wide, len(wide) - count)[len(wide) - count]
        places = np.flatnonzero(wide >= border)
        best = places[np.argsort(-wide[places], kind="stable")][:count]
        top = tuple((int(each), write(int(each)), float(wide[each] - total)) for each in best)
    return TokenReport(id=token, text=write(token), logprob=float(wide[token] - total), top=top)
