"""The adapters that may act in a run, and which of them act on which row of its batch.

A pack holds adapters for many tokens; what it feeds the graph depends on the rows' compositions, so rows of different
compositions share a run. Invariant: a row is acted on by exactly the adapters of its own composition.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xpm_runtime.adapter import Adapter
from xpm_runtime.errors import EngineError
from xpm_runtime.graph import GraphSpec
from xpm_runtime.native import AllowedMemory

Composition = tuple[str, ...]
Inputs = Mapping[str, NDArray[Any]]


class SlotPack:
    """A fixed set of adapters. ``rank`` is the total rank that a run with this pack computes."""

    def __init__(self, graph: GraphSpec, adapters: Sequence[Adapter]) -> None:
        self.adapters = {adapter.name: adapter for adapter in adapters}
        self.rank = sum(adapter.rank for adapter in adapters)
        self._graph = graph
        self._rank_of: dict[str, slice] = {}
        self._soft_of: dict[str, int] = {}
        first = 0
        for adapter in adapters:
            self._soft_of[adapter.name] = first
            first += adapter.num_soft
        first = 0
        for adapter in adapters:
            self._rank_of[adapter.name] = slice(first, first + adapter.rank)
            first += adapter.rank
        empty: NDArray[Any] = np.zeros((0, graph.hidden_size), graph.dtype)
        self._soft_embeds = np.concatenate([empty, *(adapter.soft_embeds for adapter in adapters)])

    def soft_offset(self, name: str) -> int:
        """The row of ``soft_embeds`` where the virtual tokens of ``name`` begin."""
        return self._soft_of[name]

    def inputs(self, rows: Sequence[Composition]) -> Inputs:
        """The graph's slot inputs for a batch whose rows have these compositions."""
        raise NotImplementedError

    def _scales_of(self, compositions: Iterable[Composition]) -> dict[Composition, "Scales"]:
        """For each different composition whose adapters scale outputs, what they do together."""
        combined = {
            each: combine_scales(self._graph, [self.adapters[name] for name in each])
            for each in dict.fromkeys(compositions)
        }
        return {composition: scales for composition, scales in combined.items() if scales is not None}


class PackedSlots(SlotPack):
    """For the portable graph: adapters concatenated along the rank, once; gates choose among them per row."""

    def __init__(self, graph: GraphSpec, adapters: Sequence[Adapter]) -> None:
        super().__init__(graph, adapters)
        self._packed = self._pack() if self.rank else {}
        if len(self._soft_embeds):
            self._packed["soft_embeds"] = self._soft_embeds

    def inputs(self, rows: Sequence[Composition]) -> Inputs:
        """A and B of the pack, and gate_rank (rows, 1, R); if any row scales outputs, gate_scale (rows, 1, K), scales and offsets
        (K, total_out)."""
        result = dict(self._packed)
        dtype = self._graph.dtype
        if self.rank:
            gate = np.zeros((len(rows), 1, self.rank), np.bool_ if self._graph.selects_rows else dtype)
            for row, composition in enumerate(rows):
                for name in composition:
                    gate[row, 0, self._rank_of[name]] = 1
            result["gate_rank"] = gate
        scaled = self._scales_of(rows)
        if scaled:
            place = {composition: number for number, composition in enumerate(scaled)}
            gate = np.zeros((len(rows), 1, len(scaled)), dtype)
            for row, composition in enumerate(rows):
                if composition in place:
                    gate[row, 0, place[composition]] = 1
            result["gate_scale"] = gate
            result["scales"] = np.stack([each.scales for each in scaled.values()]).astype(dtype)
            if self._graph.has_offsets:
                result["offsets"] = np.stack([each.offsets for each in scaled.values()]).astype(dtype)
        return result

    def _pack(self) -> dict[str, NDArray[Any]]:
        packed: dict[str, NDArray[Any]] = {}
        adapters = list(self.adapters.values())
        for linear in self._graph.linears:
            for part, size, arrays in (
                ("A", linear.num_in, [adapter.a.get(linear.name) for adapter in adapters]),
                ("B", linear.num_out, [adapter.b.get(linear.name) for adapter in adapters]),
            ):
                packed[f"slots.{linear.name}.{part}"] = self._stack(arrays, adapters, size)
        return packed

    def _stack(self, arrays: list[NDArray[Any] | None], adapters: Sequence[Adapter], size: int) -> NDArray[Any]:
        if len(arrays) == 1 and arrays[0] is not None:
            return arrays[0]
        packed = np.zeros((self.rank, size), self._graph.dtype)
        for adapter, array in zip(adapters, arrays, strict=True):
            if array is not None:
                packed[self._rank_of[adapter.name]] = array
        return packed


class AddressedSlots(SlotPack):
    """For the native graph: nothing is copied, the kernels read each adapter where it is mapped."""

    def __init__(self, graph: GraphSpec, adapters: Sequence[Adapter]) -> None:
        super().__init__(graph, adapters)
        self._table = np.zeros((len(adapters), len(graph.linears), 2), np.int64)
        self._types = np.zeros((len(adapters), 2), np.int64)
        for number, adapter in enumerate(adapters):
            self._table[number] = adapter.addresses
            self._types[number] = adapter.rank, adapter.is_half
        self._number = {adapter.name: number for number, adapter in enumerate(adapters)}
        self._scales: dict[Composition, Scales] = {}

    def inputs(self, rows: Sequence[Composition]) -> Inputs:
        """slot_table (E, linears, 2) and slot_types (E, 2); row_slots (rows, n), -1 for none; row_scales (rows, 2) addresses."""
        row_slots = np.full((len(rows), max(map(len, rows), default=0)), -1, np.int64)
        row_scales = np.zeros((len(rows), 2), np.int64)
        self._scales |= self._scales_of(set(rows) - self._scales.keys())
        for row, composition in enumerate(rows):
            row_slots[row, : len(composition)] = [self._number[name] for name in composition]
            if scales := self._scales.get(composition):
                row_scales[row] = scales.scales.ctypes.data, scales.offsets.ctypes.data
        return {
            "slot_table": self._table,
            "slot_types": self._types,
            "row_slots": row_slots,
            "row_scales": row_scales,
            "soft_embeds": self._soft_embeds,
        }


class Scales:
    """What outputs are multiplied by, less one, and what is added: float32 (total_out,) each."""

    __slots__ = ("_allowed", "offsets", "scales")

    def __init__(self, scales: NDArray[np.float32], offsets: NDArray[np.float32]) -> None:
        self.scales = np.ascontiguousarray(scales, np.float32)
        self.offsets = np.ascontiguousarray(offsets, np.float32)
        self._allowed = [AllowedMemory(array.ctypes.data, array.nbytes) for array in (self.scales, self.offsets)]


def combine_scales(graph: GraphSpec, adapters: Sequence[Adapter]) -> Scales | None:
    """DoRA's deltas add, the factors of adapters without ranks (IA3) multiply; their offsets are bias · (factor - 1).

    Raises EngineError if what they come to is not finite: it would reach other rows.
    """
    if all(adapter.scales is None for adapter in adapters):
        return None
    added, factor = np.ones(graph.total_out, np.float32), np.ones(graph.total_out, np.float32)
    offsets = np.zeros(graph.total_out, np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        for adapter in adapters:
            if adapter.scales is not None and adapter.rank:
                added += adapter.scales
            elif adapter.scales is not None:
                factor *= 1 + adapter.scales
                offsets *= 1 + adapter.scales
                if adapter.offsets is not None:
                    offsets += adapter.offsets
        result = Scales(added * factor - 1, offsets)
        together = (np.abs(result.scales) + np.abs(result.offsets)).astype(graph.dtype)
    if not np.isfinite(together).all():
        names = ", ".join(adapter.name for adapter in adapters)
        raise EngineError(f"{names} together scale outputs beyond {graph.dtype}", hint="leave one of them out")
    return result
