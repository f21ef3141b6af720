"""The fields that protocols share, checked strictly: a text is no number. Fields that nobody knows are passed over.

Clients of other servers send more than a protocol names; what would change the answer and can't
be done is refused by name.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from xpm_runtime import CacheSettings, Grammar, RequestError, RopeScaling
from xpm_runtime.passages.choose import Chosen, Document
from xpm_runtime.server.documents import MAX_CHARACTERS, checked
from xpm_runtime.server.host import Choice, Scaled
from xpm_runtime.server.wish import DEFAULT_PRIORITY, MAX_CHOICES

MAX_EXPERTS = 10
MAX_SCALE = 8.0
MAX_STOPS = 16
MAX_NAME = 200
MAX_DOCUMENTS = 64
LEAST_CONTEXT = 64

ModelName = Annotated[str, StringConstraints(min_length=1, max_length=MAX_NAME)]
StopText = Annotated[str, StringConstraints(min_length=1, max_length=1000)]


class Strict(BaseModel):
    """A part of a request."""

    model_config = ConfigDict(strict=True, extra="ignore")


class Reply(BaseModel):
    """A part of a response."""

    model_config = ConfigDict(extra="forbid")


class ExpertWish(Strict):
    """An installed expert, and how strongly it acts: 0 switches it off, below 0 it acts the other way round."""

    id: ModelName
    scale: float = Field(1.0, ge=-MAX_SCALE, le=MAX_SCALE)


class DocumentWish(Strict):
    """A text that may bear on the prompt."""

    name: Annotated[str, StringConstraints(min_length=1, max_length=MAX_NAME, pattern=r"^[^\x00-\x1f\x7f]+$")]
    text: str


class Documented(Strict):
    """Documents, of which the passages that bear on the user's last turn are put in front of it."""

    context: list[DocumentWish] = Field(
        default=[],
        max_length=MAX_DOCUMENTS,
        description=f"Documents; what bears on the last turn is shown. {MAX_CHARACTERS:,} characters in all.",
    )
    context_tokens: int | None = Field(
        default=None, ge=LEAST_CONTEXT, lt=1 << 31, description="Tokens that are shown of them at most."
    )

    @property
    def documents(self) -> dict[str, Any]:
        """As fields of a Wish; raises RequestError."""
        if self.context_tokens is not None and not self.context:
            raise RequestError("context_tokens needs documents", hint="send them in context")
        found = checked([Document(name=each.name, text=each.text) for each in self.context])
        return {"documents": found, "context_tokens": self.context_tokens}


class XpmOptions(Documented):
    """What no other server has: who answers, with what strength, and what is shown of documents."""

    experts: list[ExpertWish] | None = Field(
        default=None, max_length=MAX_EXPERTS, description="Who acts, beside `model`'s."
    )
    exclude: list[ModelName] = Field(default=[], max_length=1000, description="Whom the router passes over.")
    max_experts: int | None = Field(default=None, ge=0, le=MAX_EXPERTS, description="How many the router may choose.")
    priority: int = Field(default=DEFAULT_PRIORITY, ge=0, le=9, description="0 comes last, 9 first.")
    timeout_ms: int | None = Field(default=None, ge=1, le=86_400_000)
    rope: Annotated[str, StringConstraints(max_length=40)] | None = Field(
        default=None, description="How positions are scaled beyond the base's own, e.g. `yarn` or `yarn:4`."
    )
    kv_cache: Literal["float", "int8", "k8v4"] | None = Field(
        default=None, description="How keys and values are kept; `int8` halves their memory."
    )
    window: int | None = Field(
        default=None, ge=16, le=1 << 24, description="How many of the last tokens are looked at."
    )
    sinks: int | None = Field(default=None, ge=0, le=1 << 24, description="And of the first; 4 if there is a window.")

    @property
    def wishes(self) -> dict[str, Any]:
        """As fields of a Wish."""
        return {
            "experts": tuple(Scaled(id=each.id, scale=each.scale) for each in self.experts or ()),
            "exclude": tuple(self.exclude),
            "max_experts": self.max_experts,
            "priority": self.priority,
            "rope": RopeScaling.parse(self.rope) if self.rope is not None else None,
            "cache": self._cache,
            "timeout_s": self.timeout_ms / 1e3 if self.timeout_ms is not None else None,
            **self.documents,
        }

    @property
    def _cache(self) -> CacheSettings | None:
        if self.kv_cache is None and self.window is None and self.sinks is None:
            return None
        return CacheSettings(kind=self.kv_cache or "float", window=self.window, sinks=self.sinks)


class StreamOptions(Strict):
    include_usage: bool | None = None


class GrammarWish(Strict):
    """A grammar by itself; a text alone is GBNF."""

    kind: Literal["gbnf", "json_schema", "regex", "lark"] = "gbnf"
    text: str = Field(max_length=2 << 20)


class Sampling(Strict):
    """How tokens are drawn: OpenAI's fields, and those that vLLM added."""

    temperature: float | None = Field(None, ge=0, lt=100)
    top_p: float | None = Field(None, gt=0, le=1)
    top_k: int | None = Field(None, ge=-1, le=1 << 30, description="0 and -1: all.")
    min_p: float | None = Field(None, ge=0, lt=1)
    repetition_penalty: float | None = Field(None, gt=0, lt=100)
    presence_penalty: float | None = Field(None, ge=-2, le=2)
    frequency_penalty: float | None = Field(None, ge=-2, le=2)
    logit_bias: (
        dict[Annotated[str, StringConstraints(pattern=r"^[0-9]{1,9}$")], Annotated[float, Field(ge=-100, le=100)]]
        | None
    ) = Field(None, max_length=1024)
    seed: int | None = Field(None, ge=-(1 << 63), lt=1 << 63)
    stop: StopText | Annotated[list[StopText], Field(max_length=MAX_STOPS)] | None = None

    @property
    def settings(self) -> dict[str, Any]:
        """Those that were given, as ``SamplingParams`` names them."""
        names = ("temperature", "top_p", "min_p", "repetition_penalty", "presence_penalty", "frequency_penalty")
        found = {name: value for name in names if (value := getattr(self, name)) is not None}
        if self.top_k is not None:
            found["top_k"] = max(0, self.top_k)
        if self.logit_bias:
            found["logit_bias"] = {int(token): value for token, value in self.logit_bias.items()}
        if self.seed is not None:
            found["seed"] = self.seed % (1 << 63)
        if self.stop:
            found["stop"] = (self.stop,) if isinstance(self.stop, str) else tuple(self.stop)
        return found


class OpenAIRequest(Sampling):
    """What chat completions and completions share."""

    model: ModelName = Field(description="`auto`, `base`, or the NAME or NAME@VERSION of an expert.")
    n: int | None = Field(None, ge=1, le=MAX_CHOICES)
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: int | None = Field(None, ge=0, lt=1 << 31)
    response_format: dict[str, Any] | None = Field(
        None, description="`text`, `json_object`, or `json_schema` with a schema."
    )
    grammar: GrammarWish | str | None = None
    xpm: XpmOptions = XpmOptions()

    @property
    def includes_usage(self) -> bool:
        return bool(self.stream_options and self.stream_options.include_usage)

    @property
    def grammar_settings(self) -> dict[str, Any]:
        """``grammar`` as a setting, if the client says anything about the form of the answer."""
        return grammar_of(self.grammar, self.response_format)


def grammar_of(grammar: GrammarWish | str | None, response_format: dict[str, Any] | None) -> dict[str, Any]:
    """``grammar`` as a setting, {} where nothing is said; raises RequestError or ConstraintError."""
    if grammar is not None and response_format is not None:
        raise RequestError("a grammar and another form of the answer contradict each other", hint="give one of them")
    if isinstance(grammar, str):
        return {"grammar": Grammar(kind="gbnf", text=grammar)}
    if grammar is not None:
        return {"grammar": Grammar(kind=grammar.kind, text=grammar.text)}
    return {"grammar": Grammar.of_response_format(response_format)} if response_format is not None else {}


class ActingReply(Reply):
    id: str
    version: str
    scale: float
    reason: str


class KeptReply(Reply):
    """What was shown of a document; ``lines`` are the first and last of what follows without a gap, from 1."""

    name: str
    num_passages: int
    num_kept: int
    num_tokens: int
    num_left_out_tokens: int
    lines: list[tuple[int, int]]


class ContextReply(Reply):
    """What was shown of documents: ``num_tokens`` of at most ``budget``."""

    num_tokens: int
    budget: int
    documents: list[KeptReply]


class XpmReply(Reply):
    """Who answered, and why, and what was shown of documents."""

    experts: list[ActingReply]
    reason: str
    confidence: float | None = None
    task: str = ""
    notes: list[str] = []
    finish_reason: str | None = None
    context: ContextReply | None = None


def xpm_reply(choice: Choice, *, notes: tuple[str, ...] = (), finish_reason: str | None = None) -> XpmReply:
    return XpmReply(
        experts=[
            ActingReply(id=each.name, version=each.version, scale=each.scale, reason=each.reason)
            for each in choice.experts
        ],
        reason=choice.reason,
        confidence=choice.confidence,
        task=choice.task,
        notes=list(notes),
        finish_reason=finish_reason,
        context=_context_reply(choice.context) if choice.context else None,
    )


def _context_reply(chosen: Chosen) -> ContextReply:
    return ContextReply(
        num_tokens=chosen.num_tokens,
        budget=chosen.budget,
        documents=[
            KeptReply(
                name=each.name,
                num_passages=each.num_passages,
                num_kept=each.num_kept,
                num_tokens=each.num_tokens,
                num_left_out_tokens=each.num_left_out_tokens,
                lines=list(each.lines),
            )
            for each in chosen.documents
        ],
    )
