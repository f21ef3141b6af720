"""One thread steps the engine for all; whoever waits for an answer waits for nothing else."""

from collections.abc import AsyncIterator

from xpm_runtime import Engine
from xpm_runtime.server.work import Delta, Limits, Order, Snapshot


class Ticket:
    """An accepted order."""

    queued_ms: float | None = None
    first_token_ms: float | None = None

    def __aiter__(self) -> AsyncIterator[Delta]:
        raise NotImplementedError

    def cancel(self) -> None:
        """End the order; doing so again, or after its end, does nothing. Its lane is free within one token."""
        raise NotImplementedError


class Worker:
    """Accepts orders from any event loop, and steps the engine in a thread of its own."""

    def __init__(self, engine: Engine, *, limits: Limits) -> None:
        raise NotImplementedError

    @property
    def is_draining(self) -> bool:
        raise NotImplementedError

    def start(self) -> None:
        raise NotImplementedError

    def close(self, drain_s: float = 30.0) -> None:
        """Accept nothing new, let what was accepted end for ``drain_s``, then cancel the rest."""
        raise NotImplementedError

    async def submit(self, order: Order) -> Ticket:
        """Queue an order; raises Overloaded, RequestError, CapacityError or ConstraintError at once."""
        raise NotImplementedError

    def snapshot(self) -> Snapshot:
        raise NotImplementedError
