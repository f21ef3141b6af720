"""Running a prompt: the base is found, the experts chosen, and one or several answers written."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from xpm.environment import Environment
from xpm.errors import UsageError
from xpm.operations.answering import Answerer, Interruption, RunOptions, Show, never
from xpm.operations.context_files import ContextFiles, encoder_of, passages_for
from xpm.progress import Progress

if TYPE_CHECKING:
    from xpm_runtime import GenerationResult, Message, SamplingParams
    from xpm_runtime.passages.choose import Chosen

MAX_LANES = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """``results`` are fewer than were asked for if they were stopped; the last is cancelled then.

    ``context`` is what was shown of documents, None if there were none. ``notes`` say what was given up for memory.
    """

    results: tuple["GenerationResult", ...]
    attach_ms: float
    device: str
    kernels: str
    base: str
    context: "Chosen | None" = None
    notes: tuple[str, ...] = ()

    @property
    def is_stopped(self) -> bool:
        return self.results[-1].finish_reason == "cancelled"


def run(
    environment: Environment,
    prompt: str,
    options: RunOptions,
    *,
    num_answers: int = 1,
    progress: Progress,
    show: Show,
    interruption: Interruption = never,
    context: ContextFiles | None = None,
    tell: Callable[["Chosen"], None] = lambda chosen: None,
) -> Answered:
    """Answer one prompt, ``num_answers`` times; ``show`` gets the text piece by piece.

    Args:
        context: documents, of which what bears on the prompt is put in front of it. The prompt alone says who answers.
        tell: told what is shown of them, before the answer.
    """
    with Answerer(environment, options, progress=progress, max_lanes=min(num_answers, MAX_LANES)) as answerer:
        chosen = answerer.candidates.compose(prompt, options.experts)
        answerer.candidates.warn_of_nobody(prompt, chosen)
        chosen, notes = answerer.within_memory(chosen)
        for note in notes:
            progress.warn(note)
        sampling, asked, shown = answerer.sampling(chosen, prompt), prompt, None
        if context is not None:
            bare = messages(options.system, prompt)
            shown = passages_for(
                answerer.engine, context, prompt, bare, max_tokens=sampling.max_tokens, encoder=encoder_of(environment)
            )
            tell(shown)
            asked = shown.before(prompt)
            sampling = replace(sampling, grammar=answerer.sampling(chosen, asked).grammar)
        if num_answers > sampling.num_beams > 1:
            raise UsageError(f"{sampling.num_beams} beams find at most {sampling.num_beams} answers", hint="lower --n")
        if num_answers > 1 and sampling.temperature == 0 and sampling.num_beams == 1:
            progress.warn(f"all {num_answers} answers will be the same: the temperature is 0 (--temperature)")
        samplings = [seeded(sampling, number) for number in range(num_answers)]
        attach_ms = answerer.attach(chosen.experts)
        with interruption() as stopped:
            results = answerer.answers(
                messages(options.system, asked), chosen.experts, samplings, show=show, stopped=stopped
            )
        engine = answerer.engine
        return Answered(
            results=tuple(results),
            attach_ms=attach_ms,
            device=engine.device,
            kernels=engine.kernels,
            base=answerer.label,
            context=shown,
            notes=notes,
        )


def messages(system: str, prompt: str) -> Sequence["Message"]:
    """One user's turn, below the system's if there is one."""
    from xpm_runtime import Message

    return [*([Message("system", system)] if system else []), Message("user", prompt)]


def seeded(sampling: "SamplingParams", number: int) -> "SamplingParams":
    """The sampling of the answer of that number, from 0: drawn from another seed, but the same again the next time."""
    return sampling if sampling.seed is None else replace(sampling, seed=sampling.seed + number)
