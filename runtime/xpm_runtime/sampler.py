"""Choosing the next token from logits: pure functions on one row, and the state one sequence needs for them."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from xpm_runtime.errors import RequestError

Row = NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplingParams:
    """How to choose tokens and when to stop.

    ``temperature`` 0 is greedy. ``top_k`` 0, ``top_p`` 1 and ``min_p`` 0 switch a filter off. ``stop`` strings end the text
    and are not part of it. ``seed`` None draws differently each time.
    """

    max_tokens: int = 256
    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    stop: tuple[str, ...] = ()
    seed: int | None = None

    def __post_init__(self) -> None:
        bounds = (
            ("max_tokens", self.max_tokens >= 1, "at least 1"),
            ("temperature", 0 <= self.temperature < 100, "0 to 100"),
            ("top_k", self.top_k >= 0, "at least 0"),
            ("top_p", 0 < self.top_p <= 1, "above 0, at most 1"),
            ("min_p", 0 <= self.min_p < 1, "at least 0, below 1"),
            ("repetition_penalty", 0 < self.repetition_penalty < 100, "above 0"),
            ("stop", all(self.stop), "texts that are not empty"),
            ("seed", self.seed is None or self.seed >= 0, "at least 0"),
        )
        for name, holds, wanted in bounds:
            if not holds:
                raise RequestError(f"{name} must be {wanted}", context=f"got {getattr(self, name)!r}")


class Sampler:
    """Draws the tokens of one sequence."""

    def __init__(self, params: SamplingParams) -> None:
        self.params = params
        self._rng = np.random.default_rng(params.seed)

    def choose(self, logits: Row, seen: NDArray[np.int64]) -> int:
        """The next token.

        Args:
            logits: float32 (vocab,), not altered.
            seen: int64 ids of the prompt and of what was written so far, for the repetition penalty.
        """
        params = self.params
        if params.repetition_penalty != 1.0:
            logits = penalise(logits, seen, params.repetition_penalty)
        if params.temperature == 0:
            return int(np.argmax(logits))
        probabilities = filtered_probabilities(logits, params)
        return int(self._rng.choice(len(probabilities), p=probabilities))


def penalise(logits: Row, seen: NDArray[np.int64], penalty: float) -> Row:
    """Divide the positive and multiply the negative logits of ``seen`` tokens by ``penalty`` (CTRL, arXiv 1909.05858)."""
    result = logits.copy()
    ids = np.unique(seen[seen < len(logits)])
    result[ids] = np.where(result[ids] > 0, result[ids] / penalty, result[ids] * penalty)
    return result


def filtered_probabilities(logits: Row, params: SamplingParams) -> NDArray[np.float64]:
    """Softmax at the temperature, then top-k, top-p and min-p, in this order; float64 (vocab,), sums to one."""
    scaled = logits.astype(np.float64) / params.temperature
    probabilities = np.exp(scaled - scaled.max())
    probabilities /= probabilities.sum()
    order = np.argsort(-probabilities, kind="stable")
    ranked = probabilities[order]
    keep = np.ones(len(ranked), dtype=bool)
    if params.top_k:
        keep[params.top_k :] = False
    if params.top_p < 1:
        before = np.cumsum(ranked) - ranked  # the token that crosses top_p is kept
        keep &= before < params.top_p
    if params.min_p:
        keep &= ranked >= params.min_p * ranked[0]
    keep[0] = True
    filtered = np.zeros_like(probabilities)
    filtered[order[keep]] = ranked[keep]
    return filtered / filtered.sum()  # type: ignore[no-any-return]
