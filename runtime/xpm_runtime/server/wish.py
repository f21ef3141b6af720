"""What a client wishes, whatever protocol it spoke."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from xpm_runtime import CacheSettings, Message, RequestError, RopeScaling
from xpm_runtime.passages.choose import Document
from xpm_runtime.server.host import Scaled
from xpm_runtime.server.tools import NO_TOOLS, Tools, is_result

MAX_CHOICES = 4
DEFAULT_PRIORITY = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """``prompt`` is a conversation, a text that is continued as it is, or token ids.

    ``context`` bounds the tokens of prompt and answer together. ``settings`` are the ``SamplingParams`` that the client
    sets; what it leaves out the experts' manifests say. ``rope`` is how positions are scaled where that is needed,
    ``cache`` how keys and values are kept; as the server was started if None. Of ``documents`` what bears on the last
    turn is put in front of it, at most ``context_tokens``; None for what there is room for.
    """

    prompt: Sequence[Message] | str | Sequence[int]
    model: str = "auto"
    experts: tuple[Scaled, ...] = ()
    exclude: tuple[str, ...] = ()
    max_experts: int | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    tools: Tools = NO_TOOLS
    num_choices: int = 1
    priority: int = DEFAULT_PRIORITY
    timeout_s: float | None = None
    context: int | None = None
    rope: RopeScaling | None = None
    documents: tuple[Document, ...] = ()
    context_tokens: int | None = None
    cache: CacheSettings | None = None

    def __post_init__(self) -> None:
        if not self.prompt:
            raise RequestError("the prompt is empty")
        if self.documents and not self.last_turn_of_conversation:
            raise RequestError("documents are put in front of a user's turn", hint="send messages with one")

    @property
    def last_turn(self) -> str:
        """What the router reads: the last thing that the user said."""
        return self.prompt if isinstance(self.prompt, str) else self.last_turn_of_conversation

    @property
    def earlier_turns(self) -> tuple[str, ...]:
        """What the user said before that, without what calls came to."""
        messages = () if isinstance(self.prompt, str) else self.prompt
        said = [each.content for each in messages if isinstance(each, Message) and each.role == "user"]
        return tuple(each for each in said[:-1] if not is_result(each))

    @property
    def last_turn_of_conversation(self) -> str:
        """The same, "" where the prompt is no conversation."""
        messages = () if isinstance(self.prompt, str) else self.prompt
        said = [each.content for each in messages if isinstance(each, Message) and each.role == "user"]
        return said[-1] if said else ""
