"""Choosing the next token from logits: pure functions on one row, and the state one sequence needs for them."""

import operator
from collections.abc import Mapping
from dataclasses import InitVar, dataclass, field
from functools import cache
from typing import Any, SupportsFloat

import numpy as np
from numpy.typing import NDArray

from xpm_runtime.errors import EngineError, RequestError
from xpm_runtime.grammar import Grammar
from xpm_runtime.speculation import METHODS

Row = NDArray[np.float32]
Weights = NDArray[np.float32] | NDArray[np.float64]
_MANY = 4096  # logits from which on weights are computed in float32
_COLD = 1e-3  # temperature below which float32 does not hold the quotients
_BLOCK = 64
_NOTHING: NDArray[np.int64] = np.zeros(0, np.int64)
MAX_LOGPROBS = 20
MAX_BEAMS = 64
_REAL = "temperature top_p min_p repetition_penalty presence_penalty frequency_penalty length_penalty".split()


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplingParams:
    """How to choose tokens and when to stop.

    ``temperature`` 0 is greedy. ``top_k`` 0, ``top_p`` 1 and ``min_p`` 0 switch a filter off. ``stop`` strings end the
    text and are not part of it. ``seed`` None draws differently each time. ``grammar`` is what the whole text must
    match; it can be given as ``response_format``, in the form of OpenAI's API.

    What was written so far costs ``presence_penalty`` once and ``frequency_penalty`` each time (-2
    to 2, taken from logits);
    ``repetition_penalty`` looks at the prompt too. ``logit_bias`` is added to the logits of token ids (-100 to 100).
    ``logprobs`` asks for the log-probability of each token and of as many alternatives: 0 for its own alone, None for
    nothing; with ``prompt_logprobs`` also of those of the prompt.

    ``num_beams`` above 1 follows so many answers at once and takes the likeliest: of each the log-probability, divided
    by its number of tokens to the power of ``length_penalty``, as in Transformers. Nothing is drawn then:
    ``temperature`` must be 0.

    ``speculative`` "ngram" guesses that the text goes on as prompt or output did after the same tokens, and verifies
    several guesses in one run where that pays: a matter of speed alone. None guesses nothing.
    """

    max_tokens: int = 256
    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    logit_bias: Mapping[int, float] = field(default_factory=dict, hash=False)
    logprobs: int | None = None
    prompt_logprobs: bool = False
    stop: tuple[str, ...] = ()
    seed: int | None = None
    num_beams: int = 1
    length_penalty: float = 1.0
    speculative: str | None = None
    grammar: Grammar | None = None
    response_format: InitVar[Mapping[str, Any] | None] = None

    def __post_init__(self, response_format: Mapping[str, Any] | None) -> None:
        if response_format is not None:
            if self.grammar is not None:
                raise RequestError("grammar and response_format contradict each other", hint="give one of them")
            object.__setattr__(self, "grammar", Grammar.of_response_format(response_format))
        if not isinstance(self.grammar, Grammar | None):
            raise RequestError("grammar must be a Grammar", context=f"got {type(self.grammar).__name__}")
        for name in ("max_tokens", "top_k", "seed", "logprobs", "num_beams"):
            value = getattr(self, name)
            if value is not None or name not in ("seed", "logprobs"):
                object.__setattr__(self, name, _whole(name, value))
        for name in _REAL:
            object.__setattr__(self, name, as_real(name, getattr(self, name)))
        object.__setattr__(self, "logit_bias", _checked_bias(self.logit_bias))
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
            ("presence_penalty", -2 <= self.presence_penalty <= 2, "-2 to 2"),
            ("frequency_penalty", -2 <= self.frequency_penalty <= 2, "-2 to 2"),
            ("logprobs", self.logprobs is None or 0 <= self.logprobs <= MAX_LOGPROBS, f"0 to {MAX_LOGPROBS}"),
            ("logprobs", self.logprobs is not None or not self.prompt_logprobs, "given with prompt_logprobs"),
            ("num_beams", 1 <= self.num_beams <= MAX_BEAMS, f"1 to {MAX_BEAMS}"),
            ("length_penalty", -10 <= self.length_penalty <= 10, "-10 to 10"),
            ("temperature", self.num_beams == 1 or self.temperature == 0, "0 with num_beams"),
            ("logprobs", self.num_beams == 1 or self.logprobs is None, "left out with num_beams"),
            ("seed", self.seed is None or self.seed >= 0, "at least 0"),
            ("speculative", self.speculative in (None, *METHODS), f"one of {', '.join(METHODS)}, or None"),
            ("speculative", self.num_beams == 1 or self.speculative is None, "left out with num_beams"),
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


def _checked_bias(value: object) -> dict[int, float]:
    """Biases by token id; raises RequestError if one is out of bounds, or they are no mapping."""
    if not isinstance(value, Mapping):
        raise RequestError("logit_bias maps token ids to numbers", context=f"got {type(value).__name__}")
    bias = {_whole("a token id of logit_bias", token): as_real("a logit_bias", each) for token, each in value.items()}
    for token, each in bias.items():
        if token < 0 or not -100 <= each <= 100:
            raise RequestError("a logit_bias must be -100 to 100, for a token of the base", context=f"{token}: {each}")
    return bias


def as_real(name: str, value: object) -> float:
    """A number of any type, as a float; raises RequestError if it is none."""
    if isinstance(value, bool | str) or not isinstance(value, SupportsFloat):
        raise RequestError(f"{name} must be a number", context=f"got {value!r}")
    return float(value)


def require_finite(value: float | np.floating[Any]) -> None:
    """Raise EngineError if what a row of logits comes to is not a finite number."""
    if not np.isfinite(value):
        raise EngineError(
            "the logits are not finite numbers",
            hint="an expert of this request has values that overflow the base's number type: leave it out, or rebuild "
            "it",
        )


class Sampler:
    """Draws the tokens of one sequence."""

    def __init__(self, params: SamplingParams) -> None:
        self.params = params
        self._rng = np.random.default_rng(params.seed)

    @property
    def is_greedy(self) -> bool:
        """Whether the likeliest token is always the next, whatever was seen."""
        return self.params.temperature == 0 and not (self.looks_back or self.params.logit_bias)

    @property
    def looks_back(self) -> bool:
        """Whether what is drawn depends on what was seen or written."""
        params = self.params
        return params.repetition_penalty != 1 or params.presence_penalty != 0 or params.frequency_penalty != 0

    def choose(
        self,
        logits: Row,
        seen: NDArray[np.int64],
        allowed: NDArray[np.bool_] | None = None,
        written: NDArray[np.int64] = _NOTHING,
    ) -> int:
        """The next token.

        Args:
            logits: float32 (vocab,), not altered.
            seen: int64 ids of the prompt and of what was written so far, for the repetition penalty.
            allowed: bool (vocab,), at least one of them true: what may be chosen; anything if None.
            written: int64 ids of what was written so far, for the other penalties.
        Raises:
            EngineError: a logit is NaN or infinite; nothing was drawn.
        """
        logits = self._adjusted(logits, seen, written)
        if allowed is None:
            return self._draw(logits)
        ids = np.flatnonzero(allowed)  # often few: what follows costs less than without a constraint
        logits = logits[ids]
        require_finite(logits.max())
        return int(ids[self._draw(logits)])

    def ranked(
        self,
        logits: Row,
        seen: NDArray[np.int64],
        allowed: NDArray[np.bool_] | None,
        written: NDArray[np.int64],
        count: int,
    ) -> list[tuple[int, float]]:
        """The ``count`` likeliest tokens of those that are allowed, best first, of equals the lower
        id: (id, log-probability).

        Arguments and errors as of ``choose``. What is not allowed keeps its probability: nothing gets likelier by it.
        """
        logits = self._adjusted(logits, seen, written)
        ids = _all(len(logits)) if allowed is None else np.flatnonzero(allowed)
        found = ids[_likeliest(logits[ids], count)]
        wide = logits.astype(np.float64)
        largest = wide.max()
        best = found[np.argsort(-wide[found], kind="stable")]
        logprobs = wide[best] - largest - np.log(np.exp(wide - largest).sum())
        return list(zip(best.tolist(), logprobs.tolist(), strict=True))

    def _adjusted(self, logits: Row, seen: NDArray[np.int64], written: NDArray[np.int64]) -> Row:
        """Logits with biases and penalties."""
        params = self.params
        require_finite(logits.max())
        if params.logit_bias:
            logits = logits.copy()
            logits[list(params.logit_bias)] += np.array(list(params.logit_bias.values()), np.float32)
        if params.repetition_penalty != 1.0:
            logits = penalise(logits, seen, params.repetition_penalty)
        if params.presence_penalty or params.frequency_penalty:
            logits = subtract(logits, written, params.presence_penalty, params.frequency_penalty)
        return logits

    def _draw(self, logits: Row) -> int:
        if self.params.temperature == 0:
            return int(np.argmax(logits))
        ids, weights = survivors(logits, self.params)
        return int(ids[_place(weights, self._rng.random())])


def penalise(logits: Row, seen: NDArray[np.int64], penalty: float) -> Row:
    """Divide the positive and multiply the negative logits of ``seen`` tokens by ``penalty`` (CTRL, arXiv 1909.05858).

    What would leave float32 stays at its bounds.
    """
    result = logits.copy()
    ids = np.unique(seen[seen < len(logits)])
    wide = result[ids].astype(np.float64)
    bound = np.finfo(np.float32).max
    with np.errstate(over="ignore"):
        result[ids] = np.clip(np.where(wide > 0, wide / penalty, wide * penalty), -bound, bound)
    return result


def subtract(logits: Row, written: NDArray[np.int64], presence: float, frequency: float) -> Row:
    """Take ``presence``, and ``frequency`` for each time, from the logits of what was written, as in OpenAI's API."""
    result = logits.copy()
    ids, counts = np.unique(written, return_counts=True)
    result[ids] -= (presence + frequency * counts).astype(np.float32)
    return result


def survivors(logits: Row, params: SamplingParams) -> tuple[NDArray[np.int64], Weights]:
    """What may be drawn: softmax at the temperature, then top-k, top-p and min-p, in this order.

    The vocabulary is cut before anything is sorted, and only what top-p can keep is.

    Returns:
        ids in ascending order, and weights in proportion to their probabilities, that of the likeliest 1; float32 if
        the vocabulary is large, else float64. Of equals at a border, those with the lowest ids are kept.
    """
    largest = logits.max()
    is_cut = 0 < params.top_k < len(logits)
    ids = _likeliest(logits, params.top_k) if is_cut else _all(len(logits))
    weights = _weights(logits[ids] if is_cut else logits, largest, params.temperature)
    if params.top_p < 1:
        kept = _nucleus(weights, params.top_p)
        ids, weights = ids[kept], weights[kept]
    if params.min_p:
        is_kept = weights >= params.min_p
        ids, weights = ids[is_kept], weights[is_kept]
    return ids, weights


@cache
def _all(count: int) -> NDArray[np.int64]:
    ids = np.arange(count)
    ids.flags.writeable = False
    return ids


def _weights(logits: Row, largest: np.float32, temperature: float) -> Weights:
    """exp((logits - largest) / temperature); what lies below by more than any number comes to 0."""
    if len(logits) > _MANY and temperature > _COLD:
        narrow: Row = logits - largest
        narrow *= np.float32(1 / temperature)
        return np.exp(narrow, out=narrow)
    with np.errstate(over="ignore"):
        result: NDArray[np.float64] = np.exp((logits.astype(np.float64) - largest) / temperature)
    return result


def _place(weights: Weights, share: float) -> int:
    """The first place up to which the weights come to more than a share of their sum; of many,
    blocks are added up first."""
    wanted, first = share * float(weights.sum(dtype=np.float64)), 0
    if len(weights) > _MANY:
        block, wanted = _reached(np.add.reduceat(weights, np.arange(0, len(weights), _BLOCK)), wanted)
        first = block * _BLOCK
        weights = weights[first : first + _BLOCK]
    return first + _reached(weights, wanted)[0]


def _reached(weights: Weights, wanted: float) -> tuple[int, float]:
    """(the first place up to which the weights come to more than ``wanted``, what is wanted of that place)."""
    sums = np.cumsum(weights, dtype=np.float64)
    place = min(int(np.searchsorted(sums, wanted, side="right")), len(sums) - 1)
    return place, wanted - (float(sums[place - 1]) if place else 0.0)


def _nucleus(weights: Weights, share: float) -> NDArray[np.int64]:
    """Places of the fewest largest that come to a share of the sum; the one that crosses it is kept."""
    needed = share * float(weights.sum(dtype=np.float64))
    best, count = np.arange(len(weights)), 256
    while count < len(weights):
        some = _likeliest(weights, count)
        if weights[some].sum(dtype=np.float64) >= needed:
            best = some
            break
        count *= 16
    ranked = np.sort(weights[best])[::-1].astype(np.float64)
    num_kept = int(np.count_nonzero(np.cumsum(ranked) - ranked < needed))
    return best[_likeliest(weights[best], max(1, num_kept))]


def _likeliest(values: NDArray[Any], count: int) -> NDArray[np.int64]:
    """Places of the ``count`` largest, ascending; of those equal to the smallest of them, the first."""
    if count >= len(values):
        return np.arange(len(values))
    places = None
    if count * _BLOCK * 4 < len(
        values
    ):  # as many blocks as are wanted have a largest above the border, so as many values do
        whole = len(values) // _BLOCK * _BLOCK
        tops = (
            values[:whole].reshape(_BLOCK, -1).max(axis=0)
        )  # of values that lie apart: whole rows are compared at once
        places = np.flatnonzero(values >= np.partition(tops, len(tops) - count)[len(tops) - count])
        values = values[places]
    border = np.partition(values, len(values) - count)[len(values) - count]
    above = np.flatnonzero(values > border)
    found = np.sort(np.concatenate([above, np.flatnonzero(values == border)[: count - len(above)]]))
    return found if places is None else places[found]
