"""OpenAI's messages and tools, as conversations and ``Tools``."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints

from xpm_runtime import Message, RequestError
from xpm_runtime.server.api.fields import MAX_NAME, Strict
from xpm_runtime.server.tools import MAX_TOOLS, NO_TOOLS, Tool, Tools, written_call, written_result

MAX_MESSAGES = 4096
ToolName = Annotated[str, StringConstraints(pattern=r"^[a-zA-Z0-9_.-]{1,64}$")]


class ContentPart(Strict):
    """Text; other types are refused."""

    type: str
    text: str | None = None
    refusal: str | None = None


class CalledFunction(Strict):
    name: ToolName
    arguments: str


class ToolCall(Strict):
    id: str = Field("", max_length=MAX_NAME)
    type: Literal["function"] = "function"
    function: CalledFunction


class ChatMessage(Strict):
    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: str | list[ContentPart] | None = None
    name: str | None = Field(None, max_length=MAX_NAME)
    tool_calls: list[ToolCall] | None = Field(None, max_length=MAX_TOOLS)
    tool_call_id: str | None = Field(None, max_length=MAX_NAME)


class FunctionTool(Strict):
    name: ToolName
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None

    @property
    def tool(self) -> Tool:
        return Tool(
            name=self.name, description=self.description or "", schema=self.parameters, is_strict=bool(self.strict)
        )


class ChatTool(Strict):
    type: Literal["function"]
    function: FunctionTool


class NamedFunction(Strict):
    name: ToolName


class NamedChoice(Strict):
    type: Literal["function"]
    function: NamedFunction


def text_of(content: str | Sequence[ContentPart] | None) -> str:
    """The text of a message's parts; raises RequestError if one is none."""
    if content is None or isinstance(content, str):
        return content or ""
    if other := next((each.type for each in content if each.type not in ("text", "refusal")), None):
        raise RequestError(f"a message has a part of type {other[:40]!r}", hint="this server reads text alone")
    return "".join(each.text or each.refusal or "" for each in content)


def conversation(messages: Sequence[ChatMessage]) -> list[Message]:
    """As the base's chat template takes it: system, user and assistant; what was called and what came of it is text."""
    return merged([_turn(each) for each in messages])


def _turn(message: ChatMessage) -> Message:
    text = text_of(message.content)
    match message.role:
        case "system" | "developer":
            return Message("system", text)
        case "tool" | "function":
            return Message("user", written_result(text))
        case "assistant":
            calls = [written_call(each.function.name, each.function.arguments) for each in message.tool_calls or ()]
            return Message("assistant", "\n".join([*([text] if text else []), *calls]))
    return Message("user", text)


def merged(messages: Sequence[Message]) -> list[Message]:
    """Without two turns of the system, or two results of calls, behind one another: templates may refuse them."""
    found: list[Message] = []
    for each in messages:
        last = found[-1] if found else None
        both_system = last is not None and last.role == each.role == "system"
        both_results = last is not None and all(
            m.content.startswith("<tool_response>") and m.role == "user" for m in (last, each)
        )
        if last is not None and (both_system or both_results):
            found[-1] = Message(each.role, f"{last.content}\n{each.content}")
        else:
            found.append(each)
    return found


def tools_of(
    tools: Sequence[Tool],
    choice: Literal["none", "auto", "required"],
    *,
    only: str | None = None,
    is_parallel: bool = True,
) -> Tools:
    """Raises RequestError if two have one name, or the one that must be called is not among them."""
    if not tools:
        if choice == "required" or only:
            raise RequestError("tool_choice asks for a call, and there are no tools")
        return NO_TOOLS
    names = [each.name for each in tools]
    if len(set(names)) < len(names):
        raise RequestError("two tools have one name")
    if only is not None and only not in names:
        raise RequestError(f"tool_choice names {only}, which is not among the tools")
    return Tools(tools=tuple(tools), mode="required" if only else choice, only=only, is_parallel=is_parallel)
