"""Asks the engine everything, the lengths taking turns, and keeps what came of it; what was
stopped keeps what it has."""

import itertools
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean

from xpm_build.bench.context.loss import PROBED, Window, borders, sample_text, windows
from xpm_build.bench.context.tasks import TASKS, Case, make_case
from xpm_build.errors import BuildError, UsageError
from xpm_runtime import CacheSettings, Engine, GenerationResult, Request, RopeScaling, SamplingParams
from xpm_runtime.text import TextCodec

LENGTHS = (512, 1024, 2048, 4096, 8192)
DEPTHS = (0.5, 0.0, 1.0, 0.25, 0.75)  # few cases are far apart, too
Report = Callable[[str], None]
Stopped = Callable[[], bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextOptions:
    """``cases`` of each task and length, at depths that take turns; ``windows`` of the text (None for
    the one that is at hand).

    ``rope`` says how positions beyond the base's are scaled, "" for not at all; ``cache`` how keys and values are kept;
    ``threads`` are all cores if None.
    """

    lengths: tuple[int, ...] = LENGTHS
    tasks: tuple[str, ...] = tuple(TASKS)
    depths: tuple[float, ...] = DEPTHS
    cases: int = 5
    windows: int = 2
    seed: int = 0
    text: Path | None = None
    rope: str = ""
    cache: CacheSettings | None = None
    kernels: str = "auto"
    threads: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """``share`` of what was wanted is in ``answer``; it is right if that is all."""

    task: str
    length: int
    depth: float | None
    wanted: tuple[str, ...]
    answer: str
    share: float
    num_prefilled: int
    prefill_ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Foretold:
    """Of one window: nats per token, of its last ``PROBED`` tokens, and of each bucket of
    positions (the first token apart)."""

    length: int
    number: int
    loss: float
    by_position: tuple[float, ...]


@dataclass(slots=True, kw_only=True)
class Results:
    """``memory``: length → bytes by the engine's formula and, where the system tells, resident,
    when a prompt was prefilled."""

    base: str
    kernels: str
    max_positions: int
    options: ContextOptions
    answered: list[Answered] = field(default_factory=list)
    foretold: list[Foretold] = field(default_factory=list)
    memory: dict[int, dict[str, int]] = field(default_factory=dict)
    is_stopped: bool = False


class _StoppedHere(Exception):
    """Somebody has seen enough."""


def run_context(folder: Path, label: str, options: ContextOptions, *, report: Report, stopped: Stopped) -> Results:
    """Measure an exported base.

    Args:
        stopped: asked before each step of the engine; then what was measured until then is given.
    Raises:
        UsageError: a length is more than the base holds, or too little for a task; the text is
            too short or can't be read.
        EngineError: the base can't be loaded.
    """
    codec = TextCodec(folder)
    lengths = sorted(set(options.lengths))
    if unknown := set(options.tasks) - TASKS.keys():
        raise UsageError(f"there is no task {min(unknown)[:40]!r}", hint=f"choose of {', '.join(TASKS)}")
    of_text = (
        windows(codec, sample_text(options.text), lengths=lengths, count=options.windows) if options.windows else {}
    )
    for length in lengths[:1]:  # too short a one is told now
        for task in options.tasks:
            make_case(codec, task, length=length, depth=0.5, seed=f"{options.seed}")
    with Engine.load(
        folder,
        device="cpu",
        max_lanes=1,
        context=lengths[-1],
        kernels=options.kernels,
        threads=options.threads,
        rope=RopeScaling.parse(options.rope) if options.rope else None,
        cache=options.cache,
    ) as engine:
        if engine.context < lengths[-1]:
            raise UsageError(
                f"the base was made for {engine.context:,} positions, {lengths[-1]:,} were asked for",
                hint="choose shorter --lengths, or scale positions (--rope yarn)",
            )
        asked = _Asked(engine, stopped)
        results = Results(base=label, kernels=engine.kernels, max_positions=engine.graph.max_positions, options=options)
        try:
            for number in range(max(options.cases, options.windows)):
                for length in lengths:
                    if number < options.cases:
                        _answer_all(asked, codec, results, length, number, report)
                    if number < options.windows:
                        told = asked.foretell(length, of_text[length][number])
                        results.foretold.append(told)
                        report(f"window {number + 1} of {options.windows}, {length:,} tokens: loss {told.loss:.3f}")
        except _StoppedHere:
            results.is_stopped = True
    return results


def _answer_all(asked: "_Asked", codec: TextCodec, results: Results, length: int, number: int, report: Report) -> None:
    options = results.options
    depth = options.depths[number % len(options.depths)]
    told = []
    for task in options.tasks:
        case = make_case(codec, task, length=length, depth=depth, seed=f"{options.seed}/{number}")
        answered, memory = asked.answer(case)
        results.answered.append(answered)
        results.memory.setdefault(length, memory)
        told.append(f"{task} {answered.share:.0%}")
    if told:
        report(f"case {number + 1} of {options.cases}, {length:,} tokens: {', '.join(told)}")


class _Asked:
    """The engine, asked one thing at a time, and not beyond a step when that is to stop."""

    def __init__(self, engine: Engine, stopped: Stopped) -> None:
        self._engine, self._stopped = engine, stopped

    def answer(self, case: Case) -> tuple[Answered, dict[str, int]]:
        """What is answered greedily, and what is in memory when the prompt is prefilled."""
        sampling = SamplingParams(max_tokens=case.answer_tokens, temperature=0, stop=("\n",))
        result, memory = self._run(case.ids, sampling)
        answered = Answered(
            task=case.task,
            length=case.length,
            depth=case.depth,
            wanted=case.wanted,
            answer=result.text,
            share=case.share(result.text),
            num_prefilled=result.num_prompt_tokens - result.num_reused_tokens,
            prefill_ms=result.prefill_ms,
        )
        return answered, memory

    def foretell(self, length: int, window: Window) -> Foretold:
        result, _ = self._run(window.ids, SamplingParams(max_tokens=1, temperature=0, logprobs=0, prompt_logprobs=True))
        losses = [0.0, *(-each.logprob for each in result.prompt_logprobs if each is not None)]
        places = borders(length)
        return Foretold(
            length=length,
            number=window.number,
            loss=fmean(losses[-PROBED:]),
            by_position=tuple(fmean(losses[max(first, 1) : last]) for first, last in itertools.pairwise(places)),
        )

    def _run(self, ids: Sequence[int], sampling: SamplingParams) -> tuple[GenerationResult, dict[str, int]]:
        sequence = self._engine.submit(Request(prompt=list(ids), sampling=sampling))
        memory: dict[str, int] = {}
        try:
            while not sequence.is_finished:
                if self._stopped():
                    raise _StoppedHere
                self._engine.step()
                if not memory and sequence.is_prefilled:
                    memory = {"formula": self._engine.memory().total} | _resident()
        finally:
            self._engine.cancel(sequence)
        result = sequence.result()
        if result.error:
            raise BuildError("an answer broke off", context=result.error)
        return result, memory


def _resident() -> dict[str, int]:
    """Bytes of this process that are in memory, where the system says that."""
    status = Path("/proc/self/status")
    found = re.search(r"^VmRSS:\s+(\d+) kB", status.read_text(), re.M) if status.is_file() else None
    return {"resident": 1024 * int(found[1])} if found else {}


def tokens_per_s(results: Results, length: int) -> float:
    """Prefilled by the second, over all tasks of a length; nan if none was asked."""
    asked = [each for each in results.answered if each.length == length]
    total_ms = sum(each.prefill_ms for each in asked)
    return 1e3 * sum(each.num_prefilled for each in asked) / total_ms if total_ms else math.nan


def losses(results: Results) -> dict[int, float]:
    """Length → mean loss of the probed tokens, over the windows that every length has an answer to."""
    lengths = sorted(set(results.options.lengths))
    of = {(each.length, each.number): each.loss for each in results.foretold}
    complete = [n for n in range(results.options.windows) if all((length, n) in of for length in lengths)]
    return {length: fmean(of[length, number] for number in complete) for length in lengths} if complete else {}
