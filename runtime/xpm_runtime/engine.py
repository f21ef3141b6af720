"""The engine: one base, up to ten experts per request, many requests at once.

Not thread-safe: one thread submits and steps. A step is schedule → run → sample → commit.
"""

import operator
import time
from collections.abc import Iterator
from collections.abc import Sequence as Items
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from xpm_runtime.adapter import Adapter, AdapterSpec, load_adapter
from xpm_runtime.errors import CapacityError, RequestError
from xpm_runtime.graph import GraphSpec
from xpm_runtime.lanes import KvLanes
from xpm_runtime.runner import Runner
from xpm_runtime.sampler import Sampler, SamplingParams
from xpm_runtime.scheduler import Chunk, Plan, Scheduler
from xpm_runtime.sequence import GenerationResult, Prompt, Request, Sequence
from xpm_runtime.session import Session
from xpm_runtime.slots import AddressedSlots, Composition, PackedSlots, SlotPack
from xpm_runtime.text import GrowingText, Message, TextCodec

MAX_EXPERTS = 10
_CHUNK_TOKENS = 256
_DEFAULT_CONTEXT = 2048


@dataclass(frozen=True, slots=True, kw_only=True)
class AttachReport:
    name: str
    rank: int
    num_bytes: int
    attach_ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class StepReport:
    """What one step did: prompt tokens prefilled, rows decoded, sequences that finished."""

    num_prefilled: int
    num_decoded: int
    finished: tuple[Sequence, ...]


class Engine:
    """Made by ``Engine.load``; a context manager that frees the base when it is left."""

    def __init__(self, session: Session, graph: GraphSpec, codec: TextCodec, lanes: KvLanes) -> None:
        self.graph = graph
        self.device = session.device
        self._codec = codec
        self._lanes = lanes
        self._runner = Runner(session, graph, lanes)
        self._scheduler = Scheduler(num_lanes=lanes.num_lanes, capacity=lanes.capacity, chunk_tokens=_CHUNK_TOKENS)
        self._attached: dict[str, Adapter] = {}
        self._is_native = session.is_native
        self._pack = self._new_pack(())

    @classmethod
    def load(
        cls, folder: Path, *, device: str = "auto", threads: int | None = None, max_lanes: int = 8,
        context: int | None = None, spinning: bool = True, kernels: str = "auto",
    ) -> "Engine":  # fmt: skip
        """Load an exported base.

        Args:
            folder: holds model.onnx, graph.json and the tokenizer.
            device: "auto" (CUDA where it works, else CPU), "cpu" or "cuda".
            threads: CPU threads of one run; all cores if None.
            max_lanes: sequences that may run at once.
            context: tokens a lane holds; at most what the base was made for, 2,048 if None.
            kernels: "native" (our own, for quantised bases on the CPU), "portable" (ONNX Runtime's), or "auto", the best.
            spinning: whether waiting threads spin; faster alone, slower on contended cores.
        Raises:
            ModelLoadError: a file is missing or malformed, or the device does not work.
        """
        graph = GraphSpec.read(folder)
        capacity = min(context or _DEFAULT_CONTEXT, graph.max_positions)
        if max_lanes < 1 or capacity < 1:
            raise RequestError("max_lanes and context must be at least 1")
        codec = TextCodec(folder)
        session = Session(folder, device=device, threads=threads, spinning=spinning, kernels=kernels)
        return cls(session, graph, codec, KvLanes(session, graph, num_lanes=max_lanes, capacity=capacity))

    def __enter__(self) -> "Engine":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Drop the session and every array; the engine can't be used afterwards. Closing twice does no harm."""
        self._attached.clear()
        for name in ("_runner", "_lanes", "_pack"):
            self.__dict__.pop(name, None)

    # Experts

    @property
    def attached(self) -> tuple[str, ...]:
        return tuple(self._attached)

    def attach(self, spec: AdapterSpec) -> AttachReport:
        """Load an adapter and make it ready to act.

        Raises:
            AdapterMismatchError: it does not fit the base. RequestError: its name is taken.
        """
        started = time.perf_counter()
        if spec.name in self._attached:
            raise RequestError(f"an expert named {spec.name} is attached already", hint="detach it first")
        adapter = load_adapter(spec, self.graph, is_native=self._is_native)
        self._attached[spec.name] = adapter
        self._pack = self._pack_for({*self._pack.adapters, spec.name})
        elapsed_ms = 1e3 * (time.perf_counter() - started)
        return AttachReport(name=spec.name, rank=adapter.rank, num_bytes=adapter.num_bytes, attach_ms=elapsed_ms)

    def detach(self, name: str) -> None:
        """Forget an adapter; raises RequestError if it is not attached or a sequence still needs it."""
        self._require_attached((name,))
        if any(name in s.composition for s in [*self._scheduler.running, *self._scheduler.waiting]):
            raise RequestError(f"{name} is in use", hint="finish or cancel the requests that use it")
        del self._attached[name]
        self._pack = self._pack_for(set(self._pack.adapters) - {name})

    # Requests

    def submit(self, request: Request) -> Sequence:
        """Queue a request; raises RequestError or CapacityError before anything is computed."""
        composition = self._compose(request.experts)
        ids = self._encode(request.prompt)
        num_soft = sum(self._attached[name].num_soft for name in composition)
        text = GrowingText(self._codec, request.sampling.stop)
        sequence = Sequence([0] * num_soft + ids, num_soft, composition, Sampler(request.sampling), text)
        self._scheduler.add(sequence)
        return sequence

    def cancel(self, sequence: Sequence) -> None:
        """End a sequence now; its lane is free at once."""
        if not sequence.is_finished:
            sequence.finish_reason = "cancelled"
            self._scheduler.remove(sequence)

    def step(self) -> StepReport:
        """Advance every running sequence by one token, and one waiting prompt by a chunk."""
        plan = self._scheduler.schedule()
        self._pack = self._pack_of(plan)
        sampled = [*self._run_prefill(plan.prefill), *self._run_decode(plan)]
        finished = tuple(sequence for sequence, token in sampled if self._commit(sequence, token))
        self._compact()
        num_prefilled = plan.prefill.stop - plan.prefill.start if plan.prefill else 0
        return StepReport(num_prefilled=num_prefilled, num_decoded=len(plan.rows), finished=finished)

    def generate(
        self, prompt: Prompt, *, experts: Items[str] = (), sampling: SamplingParams | None = None
    ) -> GenerationResult:
        """Answer one prompt with a composition of experts (in any order; they act in load order)."""
        return self.generate_batch(
            [Request(prompt=prompt, experts=tuple(experts), sampling=sampling or SamplingParams())]
        )[0]

    def generate_batch(self, requests: Items[Request]) -> list[GenerationResult]:
        """Answer several prompts, each with its own composition, in one continuous batch; results in the order of requests."""
        sequences: list[Sequence] = []
        try:
            sequences += [self.submit(request) for request in requests]
            while not all(sequence.is_finished for sequence in sequences):
                self.step()
        finally:
            for sequence in sequences:
                self.cancel(sequence)
        return [sequence.result() for sequence in sequences]

    def stream(
        self, prompt: Prompt, *, experts: Items[str] = (), sampling: SamplingParams | None = None
    ) -> Iterator[str | GenerationResult]:
        """Yield pieces of text as they become certain, then the result. Leaving the loop cancels the request."""
        sequence = self.submit(Request(prompt=prompt, experts=tuple(experts), sampling=sampling or SamplingParams()))
        try:
            while not sequence.is_finished:
                self.step()
                if piece := sequence.text.take(final=sequence.is_finished):
                    yield piece
            yield sequence.result()
        finally:
            self.cancel(sequence)

    def logits(self, token_ids: Items[int], *, experts: Items[str] = ()) -> NDArray[np.float32]:
        """Logits of every position of a prompt, float32 (len(token_ids), vocab); soft prompts act but are not returned."""
        composition = self._compose(experts)
        num_soft = sum(self._attached[name].num_soft for name in composition)
        free = next((lane for lane, holder in enumerate(self._scheduler.lanes) if holder is None), None)
        if free is None or num_soft + len(token_ids) > self._lanes.capacity:
            raise CapacityError("no lane can hold the tokens", context=f"{num_soft + len(token_ids)} tokens")
        if len(token_ids) == 0:
            raise RequestError("there are no tokens")
        self._pack = self._pack_for({*self._pack.adapters, *composition})
        ids = [*self._soft_ids(composition), *self._checked_ids(token_ids)]
        result = self._runner.prefill(ids, lane=free, start=0, pack=self._pack, composition=composition, every=True)
        return result[num_soft:]

    def violations(self) -> list[str]:
        """Broken invariants of the scheduler; tests assert that there are none."""
        return self._scheduler.violations()

    # Steps

    def _run_prefill(self, chunk: Chunk | None) -> list[tuple[Sequence, int]]:
        """Prefill a chunk; the sequence with its first token if that was its last chunk."""
        if chunk is None:
            return []
        started = time.perf_counter()
        sequence = chunk.sequence
        assert sequence.lane is not None
        ids = [*self._soft_ids(sequence.composition), *sequence.prompt_ids[sequence.num_soft :]][
            chunk.start : chunk.stop
        ]
        logits = self._runner.prefill(
            ids, lane=sequence.lane, start=chunk.start, pack=self._pack, composition=sequence.composition
        )
        sequence.num_computed = chunk.stop
        token = [(sequence, sequence.sampler.choose(logits[0], sequence.seen))] if sequence.is_prefilled else []
        sequence.prefill_ms += 1e3 * (time.perf_counter() - started)
        return token

    def _run_decode(self, plan: Plan) -> list[tuple[Sequence, int]]:
        """Decode one token of every planned lane; lanes between them that are not planned compute nothing of use."""
        if not plan.rows:
            return []
        started = time.perf_counter()
        tokens, lengths = [0] * plan.num_rows, [0] * plan.num_rows
        compositions: list[Composition] = [()] * plan.num_rows
        for lane, holder in enumerate(self._scheduler.lanes[: plan.num_rows]):
            if holder is not None:
                # What is written behind a lane that is not sampled is overwritten by its next run; a full lane ends now.
                lengths[lane] = min(holder.num_computed, self._lanes.capacity - 1)
        for sequence in plan.rows:
            assert sequence.lane is not None
            tokens[sequence.lane] = sequence.token_ids[-1]
            compositions[sequence.lane] = sequence.composition
        logits = self._runner.decode(tokens, lengths, tuple(compositions), self._pack)
        sampled = []
        for sequence in plan.rows:
            sequence.num_computed += 1
            sampled.append((sequence, sequence.sampler.choose(logits[sequence.lane], sequence.seen)))
        elapsed_ms = 1e3 * (time.perf_counter() - started)
        for sequence in plan.rows:
            sequence.decode_ms += elapsed_ms
        return sampled

    def _commit(self, sequence: Sequence, token: int) -> bool:
        """Append a token; True, and the lane freed, if the sequence ends with it."""
        sequence.token_ids.append(token)
        if token in self.graph.eos_token_ids:
            sequence.finish_reason = "stop"
        else:
            sequence.text.append(token)
            if sequence.text.is_stopped:
                sequence.finish_reason = "stop"
            elif len(sequence.token_ids) >= sequence.sampler.params.max_tokens or self._is_full(sequence):
                sequence.finish_reason = "length"
        if sequence.is_finished:
            self._scheduler.remove(sequence)
        return sequence.is_finished

    def _is_full(self, sequence: Sequence) -> bool:
        return sequence.num_computed >= self._lanes.capacity

    def _compact(self) -> None:
        """Move the last lanes down onto free ones, so that a decode run has no idle rows."""
        while gap := self._scheduler.gap():
            target, source = gap
            sequence = self._scheduler.lanes[source]
            assert sequence is not None
            if not self._lanes.move(source, target, sequence.num_computed):
                return
            self._scheduler.move(source, target)

    # Compositions

    def _compose(self, experts: Items[str]) -> Composition:
        """The experts in load order, then by name; raises if there are too many, twice the same, or one not attached."""
        if len(experts) > MAX_EXPERTS:
            raise CapacityError(f"{len(experts)} experts were asked for, at most {MAX_EXPERTS} act together")
        if len(set(experts)) != len(experts):
            raise RequestError("an expert is named twice", context=", ".join(experts))
        self._require_attached(experts)
        return tuple(sorted(experts, key=lambda name: (self._attached[name].spec.load_order, name)))

    def _require_attached(self, names: Items[str]) -> None:
        for name in names:
            if name not in self._attached:
                raise RequestError(
                    f"no expert named {name} is attached", context=f"attached: {', '.join(self._attached) or 'none'}"
                )

    def _pack_of(self, plan: Plan) -> SlotPack:
        """The pack for a step: the present one if it serves, else one of exactly the experts needed.

        It serves if it holds all that are needed and its rank is at most twice theirs, so that compositions may come and
        go without packing anew at every change.
        """
        chunk = [plan.prefill.sequence] if plan.prefill else []
        needed = {name for sequence in (*chunk, *plan.rows) for name in sequence.composition}
        rank = sum(self._attached[name].rank for name in needed)
        if needed <= self._pack.adapters.keys() and self._pack.rank <= 2 * rank:
            return self._pack
        return self._pack_for(needed)

    def _pack_for(self, names: set[str]) -> SlotPack:
        if names == self._pack.adapters.keys():
            return self._pack
        return self._new_pack([adapter for name, adapter in self._attached.items() if name in names])

    def _new_pack(self, adapters: Items[Adapter]) -> SlotPack:
        return (AddressedSlots if self._is_native else PackedSlots)(self.graph, adapters)

    def _soft_ids(self, composition: Composition) -> list[int]:
        """Ids of the composition's virtual tokens in the present pack, in load order."""
        ids: list[int] = []
        for name in composition:
            first = self.graph.vocab_size + self._pack.soft_offset(name)
            ids += range(first, first + self._attached[name].num_soft)
        return ids

    def _encode(self, prompt: Prompt) -> list[int]:
        if len(prompt) == 0:
            raise RequestError("the prompt is empty")
        if isinstance(prompt, str):
            prompt = [Message("user", prompt)]
        messages = [item for item in prompt if isinstance(item, Message)]
        ids = [item for item in prompt if not isinstance(item, Message)]
        if messages and ids:
            raise RequestError("the prompt mixes messages and token ids")
        return self._codec.encode_chat(messages) if messages else self._checked_ids(ids)

    def _checked_ids(self, ids: Items[int]) -> list[int]:
        """Ids of the vocabulary; what lies beyond it belongs to soft prompts and is nobody's to pass."""
        checked = []
        for item in ids:
            try:
                token_id = operator.index(item)
            except TypeError as error:
                raise RequestError(
                    f"{item!r} is not a token id", hint="pass text, messages, or whole numbers"
                ) from error
            if not 0 <= token_id < self.graph.vocab_size:
                raise RequestError(
                    f"token id {token_id} is not in the vocabulary", context=f"it has {self.graph.vocab_size} tokens"
                )
            checked.append(token_id)
        return checked
