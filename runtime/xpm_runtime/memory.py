"""How much memory an engine takes, by a formula, and how a budget is divided."""

from dataclasses import dataclass

from xpm_runtime.errors import CapacityError

_FIXED_BYTES = 120 << 20  # interpreter, libraries, graph, activations of a chunk
_DEFAULT_PREFIX_BYTES = 256 << 20
_LEAST_TOKENS = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryPlan:
    """Bytes that are used or may come to be used. ``adapters`` None: as many as are attached.

    ``weights`` are mapped from the file: with native kernels, processes share them.
    """

    fixed: int
    weights: int
    token_budget: int
    bytes_per_token: int
    adapters: int | None
    prefix: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryReport:
    """What the formula says is in memory now, in bytes."""

    fixed: int
    weights: int
    cache: int
    adapters: int
    prefix: int

    @property
    def total(self) -> int:
        return self.fixed + self.weights + self.cache + self.adapters + self.prefix


def plan_memory(*, weights: int, bytes_per_token: int, num_tokens: int, budget: int | None) -> MemoryPlan:
    """Divide a budget: what is left beside the base goes to the cache by half, to adapters and
    prefixes by a quarter each.

    Args:
        weights: bytes that the base's weights take.
        num_tokens: what all lanes hold together, the most that is ever needed.
        budget: bytes for the whole process; None for no limit.
    Raises:
        CapacityError: the budget is too small for the base and one short sequence.
    """
    if budget is None:
        return MemoryPlan(
            fixed=_FIXED_BYTES,
            weights=weights,
            token_budget=num_tokens,
            bytes_per_token=bytes_per_token,
            adapters=None,
            prefix=_DEFAULT_PREFIX_BYTES,
        )
    left = budget - _FIXED_BYTES - weights
    tokens = min(num_tokens, left // 2 // bytes_per_token)
    if tokens < min(_LEAST_TOKENS, num_tokens):
        needed = _FIXED_BYTES + weights + 2 * min(_LEAST_TOKENS, num_tokens) * bytes_per_token
        raise CapacityError(
            f"a budget of {budget / 1e6:.0f} MB is too small for this base",
            context=f"its weights are {weights / 1e6:.0f} MB; at least {needed / 1e6:.0f} MB are needed",
            hint="raise --memory, or choose a smaller variant of the base",
        )
    rest = left - tokens * bytes_per_token
    return MemoryPlan(
        fixed=_FIXED_BYTES,
        weights=weights,
        token_budget=tokens,
        bytes_per_token=bytes_per_token,
        adapters=rest // 2,
        prefix=rest // 2,
    )
