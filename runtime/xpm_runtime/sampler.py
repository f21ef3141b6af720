"""Choosing the next token from logits: pure functions on one row, and the state one sequence needs for them."""

import operator
from dataclasses import dataclass
from typing import Any, SupportsFloat

import numpy as np
from numpy.typing import NDArray

from xpm_runtime.errors import EngineError, RequestError

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
        for name in ("max_tokens", "top_k", "seed"):
            value = getattr(self, name)
            if value is not None or name != "seed":
                object.__setattr__(self, name, _whole(name, value))
        for name in ("temperature", "top_p", "min_p", "repetition_penalty"):
            object.__setattr__(self, name, _real(name, getattr(self, name)))
        stop: object = self.stop
        if not isinstance(stop, tuple | list) or not all(isinstance(text, str) and text for text in stop):
            raise RequestError("stop must be a tuple of texts that are not empty", context=f"got {self.stop!r}")
        object.__setattr__(self, "stop", tuple(self.stop))
        bounds = (
            ("max_tokens", self.max_tokens >= 1, "at least 1"),
            ("temperature", 0 <= self.temperature < 100, "0 to 100"),
            ("top_k", self.top_k >= 0, "at least 0"),
            ("top_p", 0 < self.top_p <= 1, "above 0, at most 1"),
            ("min_p", 0 <= self.min_p < 1, "at least 0, below 1"),
            ("repetition_penalty", 0 < self.repetition_penalty < 100, "above 0"),
            ("seed", self.seed is None or self.seed >= 0, "at least 0"),
        )
        for name, holds, wanted in bounds:
            if not holds:
                raise RequestError(f"{name} must be {wanted}", context=f"got {getattr(self, name)!r}")


def _whole(name: str, value: object) -> int:
    """A whole number of any integer type; a bool or a float is none."""
    try:
        if isinstance(value, bool):
            raise TypeError
        return operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        raise RequestError(f"{name} must be a whole number", context=f"got {value!r}") from None


def _real(name: str, value: object) -> float:
    if isinstance(value, bool | str) or not isinstance(value, SupportsFloat):
        raise RequestError(f"{name} must be a number", context=f"got {value!r}")
    return float(value)


def require_finite(value: float | np.floating[Any]) -> None:
    """Raise EngineError if what a row of logits comes to is not a finite number."""
    if not np.isfinite(value):
        raise EngineError(
            "the logits are not finite numbers",
            hint="an expert of this request has values that overflow the base's number type: leave it out, or rebuild it",
        )


class Sampler:
    """Draws the tokens of one sequence."""

    def __init__(self, params: SamplingParams) -> None:
        self.params = params
        self._rng = np.random.default_rng(params.seed)

    @property
    def is_greedy(self) -> bool:
        """Whether the likeliest token is always the next, whatever was seen."""
        return self.params.temperature == 0 and self.params.repetition_penalty == 1

    def choose(self, logits: Row, seen: NDArray[np.int64]) -> int:
        """The next token.

        Args:
            logits: float32 (vocab,), not altered.
            seen: int64 ids of the prompt and of what was written so far, for the repetition penalty.
        Raises:
            EngineError: a logit is NaN or infinite; nothing was drawn.
        """
        params = self.params
        require_finite(logits.max())
        wide = logits.astype(np.float64)
        if params.repetition_penalty != 1.0:
            wide = penalise(wide, seen, params.repetition_penalty)
        if params.temperature == 0:
            return int(np.argmax(wide))
        probabilities = filtered_probabilities(wide, params)
        return int(self._rng.choice(len(probabilities), p=probabilities))


def penalise(logits: NDArray[Any], seen: NDArray[np.int64], penalty: float) -> NDArray[Any]:
    """Divide the positive and multiply the negative logits of ``seen`` tokens by ``penalty`` (CTRL, arXiv 1909.05858)."""
    result = logits.copy()
    ids = np.unique(seen[seen < len(logits)])
    result[ids] = np.where(result[ids] > 0, result[ids] / penalty, result[ids] * penalty)
    return result


def filtered_probabilities(logits: NDArray[Any], params: SamplingParams) -> NDArray[np.float64]:
    """Softmax at the temperature, then top-k, top-p and min-p, in this order; float64 (vocab,), sums to one."""
    with np.errstate(over="ignore"):  # below the likeliest by more than any number: its probability is 0
        scaled = (logits.astype(np.float64) - logits.max()) / params.temperature
    probabilities = np.exp(scaled)
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
