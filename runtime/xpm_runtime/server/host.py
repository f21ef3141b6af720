"""What the server asks of whoever knows packages: who answers, with what settings, and what is installed."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from xpm_runtime import EngineError, Grammar
from xpm_runtime.passages.choose import Chosen


class UnknownModelError(EngineError):
    """A model or an expert that is not installed here."""

    code = "unknown-model"


class InUseError(EngineError):
    """An expert that something runs on."""

    code = "in-use"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scaled:
    """An expert by its name, or NAME@VERSION, and how strongly it acts: 0 switches it off, 1 is as it was trained."""

    id: str
    scale: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Acting:
    """An expert that answers. ``key`` is its name in the engine, which its version is part of."""

    name: str
    version: str
    key: str
    scale: float
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """What the router thought of an expert; ``probability`` that it answers the prompt."""

    name: str
    probability: float
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """``experts`` in the order in which they act; ``settings`` are ``SamplingParams`` by name,
    where the client says nothing.

    ``confidence`` and ``candidates`` are the router's, None and () where the client named who answers. ``grammar_of``
    gives the grammar that the experts state for a prompt, which ``settings`` have for the user's alone; ``context`` is
    what is shown of documents in front of that, None if there are none.
    """

    experts: tuple[Acting, ...]
    settings: Mapping[str, Any]
    reason: str
    task: str = ""
    confidence: float | None = None
    candidates: tuple[Candidate, ...] = ()
    ms: float = 0.0
    grammar_of: Callable[[str], Grammar | None] | None = None
    context: Chosen | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """An installed package, as lists of models show it; ``is_loaded`` says whether the engine has it."""

    name: str
    version: str
    kind: str
    description: str = ""
    digest: str = ""
    num_bytes: int = 0
    license: str = ""
    is_loaded: bool = False
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reloaded:
    """What is different since the lock was read before, as NAME@VERSION."""

    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    note: str = ""


class Host(Protocol):
    """Every method may be called from any thread. Names are of what is installed: none is a path,
    nothing is fetched for one."""

    @property
    def base(self) -> Listed: ...

    def route(
        self,
        prompt: str,
        *,
        model: str = "auto",
        forced: Sequence[Scaled] = (),
        excluded: Sequence[str] = (),
        max_experts: int | None = None,
        earlier: Sequence[str] = (),
    ) -> Choice:
        """Who answers a prompt.

        Args:
            earlier: what the user said before it: whoever answered that goes on where the
                prompt means nothing by itself.
            model: "auto" lets the router choose, "base" (or the base's name) nobody, else NAME or
                NAME@VERSION of an expert.
            forced: who acts beside the model's expert, or instead of those that the router would choose.
        Raises:
            UnknownModelError: a name is not installed. RequestError: the wishes contradict each other.
        """

    def attach(self, keys: Sequence[str]) -> float:
        """Have experts in the engine before they are asked for; milliseconds. Raises
        AdapterMismatchError or CapacityError."""

    def load(self, id: str) -> float:
        """``attach`` an expert with what it requires, by NAME or NAME@VERSION; raises UnknownModelError too."""

    def unload(self, id: str) -> None:
        """Take an expert out of the engine; the next request for it brings it back.

        Raises:
            UnknownModelError: it is not installed. InUseError: something runs on it.
        """

    def list_experts(self) -> Sequence[Listed]: ...

    def embed(self, texts: Sequence[str]) -> tuple[str, list[list[float]], int] | None:
        """(the embedder's name, a vector of length 1 for each text, tokens read); None where
        no embedder is configured."""

    def reload(self) -> Reloaded:
        """Read the lock again. What runs is answered by what it began with."""
