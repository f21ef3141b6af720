"""A loaded base that answers, each prompt with its own experts.

The only seam between packages and the runtime.
"""

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from xpm.environment import Environment
from xpm.errors import UsageError
from xpm.operations.choice import Candidates, Composition
from xpm.operations.decoding import sampling_params, task_defaults
from xpm.operations.devices import require_checked
from xpm.operations.grammars import stated_by
from xpm.operations.install import require_stored
from xpm.operations.installed import packages_of
from xpm.operations.options import Options
from xpm.operations.parts import Part, part_of
from xpm.progress import Progress

if TYPE_CHECKING:
    from xpm_runtime import AdapterSpec, CacheSettings, Engine, GenerationResult, Grammar, SamplingParams
    from xpm_runtime.adapter_rank import RankProfile
    from xpm_runtime.sequence import Prompt
    from xpm_runtime.sequence import Sequence as Running

Show = Callable[[int, str], None]
"""Gets (number of the answer from 0, piece of its text); answers come one after the other."""
Interruption = Callable[[], AbstractContextManager[Callable[[], bool]]]
"""Entered while answers are written; what it gives says whether they are to stop."""


@contextmanager
def never() -> Iterator[Callable[[], bool]]:
    """No interruption."""
    yield lambda: False


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """``experts`` None lets the router choose, () runs the base. ``sampling`` overrides what the manifests say, and so
    does ``grammar``, which gives the grammar of an answer to a prompt, or None for none.

    ``scales`` are of experts by name, if they act; 1 of those that are not there.
    ``base`` and ``experts`` may be paths (``xpm.operations.local``); ``base`` "" is the environment's.
    ``context`` is in tokens;
    ``rope`` is how positions are scaled where it is more than the base was made for, "" for not at all; ``cache`` how
    keys and values are kept, None for as the base's graph does. ``adapter_memory`` is how many bytes the experts that
    act together may take; None for no bound.
    """

    experts: tuple[str, ...] | None = None
    scales: Mapping[str, float] = field(default_factory=dict)
    sampling: Mapping[str, Any] = field(default_factory=dict)
    grammar: "Callable[[str], Grammar | None] | None" = None
    system: str = ""
    base: str = ""
    device: str = "auto"
    threads: int | None = None
    memory: int | None = None
    kernels: str = "auto"
    context: int | None = None
    rope: str = ""
    cache: "CacheSettings | None" = None
    adapter_memory: int | None = None


class Answerer:
    """A base, loaded once, and the experts of an environment, attached when they are first needed.

    A context manager that frees them. Finding the base may fetch it, which is told to ``progress``; loading it is
    silent, so ``start`` can do that in a thread while a person types.
    """

    def __init__(
        self, environment: Environment, options: RunOptions, *, progress: Progress, max_lanes: int = 1
    ) -> None:
        self.options = options
        self._max_lanes = max_lanes
        self._scratch = tempfile.TemporaryDirectory(prefix="xpm-run-")
        self._attached: dict[str, tuple[Part, int, int | None]] = {}  # expert, position, rank if it was cut
        self._ranks: dict[str, int] = {}
        self._profiles: dict[Path, RankProfile] = {}
        self._positions = count(1)
        self._loader: ThreadPoolExecutor | None = None
        self._loaded: Future[Engine] | None = None
        try:
            self.candidates = Candidates(
                environment, base=options.base, scratch=Path(self._scratch.name), progress=progress
            )
            require_checked(environment.home, self.candidates.base, options.device)
        except BaseException:
            self._scratch.cleanup()
            raise

    def __enter__(self) -> "Answerer":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Wait for what is being loaded, and free it. Closing twice does no harm."""
        if self._loader is not None:
            self._loader.shutdown(cancel_futures=True)
        if self._loaded is not None and not self._loaded.cancelled() and self._loaded.exception() is None:
            self._loaded.result().close()
        self._loader = self._loaded = None
        self._scratch.cleanup()

    def start(self) -> None:
        """Begin to load the base, in a thread."""
        if self._loader is None:
            self._loader = ThreadPoolExecutor(1, thread_name_prefix="xpm-load")
            self._loaded = self._loader.submit(
                load_engine, self.candidates.base, self.options, max_lanes=max(self._max_lanes, self._num_beams)
            )

    @property
    def engine(self) -> "Engine":
        """The loaded base; waits for it, and raises EngineError if it can't be loaded."""
        self.start()
        assert self._loaded is not None
        return self._loaded.result()

    @property
    def label(self) -> str:
        """The base's name, version and variant."""
        return f"{self.candidates.base.label}, {self.engine.graph.variant}"

    def sampling(self, composition: Composition, prompt: str) -> "SamplingParams":
        """How an answer is decoded: as the user says, else as the experts' manifests do, else
        as its kind of task needs."""
        experts, decision = composition.experts, composition.decision
        grammar = self.options.grammar(prompt) if self.options.grammar else stated_by(experts, prompt)
        given = {**self._nothing_drawn, **self.options.sampling, "grammar": grammar}
        defaults = task_defaults(decision.task, prompt) if decision else {}
        return sampling_params([each.manifest for each in experts if each.manifest], given, defaults=defaults)

    def scales_of(self, experts: Sequence[Part]) -> tuple[float, ...]:
        """How strongly each of some experts acts; () where nobody said so."""
        scales = self.options.scales
        return tuple(scales.get(each.name, 1.0) for each in experts) if scales else ()

    @property
    def _nothing_drawn(self) -> Mapping[str, Any]:
        """What a beam search needs, unless the user says otherwise, which is refused then."""
        return {"temperature": 0.0} if self._num_beams > 1 else {}

    @property
    def _num_beams(self) -> int:
        return int(self.options.sampling.get("num_beams", 1))

    def within_memory(self, composition: Composition) -> tuple[Composition, tuple[str, ...]]:
        """(who acts within ``adapter_memory``, what was given up for it): ranks are cut first, then
        the least likely left out.

        Raises:
            CapacityError: not even one fits. AdapterMismatchError: one does not fit the base.
        """
        if self.options.adapter_memory is None or not composition.experts:
            return composition, ()
        from xpm_runtime.adapter_rank import plan_ranks

        for each in composition.experts:
            if each.folder not in self._profiles:
                self._profiles[each.folder] = self.engine.rank_profile(spec_of(each, 1))
        profiles = [self._profiles[each.folder] for each in composition.experts]
        candidates = composition.decision.candidates if composition.decision else ()
        chosen = composition.decision.experts if composition.decision else ()
        likely = {each.name: each.probability for each in candidates if each.name in chosen}
        named = {name: 1 - place / 100 for place, name in enumerate(self.options.experts or ())}
        scores = [likely.get(each.name, named.get(each.name, 1.0)) for each in composition.experts]  # 1: required
        plan = plan_ranks(profiles, scores, budget=self.options.adapter_memory)
        self._ranks = dict(plan.ranks)
        return replace(composition, experts=tuple(e for e in composition.experts if e.name in plan.ranks)), plan.notes

    def attach(self, experts: Sequence[Part]) -> float:
        """Attach what is not attached yet, so that experts act in the order in which they are
        given; milliseconds in all.

        One that was attached before another that now acts ahead of it, or at another rank, is attached anew. Within
        ``adapter_memory`` those that do not act are detached.
        """
        elapsed_ms, last = 0.0, 0
        if self.options.adapter_memory is not None:
            for part, *_ in [each for name, each in self._attached.items() if name not in {e.name for e in experts}]:
                self.detach(part)
        for each in experts:
            rank = self._ranks.get(each.name)
            known, position, known_rank = self._attached.get(each.name, (None, 0, None))
            if known != each or rank != known_rank or position <= last:
                if known is not None:
                    self.engine.detach(each.name)
                    del self._attached[each.name]
                position = next(self._positions)
                elapsed_ms += self.engine.attach(replace(spec_of(each, position), max_rank=rank)).attach_ms
                self._attached[each.name] = each, position, rank
            last = position
        return elapsed_ms

    def detach(self, expert: Part) -> None:
        """Forget an expert, if it is attached."""
        if self._attached.pop(expert.name, None):
            self.engine.detach(expert.name)

    def answers(
        self,
        prompt: "Prompt",
        experts: Sequence[Part],
        samplings: Sequence["SamplingParams"],
        *,
        show: Show,
        stopped: Callable[[], bool],
    ) -> list["GenerationResult"]:
        """Several answers to one prompt by attached experts, all at once, shown one after the other.

        Where it is stopped, the answer that was being shown is the last of those returned, as cancelled. Those of a
        beam search are its likeliest, best first.

        Args:
            samplings: one for each answer.
        Raises:
            UsageError: the user named the experts, and a scale is of another.
        """
        from xpm_runtime import Request

        engine, names, running = self.engine, tuple(each.name for each in experts), list["Running"]()
        scales = self.scales_of(experts)
        if self.options.experts is not None and (strangers := sorted(self.options.scales.keys() - set(names))):
            raise UsageError(
                f"{strangers[0]} has a scale, but does not act", hint=f"those that do: {', '.join(names) or 'none'}"
            )
        if self._num_beams > 1:
            found = engine.search(
                Request(prompt=prompt, experts=names, scales=scales, sampling=samplings[0]), stopped=stopped
            )
            best = [_sound(each) for each in found[: len(samplings)]]
            for number, result in enumerate(best):
                show(number, result.text)
            return best
        shown = 0
        try:
            for sampling in samplings:
                request = Request(prompt=prompt, experts=names, scales=scales, sampling=sampling)
                running.append(engine.submit(request))
            while shown < len(running) and not stopped():
                engine.step()
                shown = _show_from(running, shown, show)
        finally:
            for each in running:
                engine.cancel(each)
        _show_from(running[: shown + 1], shown, show)
        return [_sound(each.result()) for each in running[: shown + 1]]


def _show_from(running: Sequence["Running"], shown: int, show: Show) -> int:
    """Show what is certain of the answers from number ``shown`` on; the number of the first that is not finished."""
    for number in range(shown, len(running)):
        each = running[number]
        if piece := each.text.take(final=each.is_finished):
            show(number, piece)
        if not each.is_finished:
            return number
    return len(running)


def _sound(result: "GenerationResult") -> "GenerationResult":
    if result.error:
        from xpm_runtime import RequestError

        raise RequestError(f"the answer broke off after {len(result.token_ids)} tokens", context=result.error)
    return result


def load_engine(base: Part, options: RunOptions, *, max_lanes: int = 1) -> "Engine":
    from xpm_runtime import Engine, RopeScaling

    return Engine.load(
        base.folder,
        device=options.device,
        threads=options.threads,
        max_lanes=max_lanes,
        memory=options.memory,
        kernels=options.kernels,
        context=options.context,
        rope=RopeScaling.parse(options.rope) if options.rope else None,
        cache=options.cache,
    )


def attach(engine: "Engine", experts: Sequence[Part], *, with_grammars: bool = False) -> float:
    """Attach experts under their names, to act in the order in which they are given; milliseconds in all.

    Args:
        with_grammars: whether answers that are asked of the engine without a grammar have those that manifests state.
    """
    specs = [spec_of(each, position, with_grammar=with_grammars) for position, each in enumerate(experts, start=1)]
    return sum(engine.attach(spec).attach_ms for spec in specs)


def spec_of(expert: Part, position: int, *, name: str = "", with_grammar: bool = False) -> "AdapterSpec":
    """An expert as an engine takes it, under its own name or another, to act behind those of lower positions."""
    from xpm_runtime import AdapterSpec

    return AdapterSpec.read(
        name or expert.name,
        expert.folder,
        load_order=position,
        digest=expert.digest,
        grammar=partial(stated_by, [expert]) if with_grammar else None,
    )


def installed_parts(environment: Environment, *, progress: Progress) -> tuple[Part, list[Part]]:
    """(the base, all experts in the lock's order) of an environment, fetched if need be."""
    base, *experts = map(part_of, packages_of(environment, require_stored(environment, Options(progress=progress))))
    return base, experts
