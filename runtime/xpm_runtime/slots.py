"""The adapters that may act in a run, and which of them act on which row of its batch.

A pack holds adapters for many tokens; what it feeds the graph depends on what acts on each row, so rows of different
compositions share a run. Invariant: a row is acted on by exactly the adapters of its own composition, each as strongly
as the row's request says.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xpm_runtime.adapter import Adapter
from xpm_runtime.errors import EngineError, RequestError
from xpm_runtime.graph import GraphSpec
from xpm_runtime.native import AllowedMemory

MAX_SCALE = 100.0
Composition = tuple[str, ...]
ScaledAdapter = tuple[str, float]
"""An adapter's name, and its scale: what it changes is multiplied by that, 1 as it was trained."""
Acting = tuple[ScaledAdapter, ...]
"""What acts on a row, in load order."""
Inputs = Mapping[str, NDArray[Any]]


class SlotPack:
    """A fixed set of adapters, each at the scales that it is needed at. ``rank`` is the total
    rank that a run computes."""

    def __init__(self, graph: GraphSpec, scaled_adapters: Mapping[ScaledAdapter, Adapter]) -> None:
        self.adapters = {adapter.name: adapter for adapter in scaled_adapters.values()}
        self.rank = sum(adapter.rank for adapter in scaled_adapters.values())
        self._graph = graph
        self._scaled_adapters = dict(scaled_adapters)
        self._rank_of: dict[ScaledAdapter, slice] = {}
        self._soft_of: dict[str, int] = {}
        first = 0
        for adapter in self.adapters.values():
            self._soft_of[adapter.name] = first
            first += adapter.num_soft
        first = 0
        for scaled_adapter, adapter in scaled_adapters.items():
            self._rank_of[scaled_adapter] = slice(first, first + adapter.rank)
            first += adapter.rank
        empty: NDArray[Any] = np.zeros((0, graph.hidden_size), graph.dtype)
        self._soft_embeds = np.concatenate([empty, *(adapter.soft_embeds for adapter in self.adapters.values())])

    def holds(self, scaled_adapters: Iterable[ScaledAdapter]) -> bool:
        """Whether all of them can act in a run with this pack."""
        return set(scaled_adapters) <= self._scaled_adapters.keys()

    def soft_offset(self, name: str) -> int:
        """The row of ``soft_embeds`` where the virtual tokens of ``name`` begin."""
        return self._soft_of[name]

    def inputs(self, rows: Sequence[Acting]) -> Inputs:
        """The graph's slot inputs for a batch on whose rows these act."""
        raise NotImplementedError

    def _scales_of(self, rows: Iterable[Acting]) -> dict[Acting, "Scales"]:
        """For each different row whose adapters scale outputs, what they do together."""
        combined = {
            each: combine_scales(self._graph, [(self.adapters[name], scale) for name, scale in each])
            for each in dict.fromkeys(rows)
        }
        return {acting: scales for acting, scales in combined.items() if scales is not None}


class Scales:
    """What outputs are multiplied by, less one, and what is added: float32 (total_out,) each."""

    __slots__ = ("_allowed", "offsets", "scales")

    def __init__(self, scales: NDArray[np.float32], offsets: NDArray[np.float32]) -> None:
        self.scales = np.ascontiguousarray(scales, np.float32)
        self.offsets = np.ascontiguousarray(offsets, np.float32)
        self._allowed = [AllowedMemory(array.ctypes.data, array.nbytes) for array in (self.scales, self.offsets)]


def combine_scales(graph: GraphSpec, adapters: Sequence[tuple[Adapter, float]]) -> Scales | None:
    """DoRA's deltas add, the factors of adapters without ranks (IA3) multiply; their offsets are bias · (factor - 1).

    Both, and the offsets, are first multiplied by the adapter's scale.

    Raises EngineError if what they come to is not finite: it would reach other rows.
    """
    if all(adapter.scales is None for adapter, _ in adapters):
        return None
    added, factor = np.ones(graph.total_out, np.float32), np.ones(graph.total_out, np.float32)
    offsets = np.zeros(graph.total_out, np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        for adapter, scale in adapters:
            if adapter.scales is not None and adapter.rank:
                added += np.float32(scale) * adapter.scales
            elif adapter.scales is not None:
                factor *= 1 + np.float32(scale) * adapter.scales
                offsets *= 1 + np.float32(scale) * adapter.scales
                if adapter.offsets is not None:
                    offsets += np.float32(scale) * adapter.offsets
        result = Scales(added * factor - 1, offsets)
        together = (np.abs(result.scales) + np.abs(result.offsets)).astype(graph.dtype)
    if not np.isfinite(together).all():
        names = ", ".join(adapter.name for adapter, _ in adapters)
        raise EngineError(f"{names} together scale outputs beyond {graph.dtype}", hint="leave one of them out")
    return result


def check_scale(name: str, scale: float, *, has_soft: bool) -> None:
    """Raise RequestError if an adapter can't act at a scale."""
    if not math.isfinite(scale) or abs(scale) > MAX_SCALE:
        raise RequestError(f"the scale of {name} must be -{MAX_SCALE:.0f} to {MAX_SCALE:.0f}", context=f"got {scale}")
    if has_soft and scale not in (0, 1):
        raise RequestError(
            f"{name} has a soft prompt, which acts or does not", context=f"got scale {scale}", hint="use 0 or 1"
        )


def check_product(graph: GraphSpec, adapter: Adapter, scale: float) -> None:
    """Raise EngineError if B at a scale leaves the graph's number type: what is infinite would reach other rows."""
    if abs(scale) <= 1:
        return
    bound = float(np.finfo(graph.dtype).max)
    if any(float(np.abs(b).max(initial=0)) * abs(scale) > bound for b in adapter.b.values()):
        raise EngineError(
            f"{adapter.name} at scale {scale} has values beyond {graph.dtype}", hint="use a smaller scale"
        )
