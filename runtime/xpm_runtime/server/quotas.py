"""How much a key may ask for: buckets that fill over a minute."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from xpm_runtime.server.errors import ApiError
from xpm_runtime.server.keys import Key

_MINUTE = 60.0


@dataclass(slots=True)
class _Bucket:
    """``left`` of ``size`` at a time; below 0 if more was taken than was known beforehand."""

    size: float
    left: float
    at: float

    def fill(self, now: float) -> None:
        self.left = min(self.size, self.left + (now - self.at) * self.size / _MINUTE)
        self.at = now

    def wait_s(self, wanted: float) -> float:
        """How long until so much is there; 0 if it is."""
        return max(0.0, (min(wanted, self.size) - self.left) * _MINUTE / self.size)


@dataclass(slots=True)
class Quotas:
    """Of one server. Call it from one thread."""

    clock: Callable[[], float] = time.monotonic
    _buckets: dict[tuple[str, str], _Bucket] = field(default_factory=dict)

    def admit(self, key: Key) -> None:
        """Count a request; raises ApiError 429 if the requests or the tokens of this minute are spent."""
        requests = self._bucket(key.name, "requests", key.requests_per_minute)
        tokens = self._bucket(key.name, "tokens", key.tokens_per_minute)
        for bucket, what in ((requests, "requests"), (tokens, "tokens")):
            if bucket is not None and (wait := bucket.wait_s(1)) > 0:
                raise ApiError(429, f"the {what} of this minute are spent", "quota", retry_after_s=wait)
        if requests is not None:
            requests.left -= 1

    def spend(self, tenant: str, num_tokens: int) -> None:
        """Take tokens that were computed for a tenant."""
        if (bucket := self._buckets.get((tenant, "tokens"))) is not None:
            bucket.left -= num_tokens

    def _bucket(self, name: str, what: str, size: int | None) -> _Bucket | None:
        if size is None:
            self._buckets.pop((name, what), None)
            return None
        now = self.clock()
        bucket = self._buckets.setdefault((name, what), _Bucket(size, size, now))
        if bucket.size != size:
            bucket.size, bucket.left = size, min(bucket.left, size)
        bucket.fill(now)
        return bucket
