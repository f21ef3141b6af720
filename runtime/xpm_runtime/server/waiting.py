"""Which order is next: by priority and age, then fair between tenants, then beside others of its experts.

Pure arithmetic on counters; it knows no clock, engine or thread. Ageing never lifts an order to the first priority:
that is for what must not wait behind what others have piled up.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from xpm_runtime.server.work import PRIORITIES, Limits

T = TypeVar("T")
Experts = tuple[tuple[str, float], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Place(Generic[T]):
    """Where an item stands.

    ``number`` is the order of acceptance, at ``accepted`` (seconds of any clock); ``experts`` act in it.
    """

    item: T
    number: int
    accepted: float
    priority: int
    tenant: str
    experts: Experts
    num_tokens: int

    def level(self, now: float, ageing_s: float) -> int:
        """Its priority, and one more for each ``ageing_s`` that it waits."""
        aged = self.priority + int((now - self.accepted) / ageing_s)
        return max(self.priority, min(aged, PRIORITIES - 2))


@dataclass(slots=True)
class Load:
    """How much waits, or is about to."""

    count: int = 0
    num_tokens: int = 0
    of_tenant: Counter[str] = field(default_factory=Counter)
    of_priority: Counter[int] = field(default_factory=Counter)

    def change(self, by: int, *, tenant: str, priority: int, num_tokens: int = 0) -> None:
        """One more (1) or less (-1) of these."""
        self.count += by
        self.num_tokens += by * num_tokens
        self.of_priority[priority] += by
        self.of_tenant[tenant] += by
        if not self.of_tenant[tenant]:
            del self.of_tenant[tenant]


class Waiting(Generic[T]):
    """What was accepted and does not run."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._places: dict[int, Place[T]] = {}

    def __len__(self) -> int:
        return len(self._places)

    def __iter__(self) -> Iterator[Place[T]]:
        return iter(list(self._places.values()))

    def __contains__(self, place: Place[T]) -> bool:
        return place.number in self._places

    def add(self, place: Place[T]) -> None:
        self._places[place.number] = place

    def remove(self, place: Place[T]) -> None:
        del self._places[place.number]

    def best(self, now: float, running: list[Place[T]]) -> Place[T] | None:
        """Who is next beside those that run; None if nobody waits, or nobody may run by their tenant's bound."""
        of_tenant = Counter(place.tenant for place in running)
        acting = {place.experts for place in running}
        most, ageing_s = self._limits.tenant_running, self._limits.ageing_s
        allowed = (place for place in self._places.values() if most is None or of_tenant[place.tenant] < most)
        return min(
            allowed,
            key=lambda place: (
                -place.level(now, ageing_s),
                of_tenant[place.tenant],
                place.experts not in acting,
                place.number,
            ),
            default=None,
        )


def victims(place: Place[T], running: list[Place[T]], gap: int | None) -> list[Place[T]]:
    """Who may give way to an order: those whose clients asked for ``gap`` less, the least
    important and latest first."""
    if gap is None:
        return []
    lower = [each for each in running if place.priority - each.priority >= gap]
    return sorted(lower, key=lambda each: (each.priority, -each.number))
