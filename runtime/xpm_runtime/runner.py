"""Runs planned work on the graph: prepares the inputs of a prefill chunk or a decode step and returns logits.

Owns the two bindings and the small arrays they point to. A decode step writes into arrays that stay bound; slots are bound
again only when the pack or the rows' compositions change.
"""

from collections.abc import Sequence as Items

import numpy as np
from numpy.typing import NDArray

from xpm_runtime.graph import GraphSpec
from xpm_runtime.lanes import KvLanes
from xpm_runtime.rope import rope_tables
from xpm_runtime.sampler import require_finite
from xpm_runtime.session import Binding, Session
from xpm_runtime.slots import Composition, SlotPack

Logits = NDArray[np.float32]


class RowLogits:
    """Logits of the rows of a run, float32 (rows, vocab), valid until the next run."""

    def __init__(self, values: Logits) -> None:
        self._values = values

    def __getitem__(self, row: int) -> NDArray[np.float32]:
        values: NDArray[np.float32] = self._values[row]
        return values

    def greedy(self, row: int) -> int:
        """The likeliest token, the first of equals; raises EngineError if the row has a NaN or an infinity above all."""
        token = int(np.argmax(self._values[row]))
        require_finite(self._values[row, token])
        return token


class _Inputs:
    """The arrays of a run of ``num_rows`` rows of ``length`` tokens, with the logits of ``positions`` of each.

    A native graph counts positions over all rows, a portable one within each.
    """

    def __init__(self, graph: GraphSpec, num_rows: int, positions: Items[int], length: int, *, is_native: bool) -> None:
        self.input_ids = np.zeros((num_rows, length), np.int64)
        self.seqlens_k = np.zeros(num_rows, np.int32)
        self.total = np.zeros((), np.int32)
        places = np.tile(np.array(positions, np.int64), (num_rows, 1))
        self._logits = np.zeros((*places.shape, graph.vocab_size), graph.dtype)
        if is_native:
            places += length * np.arange(num_rows)[:, None]
        self.positions = places.reshape(-1) if is_native else places
        self.bound_logits = self._logits.reshape(-1, graph.vocab_size) if is_native else self._logits

    @property
    def logits(self) -> Logits:
        """float32 (num_rows, num_logits, vocab), valid until the next run."""
        logits: Logits = np.asarray(self._logits, np.float32)
        return logits


class _Bound:
    """A binding and what its slots are bound to."""

    def __init__(self, binding: Binding) -> None:
        self.binding = binding
        self.pack: SlotPack | None = None
        self.rows: tuple[Composition, ...] = ()


class Runner:
    def __init__(self, session: Session, graph: GraphSpec, lanes: KvLanes) -> None:
        self._session = session
        self._graph = graph
        self._lanes = lanes
        self._rope = rope_tables(
            head_dim=graph.head_dim,
            theta=graph.rope_theta,
            num_positions=lanes.capacity,
            scaling=graph.rope_scaling,
            dtype=graph.dtype,
        )
        self._prefill = _Bound(session.binding())
        self._decode = _Bound(session.binding())
        self._decode_inputs: dict[int, _Inputs] = {}

    def prefill(
        self, ids: Items[int], *, lane: int, start: int, pack: SlotPack, composition: Composition, every: bool = False
    ) -> Logits:
        """Run prompt tokens through one lane.

        Args:
            ids: the chunk's token ids; ids from ``vocab_size`` on are rows of the pack's ``soft_embeds``.
            start: tokens already in the lane.
            every: whether to return logits of every position instead of the last.
        Returns:
            float32 (1 or len(ids), vocab).
        """
        positions = range(len(ids)) if every else [len(ids) - 1]
        inputs = _Inputs(self._graph, 1, positions, len(ids), is_native=self._session.is_native)
        inputs.input_ids[0] = ids
        inputs.seqlens_k[0] = start + len(ids) - 1
        inputs.total[...] = start + len(ids)
        self._run(self._prefill, inputs, first_lane=lane, pack=pack, rows=(composition,))
        logits: Logits = inputs.logits[0]
        return logits

    def decode(
        self, tokens: Items[int], lengths: Items[int], rows: tuple[Composition, ...], pack: SlotPack
    ) -> RowLogits:
        """Run one token of each lane ``0 : len(tokens)``.

        Args:
            tokens: the token each lane adds; lanes without a sequence pass 0 of length 0 and are not looked at.
            lengths: tokens already in each lane.
            rows: the composition of each lane.
        Returns:
            one row for each token.
        """
        count = len(tokens)
        inputs = self._decode_inputs.get(count)
        if inputs is None:
            inputs = self._decode_inputs[count] = _Inputs(self._graph, count, [0], 1, is_native=self._session.is_native)
        inputs.input_ids[:, 0] = tokens
        inputs.seqlens_k[:] = lengths
        inputs.total[...] = max(lengths) + 1
        self._run(self._decode, inputs, first_lane=0, pack=pack, rows=rows)
        return RowLogits(inputs.logits[:, 0])

    def _run(
        self, bound: _Bound, inputs: _Inputs, *, first_lane: int, pack: SlotPack, rows: tuple[Composition, ...]
    ) -> None:
        binding = bound.binding
        if bound.pack is not pack or bound.rows != rows:
            self._bind_slots(bound, pack, rows)
        binding.bind_array("input_ids", inputs.input_ids)
        binding.bind_array("seqlens_k", inputs.seqlens_k)
        if not self._session.is_native:
            binding.bind_array("total_sequence_length", inputs.total)
        binding.bind_array("logit_positions", inputs.positions)
        binding.bind_result("logits", inputs.bound_logits)
        self._lanes.bind(binding, first_lane, len(rows))
        binding.run()

    def _bind_slots(self, bound: _Bound, pack: SlotPack, rows: tuple[Composition, ...]) -> None:
        """Bind what acts; what a portable graph is not fed falls back to its zero-rank defaults."""
        binding = bound.binding
        binding.clear()
        for name, array in zip(("rope_cos", "rope_sin"), self._rope, strict=True):
            binding.bind_resident(name, array)
        for name, array in pack.inputs(rows).items():
            binding.bind_resident(name, array)
        bound.pack, bound.rows = pack, rows
