"""The tables of rotary positions of a base, unscaled and as requests ask for them."""

from collections import OrderedDict
from typing import Any

from numpy.typing import NDArray

from xpm_runtime.graph import GraphSpec
from xpm_runtime.rope import rope_tables
from xpm_runtime.rope_scaling import RopeScaling

_NUM_KEPT = 4  # besides the base's own: one of 131,072 positions and 128 dimensions takes 64 MB
Tables = tuple[NDArray[Any], NDArray[Any]]


class RopeTables:
    """(cosines, sines) of ``num_positions``, each (num_positions, head_dim / 2) of ``dtype``; the latest are kept."""

    def __init__(self, graph: GraphSpec, *, num_positions: int, dtype: str) -> None:
        self._graph = graph
        self._num_positions = num_positions
        self._dtype = dtype
        self._own = self._make(None)
        self._asked: OrderedDict[RopeScaling, Tables] = OrderedDict()

    def of(self, scaling: RopeScaling | None) -> Tables:
        """Those of a scaling that has a factor; the base's own if None."""
        if scaling is None:
            return self._own
        if scaling not in self._asked:
            self._asked[scaling] = self._make(scaling)
        self._asked.move_to_end(scaling)
        while len(self._asked) > _NUM_KEPT:
            self._asked.popitem(last=False)
        return self._asked[scaling]

    def _make(self, scaling: RopeScaling | None) -> Tables:
        graph = self._graph
        return rope_tables(
            head_dim=graph.head_dim,
            theta=graph.rope_theta,
            num_positions=self._num_positions,
            scaling=graph.rope_scaling if scaling is None else scaling.settings(graph.trained_positions),
            dtype=self._dtype,
            is_asked=scaling is not None,
        )
