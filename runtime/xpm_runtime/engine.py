"""The engine: one base, up to ten experts per request, many requests at once.

Every public method may be called from any thread; steps take turns.
"""

import atexit
import os
import threading
import time
import weakref
from collections import Counter
from collections.abc import Callable, Iterator
from collections.abc import Sequence as Items
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xpm_runtime.activation import parts_of
from xpm_runtime.adapter import AdapterSpec
from xpm_runtime.adapter_rank import RankProfile
from xpm_runtime.admission import Admission, require_form
from xpm_runtime.answers import Answers
from xpm_runtime.beams import BeamSearch
from xpm_runtime.cache_settings import CacheSettings
from xpm_runtime.composition import compose, num_soft, require_attached, stages
from xpm_runtime.conversation import EngineSession
from xpm_runtime.errors import CapacityError, RequestError
from xpm_runtime.forms import open_base
from xpm_runtime.forms.form import Form
from xpm_runtime.graph import GraphSpec, stored_weights
from xpm_runtime.lanes import Lanes
from xpm_runtime.memory import MemoryPlan, MemoryReport, plan_memory
from xpm_runtime.packs import Packs
from xpm_runtime.prefix import PrefixCache
from xpm_runtime.prompts import checked_ids, encode_prompt
from xpm_runtime.resident import ResidentAdapters
from xpm_runtime.rope_scaling import RopeScaling
from xpm_runtime.scheduler import Scheduler
from xpm_runtime.sequence import GenerationResult, Prompt, Request, Sequence
from xpm_runtime.session import Session
from xpm_runtime.stepper import Stepper, StepReport
from xpm_runtime.text import TextCodec

_CHUNK_TOKENS = 256
_DEFAULT_CONTEXT = 2048
_MOST_CONTEXT = 1 << 22


_LIVE: "weakref.WeakSet[Engine]" = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    """Let running steps end before the interpreter takes their threads away."""
    for engine in list(_LIVE):
        engine.close()


def _max_threads() -> int:
    return max(64, 4 * (os.cpu_count() or 1))


@dataclass(frozen=True, slots=True, kw_only=True)
class AttachReport:
    name: str
    rank: int
    num_bytes: int
    attach_ms: float


class Engine(Answers):
    """Made by ``Engine.load``; a context manager that frees the base when it is left."""

    def __init__(
        self,
        form: Form[Any],
        session: Session,
        codec: TextCodec,
        lanes: Lanes,
        plan: MemoryPlan,
        rope: RopeScaling | None = None,
        cache: CacheSettings | None = None,
    ) -> None:
        super().__init__()
        self.graph = form.graph
        self.device = session.device
        self.kernels = form.name
        self._codec = codec
        self._lanes = lanes
        self._memory = plan
        self._runner = form.runner(session, lanes)
        self._scheduler = Scheduler(
            num_lanes=lanes.num_lanes,
            capacity=lanes.capacity,
            chunk_tokens=_CHUNK_TOKENS,
            token_budget=plan.token_budget,
        )
        self._adapters = ResidentAdapters(form, budget=plan.adapters)
        self._prefixes = PrefixCache(lanes, budget=plan.prefix)
        self._pinned: Counter[str] = Counter()
        self._packs = Packs(form, self._adapters)
        self._stepper = Stepper(
            self.graph, self._runner, lanes, self._scheduler, self._prefixes, self._adapters, self._packs
        )
        self._lock = threading.RLock()
        self._searching = threading.Lock()
        self._admission = Admission(
            form,
            codec,
            lanes,
            self._scheduler,
            self._adapters.attached,
            bytes_per_token=plan.bytes_per_token,
            rope=rope,
            cache=cache,
            owner=self._lock,
            opened=self._opened,
        )
        self._is_closed = False
        _LIVE.add(self)

    @classmethod
    def load(
        cls,
        folder: Path,
        *,
        device: str = "auto",
        threads: int | None = None,
        max_lanes: int = 8,
        context: int | None = None,
        spinning: bool = True,
        kernels: str = "auto",
        memory: int | None = None,
        rope: RopeScaling | None = None,
        cache: CacheSettings | None = None,
    ) -> "Engine":
        """Load an exported base.

        Args:
            folder: holds model.onnx (or exported.onnx), graph.json and the tokenizer.
            device: "auto" (CUDA where it works, else CPU), "cpu", "cuda", or another provider of
                ONNX Runtime (``DEVICES``).
            threads: CPU threads of one run; all cores if None.
            max_lanes: sequences that may run at once.
            context: tokens a lane holds; at most what the base was made for, or what ``rope`` reaches, any number with
                a window that the base was made for; 2,048 if None.
            kernels: "native" (our own, for quantised bases on the CPU), "cuda" (the graphs made for it),
                "portable" (ONNX Runtime's own), "exported" (a traced graph), or "auto", the first of them that
                this base and device can do.
            spinning: whether waiting threads spin; faster alone, slower on contended cores.
            rope: how positions are scaled for requests that are longer than the base was made for.
            cache: how keys and values are kept where a request does not say it.
            memory: bytes that the process should stay within; requests wait or are refused rather than exceed it.
        Raises:
            ModelLoadError: a file is missing or malformed, or the device does not work.
            CapacityError: the base does not fit into ``memory``.
        """
        graph = GraphSpec.read(folder)
        reach = rope.reach(graph.trained_positions) if rope else 0
        has_window = cache is not None and cache.span is not None and cache.span <= graph.max_positions
        capacity = min(context or _DEFAULT_CONTEXT, _MOST_CONTEXT if has_window else max(graph.max_positions, reach))
        if max_lanes < 1 or capacity < 1:
            raise RequestError("max_lanes and context must be at least 1")
        if threads is not None and not 1 <= threads <= _max_threads():
            raise RequestError(f"threads must be 1 to {_max_threads()} here", context=f"got {threads}")
        codec = TextCodec(folder)
        form, session = open_base(folder, graph, device=device, kernels=kernels, threads=threads, spinning=spinning)
        require_form(form, rope, cache)
        lanes = form.lanes(session, num_lanes=max_lanes, capacity=capacity)
        plan = plan_memory(
            weights=form.bytes_of_weights(stored_weights(folder)),
            bytes_per_token=lanes.bytes_per_token,
            num_tokens=max_lanes * capacity,
            budget=memory,
        )
        return cls(form, session, codec, lanes, plan, rope, cache)

    def __enter__(self) -> "Engine":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Drop the session and every array; the engine can't be used afterwards. Closing twice does no harm.

        What is unfinished ends as cancelled; threads that wait for it get a RequestError.
        """
        with self._lock:
            if self._is_closed:
                return
            self._is_closed = True
            for sequence in self._unfinished():
                sequence.finish_reason = "cancelled"
                self._stepper.remove(sequence)
            self._adapters.clear()
            for name in ("_runner", "_lanes", "_packs", "_stepper", "_prefixes", "_admission"):
                self.__dict__.pop(name, None)
        self._shared.close()

    # Experts

    @property
    def attached(self) -> tuple[str, ...]:
        return tuple(self._adapters.attached)

    def attach(self, spec: AdapterSpec) -> AttachReport:
        """Load an adapter and make it ready to act.

        Raises:
            AdapterMismatchError: it does not fit the base. RequestError: its name is taken.
                CapacityError: it exceeds the budget.
        """
        with self._opened():
            started = time.perf_counter()
            known = self._adapters.attach(spec)
            elapsed_ms = 1e3 * (time.perf_counter() - started)
        return AttachReport(name=spec.name, rank=known.rank, num_bytes=known.num_bytes, attach_ms=elapsed_ms)

    def rank_profile(self, spec: AdapterSpec) -> RankProfile:
        """What an adapter would take in memory, and what cutting its rank would lose; it is read
        and let go of, not attached.

        Raises:
            AdapterMismatchError: it does not fit the base.
        """
        return self._adapters.profile(spec)

    def prefetch(self, names: Items[str]) -> None:
        """Have adapters in memory before they are needed, the most important first; what the
        budget can't hold is left out."""
        with self._opened():
            require_attached(self._adapters.attached, names)
            self._adapters.prefetch(names)

    def detach(self, name: str) -> None:
        """Forget an adapter; raises RequestError if it is not attached or something still needs it."""
        with self._opened():
            require_attached(self._adapters.attached, (name,))
            if self._pinned[name] or any(name in s.composition for s in self._unfinished()):
                raise RequestError(
                    f"{name} is in use", hint="finish or cancel the requests, and release the sessions, that use it"
                )
            self._adapters.detach(name)
            self._packs.reset()

    def session(self, *, experts: Items[str] = (), system: str | None = None) -> EngineSession:
        """Begin a conversation with a composition; its experts can't be detached until it is released."""
        with self._opened():
            composition = tuple(name for name, _ in compose(self._adapters.attached, experts))
            self.pin(composition)
        return EngineSession(self, composition, system)

    def pin(self, experts: Items[str]) -> None:
        """Keep experts from being detached until they are unpinned; raises RequestError if one is not attached."""
        with self._opened():
            require_attached(self._adapters.attached, experts)
            self._pinned.update(experts)

    def unpin(self, experts: Items[str]) -> None:
        with self._lock:
            self._pinned.subtract(experts)

    # Requests

    @property
    def context(self) -> int:
        """Tokens of prompt and answer that a lane holds together."""
        return self._scheduler.capacity

    def count_tokens(self, prompt: Prompt) -> int:
        """Tokens of a prompt, without those of soft prompts; raises CapacityError if they are
        far too many to be counted."""
        return len(encode_prompt(prompt, self._codec, self.graph.vocab_size, max_tokens=self.context))

    def encode(self, text: str) -> list[int]:
        """Token ids of a text that is continued as it is, without a chat template; special tokens may stand in it.

        Raises:
            RequestError: it can't be encoded.
        """
        return self._codec.encode(text)

    def count_as_text(self, text: str) -> int:
        """Tokens of a text within a message, where what reads like a special token is none; raises as ``encode``."""
        return self._codec.count_as_text(text)

    def decode(self, ids: Items[int]) -> str:
        """The text of token ids, special tokens too; raises RequestError if one is not in the vocabulary."""
        return self._codec.decode(checked_ids(ids, self.graph.vocab_size))

    def submit(self, request: Request) -> Sequence:
        """Queue a request; raises RequestError, ConstraintError or CapacityError before anything is computed."""
        sequence = self.prepare(request)
        self.enqueue(sequence)
        return sequence

    def prepare(self, request: Request) -> Sequence:
        """Check a request and encode its prompt, without queueing it; raises as ``submit`` does."""
        if request.sampling.num_beams > 1:
            raise RequestError("a beam search is no single sequence", hint="use Engine.search, or take num_beams out")
        return self._begun(request)

    def check(self, request: Request) -> None:
        """Raise what ``submit`` or ``search`` would before anything is computed."""
        self._begun(request)

    def _begun(self, request: Request) -> Sequence:
        with self._opened():
            admission = self._admission
        return admission.begin(request)

    def enqueue(self, sequence: Sequence) -> None:
        """Queue what was prepared, or preempted; raises RequestError if an expert of it was detached meanwhile."""
        with self._opened():
            self._require_own(sequence)
            require_attached(self._adapters.attached, sequence.composition)
            self._scheduler.add(sequence)

    def has_room(self, sequence: Sequence, *, without: Items[Sequence] = ()) -> bool:
        """Whether a sequence would get a lane in the next step if it were queued now, and some
        of the running preempted."""
        with self._opened():
            return self._scheduler.has_room(sequence, without=without)

    @property
    def num_lanes(self) -> int:
        """Sequences that may run at once."""
        return len(self._scheduler.lanes)

    def tokens_of(self, sequence: Sequence) -> int:
        """Tokens of the cache that are set aside for a sequence while it runs."""
        return self._scheduler.reserve(sequence)

    def preempt(self, sequence: Sequence) -> None:
        """Take an unfinished sequence off its lane, or out of the queue; ``enqueue`` lets it go on where it was."""
        with self._opened():
            self._require_own(sequence)
            if not sequence.is_finished:
                self._stepper.preempt(sequence)

    def cancel(self, sequence: Sequence) -> None:
        """End a sequence now; its lane is free at once. Raises RequestError if it is another engine's."""
        self._require_own(sequence)
        with self._lock:
            if not sequence.is_finished:
                sequence.finish_reason = "cancelled"
                if not self._is_closed:
                    self._stepper.remove(sequence)

    def step(self) -> StepReport:
        """Advance every running sequence by one token, and waiting prompts by a chunk."""
        with self._opened():
            return self._stepper.step()

    def search(self, request: Request, *, stopped: Callable[[], bool] = lambda: False) -> list[GenerationResult]:
        """The likeliest answers that a beam search finds, best first: as many as ``num_beams``, unless there are fewer.

        Args:
            stopped: asked after each step; what is unfinished then is cancelled, and follows what is finished.
        Raises:
            RequestError: there are more beams than lanes. Else as ``submit``.
        """
        first = self._begun(request)
        with self._searching:  # one at a time: two that wait for each other's lanes would wait for ever
            self.enqueue(first)
            search = BeamSearch(first, self._stepper)
            try:
                while not search.is_done:
                    self.step()
                    with self._opened():
                        search.advance()
                        if stopped():
                            search.stop()
            finally:
                with self._lock:
                    if not self._is_closed:
                        search.cancel()
        return [sequence.result() for sequence in search.found]

    def logits(
        self,
        token_ids: Items[int],
        *,
        experts: Items[str] = (),
        scales: Items[float] = (),
        rope: RopeScaling | None = None,
        cache: CacheSettings | None = None,
    ) -> NDArray[np.float32]:
        """Logits of every position of a prompt, float32 (len(token_ids), vocab); soft prompts
        act but are not returned."""
        with self._opened():
            acting = compose(self._adapters.attached, experts, scales)
            count = num_soft(self._adapters.attached, acting)
            free = next((lane for lane, holder in enumerate(self._scheduler.lanes) if holder is None), None)
            if free is None or count + len(token_ids) > self._lanes.capacity:
                raise CapacityError("no lane can hold the tokens", context=f"{count + len(token_ids)} tokens")
            if len(token_ids) == 0:
                raise RequestError("there are no tokens")
            self._packs.check(acting)
            pack = self._packs.serve(acting)
            ids = [*self._packs.soft_ids(acting), *checked_ids(token_ids, self.graph.vocab_size)]
            kept = self._admission.cache_of(cache)
            scaling = self._admission.scaling_of(rope, len(ids), kept)
            self._lanes.configure(free, kept)
            found = [
                self._runner.prefill(
                    ids[start:stop], lane=free, start=start, pack=pack, acting=part, every=True, rope=scaling
                ).copy()
                for start, stop, part in parts_of(stages(self._adapters.attached, acting, token_ids), 0, len(ids))
            ]
            self._lanes.release(free, len(ids))
            return np.concatenate(found)[count:]

    def memory(self) -> MemoryReport:
        """What is in memory now, by the formula."""
        with self._opened():
            plan, lanes = self._memory, self._lanes
            return MemoryReport(
                fixed=plan.fixed,
                weights=plan.weights,
                cache=sum(lanes.bytes_of(each.cache, each.num_computed) for each in self._scheduler.running),
                adapters=self._adapters.num_bytes,
                prefix=self._prefixes.num_bytes,
            )

    def violations(self) -> list[str]:
        """Broken invariants of the scheduler and of what is in memory; tests assert that there are none."""
        found = self._scheduler.violations()
        if stray := set(self._adapters.resident) - self._adapters.attached.keys():
            found.append(f"{min(stray)} is in memory but not attached")
        if self._prefixes.num_bytes > self._memory.prefix:
            found.append("more prefixes are kept than the budget allows")
        return found

    def _require_own(self, sequence: Sequence) -> None:
        if sequence.owner is not self._lock:
            raise RequestError("the sequence was not submitted to this engine", hint="cancel it where it was submitted")

    def _unfinished(self) -> list[Sequence]:
        return [*self._scheduler.running, *self._scheduler.waiting]

    @contextmanager
    def _opened(self) -> Iterator[None]:
        """Hold the lock while the engine works; raises RequestError if it was closed, also while one waited."""
        with self._lock:
            if self._is_closed:
                raise RequestError("the engine was closed", hint="load it again")
            yield
