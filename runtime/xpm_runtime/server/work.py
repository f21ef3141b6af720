"""What passes between those who answer clients and the thread that steps the engine: orders
in, pieces of answers out."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from xpm_runtime import GenerationResult, Request, TokenReport
from xpm_runtime.errors import EngineError, RequestError

PRIORITIES = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What a client wants.

    ``priority`` is 0 (last) to 9 (first); waiting raises it by one every ``Limits.ageing_s``. ``timeout_s`` counts from
    the order's acceptance. ``tenant`` is for quotas and fairness; "" is the loopback user.
    """

    request: Request
    priority: int = 4
    timeout_s: float | None = None
    tenant: str = ""

    def __post_init__(self) -> None:
        if not 0 <= self.priority < PRIORITIES:
            raise RequestError(f"a priority is 0 to {PRIORITIES - 1}", context=f"got {self.priority}")
        if self.timeout_s is not None and not self.timeout_s > 0:
            raise RequestError("a timeout is above 0 s", context=f"got {self.timeout_s}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Delta:
    """What came since the last one.

    ``tokens`` is empty unless log-probabilities were asked for. ``result`` is set on the last delta alone, and there
    ``notes`` say how the order was degraded, and whether its positions were scaled.
    """

    text: str
    tokens: tuple[TokenReport, ...] = ()
    result: GenerationResult | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a worker takes on.

    ``max_queued`` and ``max_queued_tokens`` bound what waits: orders, and the tokens that they may come to.
    ``tenant_queued`` and ``tenant_running`` bound one tenant's share; None is no bound. An order waits at most as long
    as it wants to, or ``timeout_s``. A running answer gives way to an order whose priority (that of its client, without
    ageing) is at least ``preempt_gap`` higher; None: never. ``degrade_from`` is the share of ``max_queued`` from which
    new orders keep only their ``degraded_experts`` strongest experts; from halfway between it and a full queue on, they
    may write ``degraded_tokens`` at most. None: nothing is degraded.
    """

    max_queued: int = 256
    max_queued_tokens: int = 1 << 20
    tenant_queued: int | None = None
    tenant_running: int | None = None
    timeout_s: float | None = 600.0
    ageing_s: float = 5.0
    preempt_gap: int | None = 3
    degrade_from: float | None = None
    degraded_experts: int = 1
    degraded_tokens: int = 128

    def __post_init__(self) -> None:
        for name in ("max_queued", "max_queued_tokens", "tenant_queued", "tenant_running", "ageing_s", "timeout_s"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise RequestError(f"{name} must be above 0", context=f"got {value}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """How a worker is doing. Numbers named ``total_*`` only grow.

    ``waiting`` counts orders by their priority; ``running_by_expert`` those that run, by expert; ``cached_tokens`` are
    in the KV cache; ``tokens_per_s`` is of the last seconds.
    """

    running: int
    waiting: tuple[int, ...]
    waiting_tokens: int
    cached_tokens: int
    token_capacity: int
    num_lanes: int
    attached: tuple[str, ...]
    running_by_expert: Mapping[str, int] = field(default_factory=dict)
    tokens_per_s: float = 0.0
    memory_bytes: int = 0
    is_draining: bool = False
    total_prompt_tokens: int = 0
    total_reused_tokens: int = 0
    total_output_tokens: int = 0
    total_preempted: int = 0
    total_refused: int = 0
    total_degraded: int = 0
    total_finished: Mapping[str, int] = field(default_factory=dict)  # by finish reason
    total_steps: int = 0


class Overloaded(EngineError):
    """The queue is full: nothing was accepted, and it may be tried again after ``retry_after_s``."""

    code = "overloaded"

    def __init__(self, message: str, *, retry_after_s: float, context: str | None = None) -> None:
        super().__init__(message, context=context, hint=f"try again in {retry_after_s:.0f} s")
        self.retry_after_s = retry_after_s
