"""The KV cache as lanes: one row per running sequence, in buffers that are past and present at once."""

from dataclasses import dataclass

from xpm_runtime.graph import GraphSpec
from xpm_runtime.session import Binding, DeviceBuffer, Session


@dataclass(frozen=True, slots=True)
class _Layer:
    past: str
    present: str | None
    buffer: DeviceBuffer


class KvLanes:
    """``num_lanes`` lanes of ``capacity`` tokens; a buffer is (num_lanes, kv_heads, capacity, head_dim)."""

    def __init__(self, session: Session, graph: GraphSpec, *, num_lanes: int, capacity: int) -> None:
        self.num_lanes = num_lanes
        self.capacity = capacity
        shape = (num_lanes, graph.num_kv_heads, capacity, graph.head_dim)
        dtype = graph.native_kv_dtype if session.is_native and graph.native_kv_dtype else graph.dtype
        self._layers = [
            _Layer(
                f"past_key_values.{layer}.{part}",
                None if session.is_native else f"present.{layer}.{part}",
                session.buffer(shape, dtype),
            )
            for layer in range(graph.num_layers)
            for part in ("key", "value")
        ]

    @property
    def num_bytes(self) -> int:
        return sum(layer.buffer.num_bytes for layer in self._layers)

    def bind(self, binding: Binding, first: int, count: int) -> None:
        """Bind the lanes ``first : first + count`` as past and present."""
        for layer in self._layers:
            binding.bind_rows(layer.past, layer.present, layer.buffer, first, count)

    def move(self, source: int, target: int, length: int) -> bool:
        """Copy the first ``length`` tokens of a lane onto another; False if the device can't (the lane then stays)."""
        for layer in self._layers:
            array = layer.buffer.array
            if array is None:
                return False
            array[target, :, :length] = array[source, :, :length]
        return True
