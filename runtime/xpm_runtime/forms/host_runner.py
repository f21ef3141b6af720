"""Running a graph whose inputs and outputs are host arrays: bound by address, or on CUDA copied at each run.

Owns the two bindings and the small arrays they point to. A decode step writes into arrays that stay bound; slots are
bound again only when the pack or the rows' compositions change.
"""

from collections.abc import Sequence as Items
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xpm_runtime.forms.form import Logits, RowLogits, Runner
from xpm_runtime.graph import GraphSpec
from xpm_runtime.lanes import KvLanes
from xpm_runtime.rope_cache import RopeTables
from xpm_runtime.rope_scaling import RopeScaling
from xpm_runtime.session import Binding, Session
from xpm_runtime.slots import Acting, SlotPack


class RunArrays:
    """The arrays of a run of ``num_rows`` rows of ``length`` tokens, with the logits of ``positions`` of each.

    ``bound`` are those that are bound as inputs, by name; ``result`` is the one that the graph writes its logits to.
    """

    def __init__(self, graph: GraphSpec, num_rows: int, positions: Items[int], length: int) -> None:
        self.input_ids = np.zeros((num_rows, length), np.int64)
        self.seqlens_k = np.zeros(num_rows, np.int32)
        self.total = np.zeros((), np.int32)
        places = np.tile(np.array(positions, np.int64), (num_rows, 1))
        self._logits = np.zeros((*places.shape, graph.vocab_size), graph.dtype)
        self.result = self._logits
        self.bound: dict[str, NDArray[Any]] = {
            "input_ids": self.input_ids,
            "seqlens_k": self.seqlens_k,
            "logit_positions": places,
        }

    @property
    def logits(self) -> Logits:
        """float32 (num_rows, num_logits, vocab), valid until the next run."""
        logits: Logits = np.asarray(self._logits, np.float32)
        return logits


class _Bound:
    """A binding and what its slots and tables are bound to."""

    def __init__(self, binding: Binding) -> None:
        self.binding = binding
        self.pack: SlotPack | None = None
        self.rows: tuple[Acting, ...] = ()
        self.rope: RopeScaling | None = None


class HostRunner(Runner):
    def __init__(self, session: Session, graph: GraphSpec, lanes: KvLanes) -> None:
        self.graph = graph
        self._lanes = lanes
        self._rope = RopeTables(graph, num_positions=lanes.capacity, dtype=graph.dtype)
        self._prefill = _Bound(session.binding())
        self._decode = _Bound(session.binding())
        self._decode_arrays: dict[int, RunArrays] = {}

    def arrays(self, num_rows: int, positions: Items[int], length: int) -> RunArrays:
        return RunArrays(self.graph, num_rows, positions, length)

    def prefill(
        self,
        ids: Items[int],
        *,
        lane: int,
        start: int,
        pack: SlotPack,
        acting: Acting,
        every: bool = False,
        rope: RopeScaling | None = None,
    ) -> Logits:
        arrays = self.arrays(1, range(len(ids)) if every else [len(ids) - 1], len(ids))
        arrays.input_ids[0] = ids
        arrays.seqlens_k[0] = start + len(ids) - 1
        arrays.total[...] = start + len(ids)
        self._run(self._prefill, arrays, first_lane=lane, pack=pack, rows=(acting,), rope=rope)
        logits: Logits = arrays.logits[0]
        return logits

    def decode(
        self,
        tokens: Items[int],
        lengths: Items[int],
        rows: tuple[Acting, ...],
        pack: SlotPack,
        rope: RopeScaling | None = None,
    ) -> RowLogits:
        count = len(tokens)
        arrays = self._decode_arrays.get(count)
        if arrays is None:
            arrays = self._decode_arrays[count] = self.arrays(count, [0], 1)
        arrays.input_ids[:, 0] = tokens
        arrays.seqlens_k[:] = lengths
        arrays.total[...] = max(lengths) + 1
        self._run(self._decode, arrays, first_lane=0, pack=pack, rows=rows, rope=rope)
        return RowLogits(arrays.logits[:, 0])

    def _run(
        self,
        bound: _Bound,
        arrays: RunArrays,
        *,
        first_lane: int,
        pack: SlotPack,
        rows: tuple[Acting, ...],
        rope: RopeScaling | None,
    ) -> None:
        binding = bound.binding
        if bound.pack is not pack or bound.rows != rows or bound.rope != rope:
            self._bind_slots(bound, pack, rows, rope)
        for name, array in arrays.bound.items():
            binding.bind_array(name, array)
        binding.bind_result("logits", arrays.result)
        self._lanes.bind(binding, first_lane, len(rows))
        binding.run()

    def _bind_slots(self, bound: _Bound, pack: SlotPack, rows: tuple[Acting, ...], rope: RopeScaling | None) -> None:
        """Bind what acts; what a portable graph is not fed falls back to its zero-rank defaults."""
        binding = bound.binding
        binding.clear()
        for name, array in zip(("rope_cos", "rope_sin"), self._rope.of(rope), strict=True):
            binding.bind_resident(name, array)
        for name, array in pack.inputs(rows).items():
            binding.bind_resident(name, array)
        bound.pack, bound.rows, bound.rope = pack, rows, rope
