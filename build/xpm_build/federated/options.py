"""What a federated training is asked for, and what its privacy costs."""

import math
from dataclasses import dataclass

from xpm_build.errors import TrainingError

DELTA = 1e-5


@dataclass(frozen=True, slots=True, kw_only=True)
class FederatedOptions:
    """``steps`` are a client's in a round. ``concentration`` spreads the rows unevenly (``shares.spread``).

    With ``noise``, the standard deviation of a sum of updates as a multiple of ``clip``, which is the longest that a
    client's update may be (L2), the result is differentially private for a client as a whole.
    """

    clients: int = 10
    rounds: int = 5
    steps: int = 10
    concentration: float | None = None
    freeze_a: bool = False
    noise: float = 0.0
    clip: float = 1.0


def require_sense(options: FederatedOptions) -> None:
    """
    Raises:
        TrainingError: a number is out of its bounds; names it.
    """
    for what, value, low, high in (
        ("clients", options.clients, 2, 1000),
        ("rounds", options.rounds, 1, 10_000),
        ("steps", options.steps, 1, 100_000),
        ("noise", options.noise, 0, 1000),
    ):
        if not low <= value <= high:
            raise TrainingError(f"{value} {what} make no sense", hint=f"it is {low} to {high:,}")
    if not 0 < options.clip < math.inf:
        raise TrainingError(f"a clip of {options.clip} makes no sense", hint="it is more than 0")
    if options.concentration is not None and not 0 < options.concentration < math.inf:
        raise TrainingError(f"a concentration of {options.concentration} makes no sense", hint="it is more than 0")


def epsilon_of(noise: float, rounds: int) -> float:
    """The ε of (ε, ``DELTA``)-differential privacy of so many rounds in which every client takes
    part; infinite without noise.

    Source:
        Mironov, "Rényi differential privacy", 2017: a round is (α, α / 2z²)-RDP, rounds add
        up, and the best α is taken.
    """
    if not noise:
        return math.inf
    return rounds / (2 * noise**2) + math.sqrt(2 * rounds * math.log(1 / DELTA)) / noise
