"""A request, the sequence it becomes, and what comes of it."""

from collections.abc import Sequence as Items
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

from xpm_runtime.activation import Stage
from xpm_runtime.cache_settings import CacheSettings
from xpm_runtime.guide import Guide
from xpm_runtime.logprobs import TokenReport
from xpm_runtime.rope_scaling import RopeScaling
from xpm_runtime.sampler import Sampler, SamplingParams
from xpm_runtime.slots import Acting, Composition
from xpm_runtime.speculation import Speculation
from xpm_runtime.text import GrowingText, Message

FinishReason = Literal["stop", "length", "cancelled", "error", "timeout"]
Prompt = str | Items[Message] | Items[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """``prompt`` is one user turn, a conversation, or token ids that are used as they are.

    What reads like a special token in a message is text, unless ``allow_special``. ``scales`` say how strongly each of
    ``experts`` acts: 1, as it was trained, for all if empty; 0 switches one off, below 0 it acts the other way round.
    ``rope`` says how positions are scaled if the request is longer than the base was made for; as the
    engine was loaded if None.
    ``cache`` says how keys and values are kept, likewise.
    """

    prompt: Prompt
    experts: tuple[str, ...] = ()
    scales: tuple[float, ...] = ()
    sampling: SamplingParams = field(default_factory=SamplingParams)
    allow_special: bool = False
    rope: RopeScaling | None = None
    cache: CacheSettings | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationResult:
    """What a sequence became. Times are wall-clock milliseconds of the steps it took part in.

    ``error`` says what went wrong where ``finish_reason`` is "error"; ``text`` is what was written before.
    ``prompt_logprobs`` has one for each of the prompt's tokens, None for the first, which follows nothing.
    ``missing`` is what would make a text that its grammar does not allow to end there complete, "…" if that is not
    known; else None. ``logprobs`` has a report for each of ``token_ids`` if they were asked for. ``finish_reason`` is
    "timeout" only behind a server. ``num_reused_tokens`` of the prompt were known from an earlier one with the same
    experts, and not computed again.
    ``rope`` is how positions were scaled, None if they were not; ``cache`` how keys and values were kept, None if all
    were, as the graph has them.
    ``num_drafted`` tokens were guessed by speculative decoding, ``num_accepted`` of them rightly.
    """

    text: str
    token_ids: tuple[int, ...]
    experts: Composition
    finish_reason: FinishReason
    num_prompt_tokens: int
    num_reused_tokens: int
    prefill_ms: float
    decode_ms: float
    error: str | None = None
    missing: str | None = None
    logprobs: tuple[TokenReport, ...] = ()
    prompt_logprobs: tuple[TokenReport | None, ...] = ()
    rope: RopeScaling | None = None
    cache: CacheSettings | None = None
    num_drafted: int = 0
    num_accepted: int = 0

    @property
    def prefill_tok_s(self) -> float:
        return 1e3 * (self.num_prompt_tokens - self.num_reused_tokens) / self.prefill_ms if self.prefill_ms else 0.0

    @property
    def decode_tok_s(self) -> float:
        """Tokens after the first, which belongs to the prefill, per second of decoding."""
        return 1e3 * (len(self.token_ids) - 1) / self.decode_ms if self.decode_ms and len(self.token_ids) > 1 else 0.0


@dataclass(slots=True, eq=False)
class Sequence:
    """A request in progress.

    ``prompt_ids`` include one placeholder per virtual token of the experts' soft prompts, in front. ``num_computed``
    tokens of prompt and output have their keys and values in the lane; ``num_reused`` of them came from an earlier
    prompt. It decodes when ``num_to_prefill`` are computed: those of the prompt, and after its lane was taken away,
    what was written before too.
    """

    prompt_ids: list[int]
    num_soft: int
    composition: Composition
    sampler: Sampler
    text: GrowingText
    guide: Guide | None = None
    token_ids: list[int] = field(default_factory=list)
    num_computed: int = 0
    num_reused: int = 0
    lane: int | None = None
    finish_reason: FinishReason | None = None
    error: str | None = None
    owner: object = None  # the engine that it was submitted to
    prefill_ms: float = 0.0
    decode_ms: float = 0.0
    rope: RopeScaling | None = None  # how its positions are scaled, with a factor; None for not at all
    cache: CacheSettings | None = None  # how its keys and values are kept; None for all, as the graph has them
    num_held: int | None = None  # plain tokens that take the memory of what it may come to hold; its own, if None
    stages: tuple[Stage, ...] = ()  # what acts on which tokens; one with all of them if empty
    scales: tuple[float, ...] = ()  # of ``composition``; 1 for all if empty
    reports: list[TokenReport] = field(default_factory=list)
    prompt_reports: list[TokenReport | None] = field(default_factory=list)
    ranked: list[tuple[int, float]] | None = None  # for a beam search to choose from: (token, log-probability)
    speculation: Speculation | None = field(init=False)
    num_to_prefill: int = field(init=False)
    acting: Acting = field(init=False)

    def __post_init__(self) -> None:
        self.num_to_prefill = len(self.prompt_ids)
        self.speculation = None if self.sampler.params.speculative is None else Speculation()
        self.acting = tuple(zip(self.composition, self.scales or [1.0] * len(self.composition), strict=True))
        self.stages = self.stages or (Stage(0, self.acting),)

    @property
    def is_prefilled(self) -> bool:
        return self.num_computed >= self.num_to_prefill

    def forget(self) -> None:
        """Begin anew on another lane, with all that is known of prompt and output to prefill."""
        self.num_computed, self.num_to_prefill = 0, self.num_tokens
        if not self.token_ids:
            self.prompt_reports.clear()

    def fork(self) -> "Sequence":
        """Another with the same beginning and as much computed, on no lane."""
        guide = None if self.guide is None else self.guide.copy()
        token_ids = [*self.token_ids]
        return replace(self, token_ids=token_ids, text=self.text.copy(), guide=guide, lane=None, ranked=None)

    @property
    def num_tokens(self) -> int:
        """Of prompt and output."""
        return len(self.prompt_ids) + len(self.token_ids)

    @property
    def num_pending(self) -> int:
        """Tokens that are known and not computed yet: more than one of an output where a grammar left no choice."""
        return self.num_tokens - self.num_computed

    @property
    def is_finished(self) -> bool:
        return self.finish_reason is not None

    @property
    def seen(self) -> "np.ndarray[tuple[int], np.dtype[np.int64]]":
        return np.array(self.prompt_ids[self.num_soft :] + self.token_ids, dtype=np.int64)

    def result(self) -> GenerationResult:
        text = self.text.finish()
        return GenerationResult(
            text=text,
            token_ids=tuple(self.token_ids),
            experts=self.composition,
            finish_reason=self.finish_reason or "cancelled",
            num_prompt_tokens=len(self.prompt_ids),
            num_reused_tokens=self.num_reused,
            prefill_ms=self.prefill_ms,
            decode_ms=self.decode_ms,
            error=self.error,
            missing=self.guide.missing(text) if self.guide else None,
            logprobs=tuple(self.reports),
            prompt_logprobs=tuple(self.prompt_reports),
            rope=self.rope,
            cache=self.cache,
            num_drafted=self.speculation.num_drafted if self.speculation else 0,
            num_accepted=self.speculation.num_accepted if self.speculation else 0,
        )
