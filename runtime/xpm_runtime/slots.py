"""The adapters that act in one run, packed for the graph.

A pack concatenates the adapters it holds along the rank, once for many tokens. Which of them act on which row of the
batch is told by gates, so rows of different compositions share a run. Invariant: a row's gates are one exactly on the
ranks of its own composition.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xpm_runtime.adapter import Adapter
from xpm_runtime.graph import GraphSpec

Composition = tuple[str, ...]


class SlotPack:
    """Arrays for the slot inputs of a fixed set of adapters; ``inputs`` is empty if nothing acts."""

    def __init__(self, graph: GraphSpec, adapters: Sequence[Adapter]) -> None:
        self.adapters = {adapter.name: adapter for adapter in adapters}
        self._dtype = graph.dtype
        self._total_out = graph.total_out
        self.rank = sum(adapter.rank for adapter in adapters)
        self._rank_of: dict[str, slice] = {}
        self._soft_of: dict[str, int] = {}
        first_rank = first_soft = 0
        for adapter in adapters:
            self._rank_of[adapter.name] = slice(first_rank, first_rank + adapter.rank)
            self._soft_of[adapter.name] = first_soft
            first_rank, first_soft = first_rank + adapter.rank, first_soft + adapter.num_soft
        self.inputs = self._pack(graph, adapters) if self.rank else {}
        if first_soft:
            self.inputs["soft_embeds"] = np.concatenate([adapter.soft_embeds for adapter in adapters])

    def _pack(self, graph: GraphSpec, adapters: Sequence[Adapter]) -> dict[str, NDArray[Any]]:
        inputs: dict[str, NDArray[Any]] = {}
        for linear in graph.linears:
            for part, size, arrays in (
                ("A", linear.num_in, [adapter.a.get(linear.name) for adapter in adapters]),
                ("B", linear.num_out, [adapter.b.get(linear.name) for adapter in adapters]),
            ):
                inputs[f"slots.{linear.name}.{part}"] = self._stack(arrays, adapters, size)
        return inputs

    def _stack(self, arrays: list[NDArray[Any] | None], adapters: Sequence[Adapter], size: int) -> NDArray[Any]:
        if len(arrays) == 1 and arrays[0] is not None:
            return arrays[0]
        packed = np.zeros((self.rank, size), self._dtype)
        for adapter, array in zip(adapters, arrays, strict=True):
            if array is not None:
                packed[self._rank_of[adapter.name]] = array
        return packed

    def soft_offset(self, name: str) -> int:
        """The row of ``soft_embeds`` where the virtual tokens of ``name`` begin."""
        return self._soft_of[name]

    def gates(self, rows: Sequence[Composition]) -> Mapping[str, NDArray[Any]]:
        """The per-row inputs: gate_rank (rows, 1, R) and, if any row scales outputs, gate_scale (rows, 1, K) and scales (K, out).

        Rows of one composition share a scale row: DoRA's deltas add, IA3's factors multiply.
        """
        result: dict[str, NDArray[Any]] = {}
        if self.rank:
            gate = np.zeros((len(rows), 1, self.rank), self._dtype)
            for row, composition in enumerate(rows):
                for name in composition:
                    gate[row, 0, self._rank_of[name]] = 1
            result["gate_rank"] = gate
        scaling = {composition: self._combined_scales(composition) for composition in dict.fromkeys(rows)}
        scaled = {composition: scales for composition, scales in scaling.items() if scales is not None}
        if scaled:
            place = {composition: number for number, composition in enumerate(scaled)}
            gate = np.zeros((len(rows), 1, len(scaled)), self._dtype)
            for row, composition in enumerate(rows):
                if composition in place:
                    gate[row, 0, place[composition]] = 1
            result["gate_scale"] = gate
            result["scales"] = np.stack(list(scaled.values()))
        return result

    def _combined_scales(self, composition: Composition) -> NDArray[Any] | None:
        adapters = [self.adapters[name] for name in composition]
        if all(adapter.scales is None for adapter in adapters):
            return None
        added = np.ones(self._total_out, self._dtype)
        factor = np.ones(self._total_out, self._dtype)
        for adapter in adapters:
            if adapter.scales is not None and adapter.rank:
                added += adapter.scales
            elif adapter.scales is not None:
                factor *= 1 + adapter.scales
        return added * factor - 1
