"""What is asked of ``/v1/messages``, as a wish."""

import json
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import Field

from xpm_runtime import Message, RequestError
from xpm_runtime.server.api.fields import MAX_NAME, MAX_STOPS, ModelName, StopText, Strict, XpmOptions
from xpm_runtime.server.api.openai_messages import MAX_MESSAGES, ToolName, merged, tools_of
from xpm_runtime.server.tools import MAX_TOOLS, Tool, written_call, written_result
from xpm_runtime.server.wish import Wish


class TextBlock(Strict):
    """Text; other types are refused."""

    type: str = Field(max_length=MAX_NAME)
    text: str | None = None


class Block(TextBlock):
    """A part of a turn: text, a call, or what came of one; other types are refused."""

    id: str | None = Field(None, max_length=MAX_NAME)
    name: ToolName | None = None
    input: dict[str, Any] | None = None
    tool_use_id: str | None = Field(None, max_length=MAX_NAME)
    content: str | list[TextBlock] | None = None
    is_error: bool | None = None


class Turn(Strict):
    role: Literal["user", "assistant"]
    content: str | list[Block]


class SystemBlock(Strict):
    type: Literal["text"]
    text: str


class AnthropicTool(Strict):
    name: ToolName
    description: str | None = None
    input_schema: dict[str, Any]
    type: Literal["custom"] | None = None
    strict: bool | None = None

    @property
    def tool(self) -> Tool:
        return Tool(
            name=self.name, description=self.description or "", schema=self.input_schema, is_strict=bool(self.strict)
        )


class ToolChoice(Strict):
    type: Literal["auto", "any", "tool", "none"]
    name: ToolName | None = None
    disable_parallel_tool_use: bool | None = None


class Prompted(Strict):
    """What a message and the counting of its tokens share."""

    model: ModelName
    messages: Annotated[list[Turn], Field(min_length=1, max_length=MAX_MESSAGES)]
    system: str | list[SystemBlock] | None = None
    tools: list[AnthropicTool] | None = Field(None, max_length=MAX_TOOLS)
    tool_choice: ToolChoice | None = None

    def wish(self, settings: dict[str, Any], options: XpmOptions) -> Wish:
        """Raises RequestError where fields contradict each other or ask for what can't be done."""
        choice = self.tool_choice or ToolChoice(type="auto", name=None, disable_parallel_tool_use=None)
        if choice.type == "tool" and choice.name is None:
            raise RequestError("tool_choice of type tool needs a name")
        tools = tools_of(
            [each.tool for each in self.tools or ()],
            {"any": "required", "none": "none"}.get(choice.type, "auto"),  # type: ignore[arg-type]
            only=choice.name if choice.type == "tool" else None,
            is_parallel=not choice.disable_parallel_tool_use,
        )
        system = self.system if isinstance(self.system, str) else "\n".join(each.text for each in self.system or ())
        turns = [Message(each.role, _text(each.content)) for each in self.messages]
        prompt = merged([*([Message("system", system)] if system else []), *turns])
        return Wish(prompt=prompt, model=self.model, settings=settings, tools=tools, **options.wishes)


class MessagesRequest(Prompted):
    max_tokens: int = Field(ge=1, lt=1 << 31)
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, gt=0, le=1)
    top_k: int | None = Field(None, ge=0, lt=1 << 31)
    stop_sequences: list[StopText] | None = Field(None, max_length=MAX_STOPS)
    stream: bool | None = None
    thinking: dict[str, Any] | None = None
    xpm: XpmOptions = XpmOptions()

    @property
    def settings(self) -> dict[str, Any]:
        names = ("max_tokens", "temperature", "top_p", "top_k")
        found = {name: value for name in names if (value := getattr(self, name)) is not None}
        return found | ({"stop": tuple(self.stop_sequences)} if self.stop_sequences else {})


def _text(content: str | Sequence[Block]) -> str:
    """A turn as the base's chat template takes it; raises RequestError if a part can't be told as text."""
    return content if isinstance(content, str) else "\n".join(map(_block_text, content))


def _block_text(block: Block) -> str:
    match block.type:
        case "tool_use":
            return written_call(block.name or "", json.dumps(block.input or {}, ensure_ascii=False))
        case "tool_result":
            content = block.content or ""
            said = content if isinstance(content, str) else "\n".join(map(_plain_text, content))
            return written_result(said)
        case "thinking" | "redacted_thinking":
            return ""
    return _plain_text(block)


def _plain_text(block: TextBlock) -> str:
    if block.type != "text":
        raise RequestError(f"a message has a part of type {block.type[:40]!r}", hint="this server reads text alone")
    return block.text or ""
