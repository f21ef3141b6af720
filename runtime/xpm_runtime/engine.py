"""The engine: one base, up to ten experts per request, many requests at once.

A step is admit → plan → prefill → decode → sample → commit. Every public method may be called from any thread; steps take turns.
"""

import asyncio
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator
from collections.abc import Sequence as Items
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from xpm_runtime.adapter import AdapterSpec
from xpm_runtime.conversation import EngineSession
from xpm_runtime.errors import CapacityError, RequestError
from xpm_runtime.graph import GraphSpec
from xpm_runtime.lanes import KvLanes
from xpm_runtime.memory import MemoryPlan, MemoryReport, plan_memory
from xpm_runtime.prefix import PrefixCache
from xpm_runtime.prompts import checked_ids, encode_prompt
from xpm_runtime.resident import ResidentAdapters
from xpm_runtime.runner import Runner
from xpm_runtime.sampler import Sampler, SamplingParams
from xpm_runtime.scheduler import Chunk, Plan, Scheduler
from xpm_runtime.sequence import GenerationResult, Prompt, Request, Sequence
from xpm_runtime.session import Session
from xpm_runtime.slots import AddressedSlots, Composition, PackedSlots, SlotPack
from xpm_runtime.text import GrowingText, TextCodec

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

    def __init__(
        self, session: Session, graph: GraphSpec, codec: TextCodec, lanes: KvLanes, plan: MemoryPlan
    ) -> None:  # fmt: skip
        self.graph = graph
        self.device = session.device
        self.kernels = "native" if session.is_native else "portable"
        self._codec = codec
        self._lanes = lanes
        self._memory = plan
        self._runner = Runner(session, graph, lanes)
        self._scheduler = Scheduler(
            num_lanes=lanes.num_lanes,
            capacity=lanes.capacity,
            chunk_tokens=_CHUNK_TOKENS,
            token_budget=plan.token_budget,
        )
        self._adapters = ResidentAdapters(graph, is_native=session.is_native, budget=plan.adapters)
        self._prefixes = PrefixCache(lanes, budget=plan.prefix)
        self._pinned: Counter[str] = Counter()
        self._pack = self._new_pack({})
        self._lock = threading.RLock()
        self._step_in_flight: asyncio.Task[StepReport] | None = None
        self._is_closed = False

    @classmethod
    def load(
        cls, folder: Path, *, device: str = "auto", threads: int | None = None, max_lanes: int = 8,
        context: int | None = None, spinning: bool = True, kernels: str = "auto", memory: int | None = None,
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
            memory: bytes that the process should stay within; requests wait or are refused rather than exceed it.
        Raises:
            ModelLoadError: a file is missing or malformed, or the device does not work.
            CapacityError: the base does not fit into ``memory``.
        """
        graph = GraphSpec.read(folder)
        capacity = min(context or _DEFAULT_CONTEXT, graph.max_positions)
        if max_lanes < 1 or capacity < 1:
            raise RequestError("max_lanes and context must be at least 1")
        codec = TextCodec(folder)
        session = Session(folder, device=device, threads=threads, spinning=spinning, kernels=kernels)
        lanes = KvLanes(session, graph, num_lanes=max_lanes, capacity=capacity)
        plan = plan_memory(
            folder, is_native=session.is_native, bytes_per_token=lanes.bytes_per_token, num_tokens=max_lanes * capacity,
            budget=memory,
        )  # fmt: skip
        return cls(session, graph, codec, lanes, plan)

    def __enter__(self) -> "Engine":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Drop the session and every array; the engine can't be used afterwards. Closing twice does no harm."""
        with self._lock:
            self._is_closed = True
            self._adapters.clear()
            self._prefixes.clear()
            for name in ("_runner", "_lanes", "_pack"):
                self.__dict__.pop(name, None)

    # Experts

    @property
    def attached(self) -> tuple[str, ...]:
        return tuple(self._adapters.attached)

    def attach(self, spec: AdapterSpec) -> AttachReport:
        """Load an adapter and make it ready to act.

        Raises:
            AdapterMismatchError: it does not fit the base. RequestError: its name is taken. CapacityError: it exceeds the budget.
        """
        with self._opened():
            started = time.perf_counter()
            known = self._adapters.attach(spec)
            elapsed_ms = 1e3 * (time.perf_counter() - started)
        return AttachReport(name=spec.name, rank=known.rank, num_bytes=known.num_bytes, attach_ms=elapsed_ms)

    def prefetch(self, names: Items[str]) -> None:
        """Have adapters in memory before they are needed, the most important first; what the budget can't hold is left out."""
        with self._opened():
            self._require_attached(names)
            self._adapters.prefetch(names)

    def detach(self, name: str) -> None:
        """Forget an adapter; raises RequestError if it is not attached or something still needs it."""
        with self._opened():
            self._require_attached((name,))
            if self._pinned[name] or any(name in s.composition for s in self._unfinished()):
                raise RequestError(
                    f"{name} is in use", hint="finish or cancel the requests, and release the sessions, that use it"
                )
            self._adapters.detach(name)
            self._pack = self._new_pack({})

    def session(self, *, experts: Items[str] = (), system: str | None = None) -> EngineSession:
        """Begin a conversation with a composition; its experts can't be detached until it is released."""
        with self._opened():
            composition = self._compose(experts)
            self._pinned.update(composition)
        return EngineSession(self, composition, system)

    def unpin(self, experts: Items[str]) -> None:
        with self._lock:
            self._pinned.subtract(experts)

    # Requests

    def submit(self, request: Request) -> Sequence:
        """Queue a request; raises RequestError or CapacityError before anything is computed."""
        with self._opened():
            composition = self._compose(request.experts)
            ids = encode_prompt(request.prompt, self._codec, self.graph.vocab_size)
            num_soft = sum(self._adapters.attached[name].num_soft for name in composition)
            text = GrowingText(self._codec, request.sampling.stop)
            sequence = Sequence([0] * num_soft + ids, num_soft, composition, Sampler(request.sampling), text)
            self._scheduler.add(sequence)
        return sequence

    def cancel(self, sequence: Sequence) -> None:
        """End a sequence now; its lane is free at once."""
        with self._lock:
            if not sequence.is_finished:
                sequence.finish_reason = "cancelled"
                self._remove(sequence)

    def step(self) -> StepReport:
        """Advance every running sequence by one token, and waiting prompts by a chunk."""
        with self._opened():
            plan = self._scheduler.plan(self._admit())
            self._pack = self._pack_of(plan)
            sampled = [pair for chunk in plan.prefill for pair in self._run_prefill(chunk)]
            sampled += self._run_decode(plan)
            finished = tuple(sequence for sequence, token in sampled if self._commit(sequence, token))
            self._compact()
            num_prefilled = sum(chunk.stop - chunk.start for chunk in plan.prefill)
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

    async def astream(
        self, prompt: Prompt, *, experts: Items[str] = (), sampling: SamplingParams | None = None
    ) -> AsyncIterator[str | GenerationResult]:
        """Like ``stream``, for asyncio: the loop stays free, and all streams share their steps. Cancelling the task cancels it."""
        request = Request(prompt=prompt, experts=tuple(experts), sampling=sampling or SamplingParams())
        sequence = await asyncio.to_thread(self.submit, request)
        try:
            while not sequence.is_finished:
                await self._shared_step()
                if piece := sequence.text.take(final=sequence.is_finished):
                    yield piece
            yield sequence.result()
        finally:
            self.cancel(sequence)

    async def agenerate(
        self, prompt: Prompt, *, experts: Items[str] = (), sampling: SamplingParams | None = None
    ) -> GenerationResult:
        """Like ``generate``, for asyncio."""
        result: GenerationResult | None = None
        async for piece in self.astream(prompt, experts=experts, sampling=sampling):
            result = piece if isinstance(piece, GenerationResult) else None
        assert result is not None
        return result

    def logits(self, token_ids: Items[int], *, experts: Items[str] = ()) -> NDArray[np.float32]:
        """Logits of every position of a prompt, float32 (len(token_ids), vocab); soft prompts act but are not returned."""
        with self._opened():
            composition = self._compose(experts)
            num_soft = sum(self._adapters.attached[name].num_soft for name in composition)
            free = next((lane for lane, holder in enumerate(self._scheduler.lanes) if holder is None), None)
            if free is None or num_soft + len(token_ids) > self._lanes.capacity:
                raise CapacityError("no lane can hold the tokens", context=f"{num_soft + len(token_ids)} tokens")
            if len(token_ids) == 0:
                raise RequestError("there are no tokens")
            self._pack = self._pack_for(composition)
            ids = [*self._soft_ids(composition), *checked_ids(token_ids, self.graph.vocab_size)]
            result = self._runner.prefill(ids, lane=free, start=0, pack=self._pack, composition=composition, every=True)
            return result[num_soft:]

    def memory(self) -> MemoryReport:
        """What is in memory now, by the formula."""
        with self._opened():
            cached = sum(sequence.num_computed for sequence in self._scheduler.running)
            plan = self._memory
            return MemoryReport(
                fixed=plan.fixed, weights=plan.weights, cache=cached * plan.bytes_per_token,
                adapters=self._adapters.num_bytes, prefix=self._prefixes.num_bytes,
            )  # fmt: skip

    def violations(self) -> list[str]:
        """Broken invariants of the scheduler and of what is in memory; tests assert that there are none."""
        found = self._scheduler.violations()
        if stray := set(self._adapters.resident) - self._adapters.attached.keys():
            found.append(f"{min(stray)} is in memory but not attached")
        if self._prefixes.num_bytes > self._memory.prefix:
            found.append("more beginnings are kept than the budget allows")
        return found

    # Steps

    def _admit(self) -> tuple[Sequence, ...]:
        """Sequences that got a lane, with what is known of their prompts' beginnings put into it."""
        admitted = self._scheduler.admit()
        for sequence in admitted:
            assert sequence.lane is not None
            sequence.num_computed = self._prefixes.restore(
                sequence.lane, self._numbers(sequence.composition), sequence.prompt_ids
            )
            sequence.num_reused = sequence.num_computed
        return admitted

    def _run_prefill(self, chunk: Chunk) -> list[tuple[Sequence, int]]:
        """Prefill a chunk; the sequence with its first token if that was its last chunk."""
        started = time.perf_counter()
        sequence = chunk.sequence
        assert sequence.lane is not None
        ids = [*self._soft_ids(sequence.composition), *sequence.prompt_ids[sequence.num_soft :]]
        logits = self._runner.prefill(
            ids[chunk.start : chunk.stop],
            lane=sequence.lane,
            start=chunk.start,
            pack=self._pack,
            composition=sequence.composition,
        )
        sequence.num_computed = chunk.stop
        sampled = []
        if sequence.is_prefilled:
            sampled.append((sequence, sequence.sampler.choose(logits[0], sequence.seen)))
            self._prefixes.keep(sequence.lane, self._numbers(sequence.composition), sequence.prompt_ids)
        sequence.prefill_ms += 1e3 * (time.perf_counter() - started)
        return sampled

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
            self._remove(sequence)
        return sequence.is_finished

    def _remove(self, sequence: Sequence) -> None:
        lane = sequence.lane
        self._scheduler.remove(sequence)
        if lane is not None:
            self._lanes.release(lane, sequence.num_computed)

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

    async def _shared_step(self) -> None:
        """Wait for one step: the one that is under way, or a new one in a thread of its own."""
        if self._step_in_flight is None or self._step_in_flight.done():
            self._step_in_flight = asyncio.create_task(asyncio.to_thread(self.step))
        await asyncio.shield(self._step_in_flight)

    def _unfinished(self) -> list[Sequence]:
        return [*self._scheduler.running, *self._scheduler.waiting]

    def _opened(self) -> threading.RLock:
        """The lock, to be held while the engine works; raises RequestError if it was closed."""
        if self._is_closed:
            raise RequestError("the engine was closed", hint="load it again")
        return self._lock

    # Compositions

    def _compose(self, experts: Items[str]) -> Composition:
        """The experts in load order, then by name; raises if there are too many, twice the same, or one not attached."""
        if len(experts) > MAX_EXPERTS:
            raise CapacityError(f"{len(experts)} experts were asked for, at most {MAX_EXPERTS} act together")
        if len(set(experts)) != len(experts):
            raise RequestError("an expert is named twice", context=", ".join(experts))
        self._require_attached(experts)
        attached = self._adapters.attached
        return tuple(sorted(experts, key=lambda name: (attached[name].spec.load_order, name)))

    def _require_attached(self, names: Iterable[str]) -> None:
        for name in names:
            if name not in self._adapters.attached:
                raise RequestError(
                    f"no expert named {name} is attached", context=f"attached: {', '.join(self.attached) or 'none'}"
                )

    def _numbers(self, composition: Composition) -> list[int]:
        return [self._adapters.attached[name].number for name in composition]

    def _pack_of(self, plan: Plan) -> SlotPack:
        """A pack that serves a step."""
        acting = [*(chunk.sequence for chunk in plan.prefill), *plan.rows]
        return self._pack_for(name for sequence in acting for name in sequence.composition)

    def _pack_for(self, names: Iterable[str]) -> SlotPack:
        """The present pack if it serves, else one of exactly the experts needed.

        A portable graph computes the ranks of all that are packed, so it must not hold more than twice what is needed; a
        native one only follows addresses.
        """
        needed = dict.fromkeys(names)
        if needed.keys() <= self._pack.adapters.keys():
            rank = sum(self._adapters.attached[name].rank for name in needed)
            if self.kernels == "native" or self._pack.rank <= 2 * rank:
                return self._pack
        return self._new_pack(needed)

    def _new_pack(self, names: Iterable[str]) -> SlotPack:
        adapters = self._adapters.need(names)
        if self.kernels == "portable":
            return PackedSlots(self.graph, list(adapters.values()))
        return AddressedSlots(self.graph, list((adapters | self._adapters.loaded).values()))

    def _soft_ids(self, composition: Composition) -> list[int]:
        """Ids of the composition's virtual tokens in the present pack, in load order."""
        ids: list[int] = []
        for name in composition:
            first = self.graph.vocab_size + self._pack.soft_offset(name)
            ids += range(first, first + self._adapters.attached[name].num_soft)
        return ids
