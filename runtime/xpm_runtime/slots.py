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
