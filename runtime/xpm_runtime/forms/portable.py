"""The graph of ONNX Runtime's own operators, ``model.onnx``: it runs wherever ONNX Runtime does."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xpm_runtime.adapter import Adapter
from xpm_runtime.forms.form import KvForm
from xpm_runtime.forms.host_runner import HostRunner, RunArrays
from xpm_runtime.graph import PORTABLE_GRAPH, GraphSpec
from xpm_runtime.lanes import KvLanes
from xpm_runtime.session import Session
from xpm_runtime.slots import Acting, Inputs, ScaledAdapter, SlotPack


class PortableForm(KvForm):
    name = "portable"
    file = PORTABLE_GRAPH
    devices = ("cpu", "cuda")

    @classmethod
    def obstacle(cls, folder: Path, device: str) -> str:
        return "" if (folder / cls.file).is_file() else f"the base has no {cls.file}"

    def runner(self, session: Session, lanes: KvLanes) -> HostRunner:
        return _PortableRunner(session, self.graph, lanes)

    def pack(self, needed: Mapping[ScaledAdapter, Adapter], loaded: Mapping[str, Adapter]) -> SlotPack:
        return PackedSlots(self.graph, needed)


class _PortableRunner(HostRunner):
    def arrays(self, num_rows: int, positions: Sequence[int], length: int) -> RunArrays:
        arrays = super().arrays(num_rows, positions, length)
        arrays.bound["total_sequence_length"] = arrays.total
        return arrays


class PackedSlots(SlotPack):
    """Adapters concatenated along the rank, once, B at its scale; gates choose among them per row."""

    def __init__(self, graph: GraphSpec, scaled_adapters: Mapping[ScaledAdapter, Adapter]) -> None:
        super().__init__(graph, scaled_adapters)
        self._packed = self._pack() if self.rank else {}
        if len(self._soft_embeds):
            self._packed["soft_embeds"] = self._soft_embeds

    def inputs(self, rows: Sequence[Acting]) -> Inputs:
        """A and B of the pack, and gate_rank (rows, 1, R); if any row scales outputs, gate_scale (rows, 1, K), scales
        and offsets (K, total_out)."""
        result = dict(self._packed)
        dtype = self._graph.dtype
        if self.rank:
            gate = np.zeros((len(rows), 1, self.rank), np.bool_ if self._graph.selects_rows else dtype)
            for row, acting in enumerate(rows):
                for scaled_adapter in acting:
                    gate[row, 0, self._rank_of[scaled_adapter]] = 1
            result["gate_rank"] = gate
        scaled = self._scales_of(rows)
        if scaled:
            place = {acting: number for number, acting in enumerate(scaled)}
            gate = np.zeros((len(rows), 1, len(scaled)), dtype)
            for row, acting in enumerate(rows):
                if acting in place:
                    gate[row, 0, place[acting]] = 1
            result["gate_scale"] = gate
            result["scales"] = np.stack([each.scales for each in scaled.values()]).astype(dtype)
            if self._graph.has_offsets:
                result["offsets"] = np.stack([each.offsets for each in scaled.values()]).astype(dtype)
        return result

    def _pack(self) -> dict[str, NDArray[Any]]:
        packed: dict[str, NDArray[Any]] = {}
        for linear in self._graph.linears:
            if linear.only_scales:
                continue
            a = {
                scaled_adapter: adapter.a.get(linear.name) for scaled_adapter, adapter in self._scaled_adapters.items()
            }
            b = {
                scaled_adapter: scaled(adapter.b.get(linear.name), scaled_adapter)
                for scaled_adapter, adapter in self._scaled_adapters.items()
            }
            packed[f"slots.{linear.name}.A"] = self._stack(a, linear.num_in)
            packed[f"slots.{linear.name}.B"] = self._stack(b, linear.num_out)
        return packed

    def _stack(self, arrays: Mapping[ScaledAdapter, NDArray[Any] | None], size: int) -> NDArray[Any]:
        first = next(iter(arrays.values()))
        if len(arrays) == 1 and first is not None:
            return first
        packed = np.zeros((self.rank, size), self._graph.dtype)
        for scaled_adapter, array in arrays.items():
            if array is not None:
                packed[self._rank_of[scaled_adapter]] = array
        return packed


def scaled(array: NDArray[Any] | None, adapter: ScaledAdapter) -> NDArray[Any] | None:
    """An array at the scale of its adapter; itself if that is 1."""
    return array if array is None or adapter[1] == 1 else array * array.dtype.type(adapter[1])
