"""A graph that was traced by an exporter, ``exported.onnx``: past and present are tensors of their own,
each run gives longer ones.

One sequence is run at a time; rows of a step follow each other. The cache is on the host, where a lane is moved, kept
and given back by moving arrays; on CUDA it is copied at each run.
"""

from collections.abc import Mapping
from collections.abc import Sequence as Items
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xpm_runtime.adapter import Adapter
from xpm_runtime.errors import ModelLoadError
from xpm_runtime.forms.form import Form, Logits, RowLogits, Runner
from xpm_runtime.forms.portable import PackedSlots
from xpm_runtime.graph import EXPORTED_FORM, EXPORTED_GRAPH, ExportedGraph, GraphSpec
from xpm_runtime.lanes import Lanes
from xpm_runtime.rope_scaling import RopeScaling
from xpm_runtime.session import Binding, Session
from xpm_runtime.slots import Acting, ScaledAdapter, SlotPack

Arrays = list[NDArray[Any]]


class ExportedForm(Form["ExportedLanes"]):
    name = EXPORTED_FORM
    file = EXPORTED_GRAPH
    devices = ("cpu", "cuda")
    scales_positions = False  # the graph turns them itself

    @classmethod
    def obstacle(cls, folder: Path, device: str) -> str:
        return "" if (folder / cls.file).is_file() else f"the base has no {cls.file}"

    def lanes(self, session: Session, *, num_lanes: int, capacity: int) -> "ExportedLanes":
        return ExportedLanes(self._exported, num_lanes=num_lanes, capacity=capacity, dtype=self.graph.dtype)

    def runner(self, session: Session, lanes: "ExportedLanes") -> "ExportedRunner":
        return ExportedRunner(session, self.graph, self._exported, lanes)

    def pack(self, needed: Mapping[ScaledAdapter, Adapter], loaded: Mapping[str, Adapter]) -> SlotPack:
        return PackedSlots(self.graph, needed)

    @property
    def _exported(self) -> ExportedGraph:
        if self.graph.exported is None:
            raise ModelLoadError(f"graph.json does not describe {self.file}", hint="build the base anew")
        return self.graph.exported


class ExportedLanes(Lanes):
    """A lane is a list of arrays (1, heads, tokens, size), as long as its sequence; an empty one takes no memory."""

    def __init__(self, exported: ExportedGraph, *, num_lanes: int, capacity: int, dtype: str) -> None:
        super().__init__(num_lanes=num_lanes, capacity=capacity)
        self._cache = exported.cache
        self._dtype = np.dtype(dtype)
        self._arrays = [self.empty(0) for _ in range(num_lanes)]

    @property
    def bytes_per_token(self) -> int:
        return sum(each.num_heads * each.size for each in self._cache) * self._dtype.itemsize

    @property
    def can_copy(self) -> bool:
        return True

    def empty(self, length: int) -> Arrays:
        """New arrays for a number of tokens."""
        return [np.empty((1, each.num_heads, length, each.size), self._dtype) for each in self._cache]

    def hold(self, lane: int, arrays: Arrays) -> None:
        self._arrays[lane] = arrays

    def first(self, lane: int, length: int) -> Arrays:
        """The first tokens of a lane; what was behind them is forgotten."""
        arrays = self._arrays[lane]
        if arrays[0].shape[2] != length:
            arrays = self._arrays[lane] = [np.ascontiguousarray(array[:, :, :length]) for array in arrays]
        return arrays

    def read(self, lane: int, first: int, last: int) -> Arrays:
        return [array[0, :, first:last].copy() for array in self._arrays[lane]]

    def write(self, lane: int, first: int, block: Arrays) -> None:
        before = self._arrays[lane]
        self.hold(
            lane, [np.concatenate([a[:, :, :first], b[None]], axis=2) for a, b in zip(before, block, strict=True)]
        )

    def copy(self, source: int, target: int, length: int) -> bool:
        self._arrays[target] = [*self._arrays[source]]  # a run makes new ones, and alters none
        return True

    def move(self, source: int, target: int, length: int) -> bool:
        self._arrays[target], self._arrays[source] = self._arrays[source], self.empty(0)
        return True

    def release(self, lane: int, length: int) -> None:
        self._arrays[lane] = self.empty(0)


class _Bound:
    """A binding and what its slots are bound to."""

    def __init__(self, binding: Binding) -> None:
        self.binding = binding
        self.acting: tuple[SlotPack, Acting] | None = None


class ExportedRunner(Runner):
    def __init__(self, session: Session, graph: GraphSpec, exported: ExportedGraph, lanes: ExportedLanes) -> None:
        self._graph = graph
        self._exported = exported
        self._lanes = lanes
        self._bound = [_Bound(session.binding()) for _ in range(lanes.num_lanes)]

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
        positions = range(len(ids)) if every else [len(ids) - 1]
        return self._run(ids, positions, lane=lane, start=start, pack=pack, acting=acting)

    def decode(
        self,
        tokens: Items[int],
        lengths: Items[int],
        rows: tuple[Acting, ...],
        pack: SlotPack,
        rope: RopeScaling | None = None,
    ) -> RowLogits:
        logits = np.zeros((len(tokens), self._graph.vocab_size), np.float32)
        for lane, (token, length, row) in enumerate(zip(tokens, lengths, rows, strict=True)):
            if length:  # else no sequence is there
                logits[lane] = self._run([token], [0], lane=lane, start=length, pack=pack, acting=row)[0]
        return RowLogits(logits)

    def _run(
        self, ids: Items[int], positions: Items[int], *, lane: int, start: int, pack: SlotPack, acting: Acting
    ) -> Logits:
        """Logits of some of the tokens that a lane adds behind its first ``start``, float32 (len(positions), vocab)."""
        bound, end = self._bound[lane], start + len(ids)
        binding = bound.binding
        if bound.acting != (pack, acting):
            binding.clear()
            for name, array in pack.inputs((acting,)).items():
                binding.bind_resident(name, array)
            bound.acting = (pack, acting)
        given = {
            "input_ids": np.array([ids], np.int64),
            "attention_mask": np.ones((1, end), np.int64),
            "position_ids": np.arange(start, end, dtype=np.int64)[None],
        }
        for name in self._exported.inputs:
            binding.bind_array(name, given[name])
        binding.bind_array("logit_positions", np.array([positions], np.int64))
        past, present = self._lanes.first(lane, start), self._lanes.empty(end)
        for tensor, before, after in zip(self._exported.cache, past, present, strict=True):
            binding.bind_array(tensor.past, before)
            binding.bind_result(tensor.present, after)
        logits = np.empty((1, len(positions), self._graph.vocab_size), self._graph.dtype)
        binding.bind_result("logits", logits)
        binding.run()
        self._lanes.hold(lane, present)
        result: Logits = np.asarray(logits[0], np.float32)
        return result
