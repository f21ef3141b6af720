"""Which replica a request goes to: where its experts were lately, as long as that one has no more than its share.

Consistent hashing with bounded loads (Mirrokni, Thorup and Zadimoghaddam, arXiv 1608.01350): a composition
belongs to the first replica behind it on a ring, and goes on to the next ones while they have as much as
``bound`` times the average. A replica that comes or goes moves only what is its own. Pure: whoever routes says
what each replica has to do now.
"""

import bisect
import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence

BOUND = 1.25
_POINTS = 128


def composition_key(experts: Sequence[str], scales: Sequence[float] = ()) -> str:
    """The same for the same experts at the same scales, in whatever order they are named; "" for the base alone."""
    pairs = zip(experts, scales or [1.0] * len(experts), strict=True)
    return "+".join(sorted(name if scale == 1 else f"{name}*{scale:g}" for name, scale in pairs if scale != 0))


class Ring:
    """Replicas by name, each at many points of a ring of 64-bit numbers."""

    def __init__(self, replicas: Sequence[str] = (), *, points: int = _POINTS) -> None:
        self._points = points
        self._ring: list[tuple[int, str]] = []
        self.replicas: set[str] = set()
        for replica in replicas:
            self.add(replica)

    def add(self, replica: str) -> None:
        """Put a replica onto the ring; one that is there already stays."""
        if replica not in self.replicas:
            self._ring += ((_place(f"{replica}#{number}"), replica) for number in range(self._points))
            self._ring.sort()
            self.replicas.add(replica)

    def remove(self, replica: str) -> None:
        """Take a replica off the ring, if it is there."""
        self._ring = [point for point in self._ring if point[1] != replica]
        self.replicas.discard(replica)

    def order(self, key: str) -> Iterator[str]:
        """All replicas, each once, as they follow a key on the ring; the first is its own."""
        first, seen = bisect.bisect(self._ring, (_place(key), "")), set()
        for number in range(len(self._ring)):
            replica = self._ring[(first + number) % len(self._ring)][1]
            if replica not in seen:
                seen.add(replica)
                yield replica

    def choose(self, key: str, loads: Mapping[str, int], *, bound: float = BOUND) -> str | None:
        """The replica for a key; None if there is no replica.

        Args:
            loads: requests that each replica has, waiting or running; none where it is not named.
            bound: how many times the average a replica may have, above 1.
        """
        if not self.replicas:
            return None
        total = 1 + sum(loads.get(replica, 0) for replica in self.replicas)
        most = math.ceil(bound * total / len(self.replicas))
        return next(replica for replica in self.order(key) if loads.get(replica, 0) < most)


def _place(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")
