"""Running a base on CUDA: one of three graphs, whichever does what the rows need and no more, and decoding by replay.

A decode run of a number of rows and a bucket of ranks has buffers of its own, at addresses that never change: ONNX
Runtime captures it once as a CUDA graph and replays it. What varies is in the buffers: tokens, lengths, which ranks act
on which row. Prefill has too many shapes for that and is run as it comes.

Invariant: a captured run is keyed by everything that its shapes and addresses depend on (graph, rows, bucket).
"""

from collections.abc import Mapping
from collections.abc import Sequence as Items
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from xpm_runtime.adapter import Adapter
from xpm_runtime.forms.cuda_slots import BUCKETS, CudaSlots
from xpm_runtime.forms.form import KvForm, Logits, RowLogits, Runner
from xpm_runtime.graph import CUDA_FILES, GraphSpec
from xpm_runtime.lanes import KvLanes
from xpm_runtime.rope_cache import RopeTables
from xpm_runtime.rope_scaling import RopeScaling
from xpm_runtime.sampler import require_finite
from xpm_runtime.session import CudaBinding, DeviceArray, Session
from xpm_runtime.slots import Acting, ScaledAdapter, SlotPack


@dataclass(slots=True)
class _Run:
    """A binding with its buffers, and what was last put there."""

    binding: CudaBinding
    logits: DeviceArray
    greedy: DeviceArray
    total: DeviceArray
    gates: dict[str, DeviceArray] = field(default_factory=dict)
    pack: CudaSlots | None = None
    rows: tuple[Acting, ...] | None = None


class _DeviceLogits(RowLogits):
    """Rows that stay on the device: what is greedy needs only the token, and the sum that
    tells whether all is finite."""

    def __init__(self, run: _Run) -> None:
        self._run = run

    @cached_property
    def _tokens(self) -> NDArray[np.int64]:
        return self._run.greedy.numpy()

    @cached_property
    def _totals(self) -> NDArray[np.float32]:
        return self._run.total.numpy()

    @cached_property
    def _all(self) -> Logits:
        return self._run.logits.numpy()

    def __getitem__(self, row: int) -> NDArray[np.float32]:
        values: NDArray[np.float32] = self._all[row]
        return values

    def greedy(self, row: int) -> int:
        require_finite(self._totals[row])
        return int(self._tokens[row])


class CudaForm(KvForm):
    """Activations in float16, whatever the weights are stored in."""

    name = "cuda"
    file = CUDA_FILES["base"]
    devices = ("cuda",)  # a CPU can run it too, which tests do
    max_rank = BUCKETS[-1]

    def __init__(self, graph: GraphSpec) -> None:
        super().__init__(replace(graph, dtype="float16"))

    @classmethod
    def obstacle(cls, folder: Path, device: str) -> str:
        return "" if (folder / cls.file).is_file() else f"the base has no {cls.file}: those in float32 have none"

    def open(self, folder: Path, *, device: str, threads: int | None, spinning: bool) -> Session:
        options = {"enable_cuda_graph": "1"}
        return Session(folder, self.file, device=device, threads=threads, spinning=spinning, cuda_options=options)

    def runner(self, session: Session, lanes: KvLanes) -> "CudaRunner":
        return CudaRunner(session, self.graph, lanes)

    def pack(self, needed: Mapping[ScaledAdapter, Adapter], loaded: Mapping[str, Adapter]) -> SlotPack:
        return CudaSlots(self.graph, needed)


class CudaRunner(Runner):
    def __init__(self, session: Session, graph: GraphSpec, lanes: KvLanes) -> None:
        self._session = session
        self._graph = graph
        self._lanes = lanes
        self._tables = RopeTables(graph, num_positions=lanes.capacity, dtype="float16")
        self._rope: dict[RopeScaling | None, list[DeviceArray]] = {}
        self._slots: dict[int, dict[str, DeviceArray]] = {}
        self._scales: dict[str, DeviceArray] = {}
        self._held: dict[int, CudaSlots] = {}  # what the slots of a bucket hold
        self._scaled_rows: tuple[CudaSlots, tuple[Acting, ...]] | None = None
        self._decodes: dict[tuple[str, int, int, RopeScaling | None], _Run] = {}

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
        assert isinstance(pack, CudaSlots)
        num_logits = len(ids) if every else 1
        positions = np.arange(len(ids))[None] if every else np.array([[len(ids) - 1]], np.int64)
        kind = self._kind(pack, (acting,), ids)
        run = self._run(kind, pack, 1, length=len(ids), num_logits=num_logits, first_lane=lane, rope=rope)
        run.binding.put("logit_positions", positions)
        self._fill(run, kind, pack, (acting,))
        self._launch(run, [list(ids)], [start + len(ids) - 1], total=start + len(ids), graph_id=-1)
        result: Logits = run.logits.numpy()
        return result

    def decode(
        self,
        tokens: Items[int],
        lengths: Items[int],
        rows: tuple[Acting, ...],
        pack: SlotPack,
        rope: RopeScaling | None = None,
    ) -> RowLogits:
        assert isinstance(pack, CudaSlots)
        kind = self._kind(pack, rows, ())
        key = (kind, pack.bucket if kind != "base" else 0, len(tokens), rope)
        run = self._decodes.get(key)
        if run is None:
            run = self._run(kind, pack, len(tokens), length=1, num_logits=1, first_lane=0, rope=rope)
            self._decodes[key] = run
            run.binding.put("logit_positions", np.zeros((len(tokens), 1), np.int64))
        self._fill(run, kind, pack, rows)
        # The sum of lengths is read when the run is captured, so it is the most that a lane can hold.
        number = 1 + list(self._decodes).index(key)
        self._launch(run, [[token] for token in tokens], lengths, total=self._lanes.capacity, graph_id=number)
        return _DeviceLogits(run)

    def _kind(self, pack: CudaSlots, rows: tuple[Acting, ...], ids: Items[int]) -> str:
        kind = pack.kind(rows)
        has_soft = any(each >= self._graph.vocab_size for each in ids)
        return "slots" if kind == "base" and has_soft else kind

    def _run(
        self,
        kind: str,
        pack: CudaSlots,
        num_rows: int,
        *,
        length: int,
        num_logits: int,
        first_lane: int,
        rope: RopeScaling | None,
    ) -> _Run:
        session = self._session
        binding = session.cuda_binding(CUDA_FILES[kind])
        binding.take("input_ids", session.device_empty((num_rows, length), np.int64))
        binding.take("seqlens_k", session.device_empty((num_rows,), np.int32))
        binding.take("logit_positions", session.device_empty((num_rows, num_logits), np.int64))
        for name, table in zip(("rope_cos", "rope_sin"), self._rope_of(rope), strict=True):
            binding.take(name, table)
        count = num_rows * num_logits
        run = _Run(
            binding,
            logits=session.device_empty((count, self._graph.vocab_size), np.float32),
            greedy=session.device_empty((count,), np.int64),
            total=session.device_empty((count,), np.float32),
        )
        for name, array in (("logits", run.logits), ("greedy", run.greedy), ("total", run.total)):
            binding.give(name, array)
        self._lanes.bind(binding, first_lane, num_rows)
        if kind != "base":
            binding.take("soft_embeds", session.device_array(pack.soft_embeds))
            for name, array in self._slots_of(pack).items():
                binding.take(name, array)
            run.gates = {name: session.device_array(gate) for name, gate in pack.gates([()] * num_rows).items()}
            for name, gate in run.gates.items():
                binding.take(name, gate)
        if kind == "scaled":
            binding.take("row_scales", session.device_empty((num_rows,), np.int64))
            for name, array in self._scale_buffers(pack).items():
                if name in binding.inputs:  # groups without biases have no offsets
                    binding.take(name, array)
        return run

    def _rope_of(self, rope: RopeScaling | None) -> list[DeviceArray]:
        """The tables of a scaling, on the device; captured runs hold them, so all that were asked for stay."""
        if rope not in self._rope:
            self._rope[rope] = [self._session.device_array(table) for table in self._tables.of(rope)]
        return self._rope[rope]

    def _slots_of(self, pack: CudaSlots) -> dict[str, DeviceArray]:
        """The buffers of the pack's bucket."""
        if pack.bucket not in self._slots:
            self._slots[pack.bucket] = {name: self._session.device_array(array) for name, array in pack.weights.items()}
            self._held[pack.bucket] = pack
        return self._slots[pack.bucket]

    def _scale_buffers(self, pack: CudaSlots) -> dict[str, DeviceArray]:
        if not self._scales:
            arrays = pack.scaled((), self._lanes.num_lanes + 1)
            del arrays["row_scales"]
            self._scales = {name: self._session.device_array(array) for name, array in arrays.items()}
        return self._scales

    def _fill(self, run: _Run, kind: str, pack: CudaSlots, rows: tuple[Acting, ...]) -> None:
        """Put into the buffers what acts on which row, where it is not there yet."""
        if kind == "base":
            return
        if self._held[pack.bucket] is not pack:
            for name, array in pack.weights.items():
                self._slots[pack.bucket][name].put(array)
            self._held[pack.bucket] = pack
        is_new = run.pack is not pack or run.rows != rows
        if is_new:
            for name, gate in pack.gates(rows).items():
                run.gates[name].put(gate)
            run.pack, run.rows = pack, rows
        if kind == "scaled" and (is_new or self._scaled_rows != (pack, rows)):
            arrays = pack.scaled(rows, self._lanes.num_lanes + 1)
            run.binding.put("row_scales", arrays.pop("row_scales"))
            for name, array in arrays.items():
                self._scales[name].put(array)
            self._scaled_rows = (pack, rows)

    def _launch(self, run: _Run, tokens: list[list[int]], lengths: Items[int], *, total: int, graph_id: int) -> None:
        run.binding.put("input_ids", np.array(tokens, np.int64))
        run.binding.put("seqlens_k", np.array(lengths, np.int32))
        run.binding.host("total_sequence_length", np.array(total, np.int32))
        run.binding.replay(graph_id)
