"""Scaling rotary positions for one request, so that it may be longer than what its base was made for.

Scaling hurts what is short (YaRN as model cards state it, for all lengths, costs accuracy below the length that the
base was made for), so it is chosen by the request's length: one that fits unscaled is not scaled, and a factor that is
not stated is the least power of two that reaches.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from xpm_runtime.errors import CapacityError, RequestError
from xpm_runtime.rope import rope_type

KINDS = ("linear", "ntk", "ntk-by-parts", "dynamic", "yarn", "llama3")
MAX_FACTOR = 64
# Dynamic scaling is for lengths rounded up to this: requests of like length share what is known of a prompt.
_STEP = 1024
_PATTERN = re.compile(r"([a-z0-9-]+)(?::([0-9.]{1,8}))?")


@dataclass(frozen=True, slots=True)
class RopeScaling:
    """``kind`` is one of ``KINDS``; a ``factor`` of None is chosen by the request's length.

    - ``linear``: positions are divided by the factor (Chen et al. 2023).
    - ``ntk``: the base of the frequencies grows, so that fast dimensions keep their speed ("NTK-aware").
    - ``ntk-by-parts``: slow dimensions are interpolated, fast ones kept.
    - ``yarn``: the same, and attention is scaled (Peng et al. 2023).
    - ``llama3``: by parts, with the limits of Llama 3.1.
    - ``dynamic``: ``ntk`` with the factor that the request's length needs.
    """

    kind: str
    factor: float | None = None

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise RequestError(
                f"{self.kind[:40]!r} is no way to scale positions", hint=f"there are {', '.join(KINDS)}; e.g. yarn:4"
            )
        if self.factor is not None and not 1 < self.factor <= MAX_FACTOR:
            raise RequestError(f"the factor of {self.kind} is {self.factor:g}", hint=f"above 1, at most {MAX_FACTOR}")
        if self.kind == "dynamic" and self.factor is not None:
            raise RequestError("dynamic scaling takes its factor from the request's length", hint="write dynamic alone")

    @classmethod
    def parse(cls, text: str) -> "RopeScaling":
        """Of ``KIND`` or ``KIND:FACTOR``, as in "yarn" and "linear:2"; raises RequestError."""
        found = _PATTERN.fullmatch(text.strip())
        try:
            factor = float(found[2]) if found and found[2] else None
        except ValueError:
            found = None
        if not found:
            raise RequestError(
                f"{text[:40]!r} is no way to scale positions", hint="write KIND or KIND:FACTOR, e.g. yarn:4"
            )
        return cls(found[1], factor)

    def __str__(self) -> str:
        return self.kind if self.factor is None else f"{self.kind}:{self.factor:g}"

    def reach(self, num_positions: int) -> int:
        """The longest request, in tokens, on a base that was made for ``num_positions``."""
        return int(num_positions * (self.factor or MAX_FACTOR))

    def for_length(self, length: int, num_positions: int) -> "RopeScaling | None":
        """With its factor, for a request of ``length`` tokens; None if the base was made for so many.

        Raises:
            CapacityError: it is longer than this reaches.
        """
        if length <= num_positions:
            return None
        if length > self.reach(num_positions):
            raise CapacityError(
                f"the request may come to {length} tokens, {self} reaches {self.reach(num_positions)}",
                context=f"the base was made for {num_positions}",
                hint=f"ask for fewer tokens, or for a larger factor (at most {MAX_FACTOR})",
            )
        if self.factor is not None:
            return self
        if self.kind == "dynamic":
            return RopeScaling("ntk", min(-(-length // _STEP) * _STEP / num_positions, MAX_FACTOR))
        return replace(self, factor=float(1 << (-(-length // num_positions) - 1).bit_length()))

    def settings(self, num_positions: int) -> Mapping[str, Any]:
        """As Hugging Face's ``rope_scaling`` says it, and ``rope_frequencies`` takes it; with a factor only."""
        assert self.factor is not None
        both = {"factor": self.factor, "original_max_position_embeddings": num_positions}
        match self.kind:
            case "ntk-by-parts":
                return {"rope_type": "yarn", **both, "attention_factor": 1.0}
            case "llama3":
                return {"rope_type": "llama3", **both, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
            case kind:
                return {"rope_type": kind, **both}


def positions_before_scaling(max_positions: int, scaling: Mapping[str, Any] | None) -> int:
    """How many positions a base was trained on before what its own configuration scales, if that says so."""
    stated = (scaling or {}).get("original_max_position_embeddings")
    is_scaled = scaling is not None and rope_type(scaling) != "default"
    return (
        int(stated) if is_scaled and isinstance(stated, int | float) and 0 < stated <= max_positions else max_positions
    )
