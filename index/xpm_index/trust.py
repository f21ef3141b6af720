"""Who may speak for a namespace: the seam where TUF metadata will take over.

Today a client pins a namespace's keys when it first sees them; a later publisher file must be signed by a pinned key.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from xpm_index.errors import TrustError
from xpm_index.publishers import Publisher


class TrustAnchor(Protocol):
    """Accepts a publisher file that was read from an index, or raises TrustError."""

    def accept(self, publisher: Publisher) -> None: ...


@dataclass(slots=True)
class PinnedKeys:
    """Trust on first use. ``pins`` maps a namespace to the key ids accepted so far; ``is_changed`` tells to save it."""

    pins: dict[str, tuple[str, ...]] = field(default_factory=dict)
    is_changed: bool = False

    @classmethod
    def of(cls, pins: Mapping[str, Sequence[str]]) -> "PinnedKeys":
        return cls({namespace: tuple(keys) for namespace, keys in pins.items()})

    def accept(self, publisher: Publisher) -> None:
        pinned = self.pins.get(publisher.namespace)
        if pinned is not None and publisher.signed_by not in pinned:
            raise TrustError(
                f"the keys of {publisher.namespace} were replaced by somebody who does not hold the earlier ones",
                context=f"signed by {publisher.signed_by}, pinned: {', '.join(pinned)}",
                hint="ask the publisher by another way; if the change is genuine, remove the index and add it again",
            )
        keys = tuple(key.public.key_id for key in publisher.keys)
        if keys != pinned:
            self.pins[publisher.namespace] = keys
            self.is_changed = True
