"""Adapters as the graphs made for CUDA take them: one slot for each group of linears, in buckets of ranks."""

from collections.abc import Mapping
from collections.abc import Sequence as Items
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xpm_runtime.adapter import Adapter
from xpm_runtime.forms.portable import scaled
from xpm_runtime.graph import GROUPS, GraphSpec
from xpm_runtime.slots import Acting, ScaledAdapter, SlotPack, combine_scales

BUCKETS = (16, 32, 64, 128, 256, 512, 1024, 2560)
Arrays = dict[str, NDArray[Any]]
_HALF = np.dtype(np.float16)


@dataclass(frozen=True, slots=True)
class _Group:
    """Linears over one input: (number of the first output column, of outputs) of each."""

    name: str
    linears: tuple[str, ...]
    num_in: int
    columns: tuple[tuple[int, int], ...]

    @property
    def num_out(self) -> int:
        return sum(size for _, size in self.columns)


def groups_of(graph: GraphSpec) -> tuple[_Group, ...]:
    """The groups of linears in the order of the graph."""
    linears, column = {}, 0
    for linear in graph.linears:
        linears[linear.name] = (linear, column)
        column += linear.num_out
    groups = []
    for layer in range(graph.num_layers):
        for name, modules in GROUPS.items():
            members = [linears[f"{layer}.{module}"] for module in modules]
            groups.append(
                _Group(
                    f"{layer}.{name}",
                    tuple(linear.name for linear, _ in members),
                    members[0][0].num_in,
                    tuple((first, linear.num_out) for linear, first in members),
                )
            )
    return tuple(groups)


class CudaSlots(SlotPack):
    """Adapters side by side in a bucket of ranks: A of a group stacked, B, at its scale, block by
    block along the diagonal."""

    def __init__(self, graph: GraphSpec, scaled_adapters: Mapping[ScaledAdapter, Adapter]) -> None:
        super().__init__(graph, scaled_adapters)
        self.bucket = next(size for size in (0, *BUCKETS) if size >= self.rank)

    @property
    def soft_embeds(self) -> NDArray[Any]:
        """At least one row: an input of no rows could not be bound."""
        return self._soft_embeds if len(self._soft_embeds) else np.zeros((1, self._graph.hidden_size), _HALF)

    @cached_property
    def weights(self) -> Arrays:
        """``slots.{group}.A`` (linears · bucket, in) and ``.B`` (linears · bucket, out), float16."""
        size = max(self.bucket, BUCKETS[0])
        result: Arrays = {}
        for group in groups_of(self._graph):
            a = np.zeros((len(group.linears) * size, group.num_in), _HALF)
            b = np.zeros((len(group.linears) * size, group.num_out), _HALF)
            first_out = 0
            for number, (linear, (_, num_out)) in enumerate(zip(group.linears, group.columns, strict=True)):
                for scaled_adapter, adapter in self._scaled_adapters.items():
                    if linear in adapter.a:
                        place = self._rank_of[scaled_adapter]
                        rows = slice(number * size + place.start, number * size + place.stop)
                        a[rows] = adapter.a[linear]
                        b[rows, first_out : first_out + num_out] = scaled(adapter.b[linear], scaled_adapter)
                first_out += num_out
            result[f"slots.{group.name}.A"], result[f"slots.{group.name}.B"] = a, b
        return result

    def kind(self, rows: Items[Acting]) -> str:
        """Which graph the rows need."""
        acting = [self.adapters[name] for row in rows for name, _ in row]
        if any(adapter.scales is not None for adapter in acting):
            return "scaled"
        return "slots" if any(adapter.rank for adapter in acting) else "base"

    def gates(self, rows: Items[Acting]) -> Arrays:
        """``gate.{n}`` bool (rows, 1, n · bucket) for groups of n linears."""
        size = max(self.bucket, BUCKETS[0])
        gate = np.zeros((len(rows), 1, size), np.bool_)
        for row, acting in enumerate(rows):
            for scaled_adapter in acting:
                gate[row, 0, self._rank_of[scaled_adapter]] = True
        return {f"gate.{n}": np.tile(gate, (1, 1, n)) for n in sorted({len(each) for each in GROUPS.values()})}

    def scaled(self, rows: Items[Acting], num_scales: int) -> Arrays:
        """``row_scales`` (rows,), and ``factors.{group}``, ``offsets.{group}`` (num_scales, 1, out);
        the first changes nothing."""
        known: dict[Acting, int] = {}
        factors = np.ones((num_scales, self._graph.total_out), _HALF)
        offsets = np.zeros((num_scales, self._graph.total_out), _HALF)
        for acting in dict.fromkeys(rows):
            scales = combine_scales(self._graph, [(self.adapters[name], scale) for name, scale in acting])
            if scales is not None:
                known[acting] = number = len(known) + 1
                factors[number], offsets[number] = scales.scales + 1, scales.offsets
        result: Arrays = {"row_scales": np.array([known.get(row, 0) for row in rows], np.int64)}
        for group in groups_of(self._graph):
            columns = slice(group.columns[0][0], group.columns[0][0] + group.num_out)
            result[f"factors.{group.name}"] = factors[:, None, columns]
            if self._graph.has_offsets:
                result[f"offsets.{group.name}"] = offsets[:, None, columns]
        return result
