"""What the router says of a prompt: whom it chose, who else there was, and why."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """``probability`` that the expert answers the prompt; ``signals`` are what it was made of, those
    that are not 0.
    """

    name: str
    probability: float
    signals: Mapping[str, float]
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """``experts`` best first, with what they require; () for the base alone. ``confidence`` is that this
    is right, 0 to 1.
    """

    experts: tuple[str, ...]
    candidates: tuple[Candidate, ...]
    confidence: float
    task: str
    signs: tuple[str, ...]
    language: str
    reason: str
    ms: Mapping[str, float] = field(default_factory=dict)
