"""The KV cache as lanes, one per running sequence; ``KvLanes`` are rows of buffers that are past and present at once.

There a lane's memory is virtual until it is written: it grows with its sequence, and is given
back when a long one leaves.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from xpm_runtime.cache_settings import CacheSettings
from xpm_runtime.graph import GraphSpec
from xpm_runtime.session import Binding, DeviceBuffer, Session

_KEPT_TOKENS = 1024  # a lane that held fewer keeps its memory for the next sequence


@dataclass(frozen=True, slots=True)
class _Layer:
    past: str
    present: str | None
    buffer: DeviceBuffer


class Lanes(ABC):
    """``num_lanes`` lanes of up to ``capacity`` tokens. ``can_copy``: whether the host can read and write them."""

    def __init__(self, *, num_lanes: int, capacity: int) -> None:
        self.num_lanes = num_lanes
        self.capacity = capacity

    @property
    @abstractmethod
    def bytes_per_token(self) -> int: ...

    @property
    @abstractmethod
    def can_copy(self) -> bool: ...

    def configure(self, lane: int, settings: CacheSettings | None) -> None:  # noqa: B027
        """Say how the next sequence of a lane keeps its cache, None as the graph has it; where lanes
        are all alike, only that."""

    def bytes_of(self, settings: CacheSettings | None, num_tokens: int) -> int:
        """The most that a sequence of so many tokens holds, kept so."""
        return num_tokens * self.bytes_per_token

    def num_dropped(self, lane: int) -> int:
        """How many of a lane's first tokens are no longer all there, because they left a window."""
        return 0

    def trim(self, lane: int, length: int) -> None:  # noqa: B027
        """Give back what the sequence of a lane, of ``length`` tokens by now, doesn't look at any more."""

    @abstractmethod
    def read(self, lane: int, first: int, last: int) -> list[NDArray[Any]]:
        """Copies of the tokens ``first : last`` of a lane, one (kv_heads, tokens, head_dim) per tensor of the cache."""

    @abstractmethod
    def write(self, lane: int, first: int, block: list[NDArray[Any]]) -> None:
        """Put what ``read`` gave into a lane, from token ``first`` on."""

    @abstractmethod
    def copy(self, source: int, target: int, length: int) -> bool:
        """Put the first ``length`` tokens of a lane onto another, too; False if the device can't."""

    def move(self, source: int, target: int, length: int) -> bool:
        """As ``copy``, where what the first one holds is needed no more."""
        return self.copy(source, target, length)

    @abstractmethod
    def release(self, lane: int, length: int) -> None:
        """A lane's sequence, of ``length`` tokens, has left."""


class KvLanes(Lanes):
    """``num_lanes`` lanes of ``capacity`` tokens; a buffer is (num_lanes, kv_heads, capacity, head_dim)."""

    def __init__(
        self,
        session: Session,
        graph: GraphSpec,
        *,
        num_lanes: int,
        capacity: int,
        dtype: str = "",
        has_present: bool = True,
    ) -> None:
        """``dtype`` is the graph's if not given; without ``has_present`` the graph has no outputs for what it adds."""
        super().__init__(num_lanes=num_lanes, capacity=capacity)
        shape = (num_lanes, graph.num_kv_heads, capacity, graph.head_dim)
        self._layers = [
            _Layer(
                f"past_key_values.{layer}.{part}",
                f"present.{layer}.{part}" if has_present else None,
                session.buffer(shape, dtype or graph.dtype),
            )
            for layer in range(graph.num_layers)
            for part in ("key", "value")
        ]

    @property
    def bytes_per_token(self) -> int:
        return sum(layer.buffer.num_bytes for layer in self._layers) // (self.num_lanes * self.capacity)

    @property
    def can_copy(self) -> bool:
        return all(layer.buffer.array is not None for layer in self._layers)

    def bind(self, binding: Binding, first: int, count: int) -> None:
        """Bind the lanes ``first : first + count`` as past and present."""
        for layer in self._layers:
            binding.bind_rows(layer.past, layer.present, layer.buffer, first, count)

    def read(self, lane: int, first: int, last: int) -> list[NDArray[Any]]:
        return [array[lane, :, first:last].copy() for array in self._arrays()]

    def write(self, lane: int, first: int, block: list[NDArray[Any]]) -> None:
        for array, part in zip(self._arrays(), block, strict=True):
            array[lane, :, first : first + part.shape[1]] = part

    def copy(self, source: int, target: int, length: int) -> bool:
        if not self.can_copy:
            return False
        for array in self._arrays():
            array[target, :, :length] = array[source, :, :length]
        return True

    def release(self, lane: int, length: int) -> None:
        """Give the memory of a long one back."""
        if length > _KEPT_TOKENS:
            for layer in self._layers:
                layer.buffer.release_row(lane)

    def _arrays(self) -> list[NDArray[Any]]:
        return [layer.buffer.array for layer in self._layers if layer.buffer.array is not None]
