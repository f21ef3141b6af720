"""The graph of our own operators, ``native.onnx``: quantised bases on a CPU that the kernels know
(docs/explanation/adr/0007)."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from xpm_runtime.adapter import Adapter, AdapterSpec, load_adapter
from xpm_runtime.forms.form import KvForm
from xpm_runtime.forms.host_runner import HostRunner, RunArrays
from xpm_runtime.graph import NATIVE_GRAPH, GraphSpec
from xpm_runtime.lanes import KvLanes
from xpm_runtime.native import library
from xpm_runtime.packed_lanes import PackedLanes
from xpm_runtime.session import Session
from xpm_runtime.slots import Acting, Inputs, ScaledAdapter, Scales, SlotPack

_MAX_SCALES = 256  # of compositions that scale outputs, kept while they may come again


class NativeForm(KvForm):
    """Weights and adapters are read where they are mapped, and processes share them."""

    name = "native"
    file = NATIVE_GRAPH
    devices = ("cpu",)
    packs_cache = True

    @classmethod
    def obstacle(cls, folder: Path, device: str) -> str:
        if device != "cpu":
            return "our own kernels run on CPUs alone"
        if not (folder / cls.file).is_file():
            return f"the base has no {cls.file}: only quantised ones do"
        if library() is None:
            return "they need a processor with AVX2 or with ARM's dot products, and a package built with a C compiler"
        return ""

    def open(self, folder: Path, *, device: str, threads: int | None, spinning: bool) -> Session:
        return Session(folder, self.file, device=device, threads=threads, spinning=spinning, operators=library())

    def lanes(self, session: Session, *, num_lanes: int, capacity: int) -> PackedLanes:
        dtype = self.graph.native_kv_dtype or self.graph.dtype
        return PackedLanes(session, self.graph, num_lanes=num_lanes, capacity=capacity, dtype=dtype)

    def runner(self, session: Session, lanes: KvLanes) -> HostRunner:
        return _NativeRunner(session, self.graph, lanes)

    def load(self, spec: AdapterSpec) -> Adapter:
        return load_adapter(spec, self.graph, is_addressed=True)

    def pack(self, needed: Mapping[ScaledAdapter, Adapter], loaded: Mapping[str, Adapter]) -> SlotPack:
        return AddressedSlots(self.graph, {each.name: each for each in (*needed.values(), *loaded.values())})

    def still_serves(self, pack: SlotPack, rank: int) -> bool:
        return True  # only what acts is computed

    def bytes_of_weights(self, stored: int) -> int:
        return stored


class _NativeRunner(HostRunner):
    def arrays(self, num_rows: int, positions: Sequence[int], length: int) -> RunArrays:
        """Positions are counted over all rows, and logits lie flat."""
        arrays = super().arrays(num_rows, positions, length)
        places = arrays.bound["logit_positions"] + length * np.arange(num_rows)[:, None]
        arrays.bound["logit_positions"] = places.reshape(-1)
        arrays.result = arrays.result.reshape(-1, self.graph.vocab_size)
        return arrays


class AddressedSlots(SlotPack):
    """Nothing is copied: the kernels read each adapter where it is, and its scale is a row's."""

    def __init__(self, graph: GraphSpec, adapters: Mapping[str, Adapter]) -> None:
        super().__init__(graph, {(name, 1.0): adapter for name, adapter in adapters.items()})
        self._table = np.zeros((len(adapters), len(graph.linears), 2), np.int64)
        self._types = np.zeros((len(adapters), 2), np.int64)
        for number, adapter in enumerate(adapters.values()):
            self._table[number] = adapter.addresses
            self._types[number] = adapter.rank, adapter.is_half
        self._number = {name: number for number, name in enumerate(adapters)}
        self._scales: dict[Acting, Scales] = {}

    def holds(self, scaled_adapters: Iterable[ScaledAdapter]) -> bool:
        return {name for name, _ in scaled_adapters} <= self._number.keys()

    def inputs(self, rows: Sequence[Acting]) -> Inputs:
        """slot_table (E, linears, 2) and slot_types (E, 2); row_slots (rows, n), -1 for none;
        row_scales (rows, 2) addresses."""
        row_slots = np.full((len(rows), max(map(len, rows), default=0)), -1, np.int64)
        row_scales = np.zeros((len(rows), 2), np.int64)
        if len(self._scales) > _MAX_SCALES:
            self._scales = {acting: scales for acting, scales in self._scales.items() if acting in rows}
        self._scales |= self._scales_of(set(rows) - self._scales.keys())
        for row, acting in enumerate(rows):
            row_slots[row, : len(acting)] = [_slot(self._number[name], scale) for name, scale in acting]
            if scales := self._scales.get(acting):
                row_scales[row] = scales.scales.ctypes.data, scales.offsets.ctypes.data
        return {
            "slot_table": self._table,
            "slot_types": self._types,
            "row_slots": row_slots,
            "row_scales": row_scales,
            "soft_embeds": self._soft_embeds,
        }


def _slot(number: int, scale: float) -> int:
    """An adapter's number, and above it the bits of its scale, less those of 1: at 1 it is the number alone."""
    bits = int(np.float32(scale).view(np.int32)) ^ int(np.float32(1).view(np.int32))
    return number | bits << 32
