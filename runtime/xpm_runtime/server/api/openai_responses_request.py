"""What is asked of ``/v1/responses``, as a wish."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from xpm_runtime import Grammar, Message, RequestError
from xpm_runtime.server.api.fields import MAX_NAME, ModelName, Strict, XpmOptions
from xpm_runtime.server.api.openai_messages import MAX_MESSAGES, ToolName, merged, tools_of
from xpm_runtime.server.tools import MAX_TOOLS, Tool, written_call, written_result
from xpm_runtime.server.wish import Wish


class InputPart(Strict):
    type: str = Field(max_length=MAX_NAME)
    text: str | None = None
    refusal: str | None = None


class InputItem(Strict):
    """A message, a call, or what came of one; other types are refused."""

    type: str | None = Field(None, max_length=MAX_NAME)
    role: Literal["system", "developer", "user", "assistant"] | None = None
    content: str | list[InputPart] | None = None
    name: ToolName | None = None
    arguments: str | None = None
    call_id: str | None = Field(None, max_length=MAX_NAME)
    output: str | list[InputPart] | None = None


class ResponseTool(Strict):
    type: str = Field(max_length=MAX_NAME)
    name: ToolName | None = None
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class FunctionChoice(Strict):
    type: Literal["function"]
    name: ToolName


class TextOptions(Strict):
    model_config = ConfigDict(strict=True, extra="ignore", protected_namespaces=())

    format: dict[str, Any] | None = None


class ResponsesRequest(Strict):
    model: ModelName
    input: (
        Annotated[str, Field(min_length=1)] | Annotated[list[InputItem], Field(min_length=1, max_length=MAX_MESSAGES)]
    )
    instructions: str | None = None
    max_output_tokens: int | None = Field(None, ge=1, lt=1 << 31)
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, gt=0, le=1)
    top_logprobs: int | None = Field(None, ge=0, le=20)
    presence_penalty: float | None = Field(None, ge=-2, le=2)
    frequency_penalty: float | None = Field(None, ge=-2, le=2)
    stream: bool | None = None
    store: bool | None = None
    background: bool | None = None
    previous_response_id: str | None = None
    text: TextOptions | None = None
    tools: list[ResponseTool] | None = Field(None, max_length=MAX_TOOLS)
    tool_choice: Literal["none", "auto", "required"] | FunctionChoice | None = None
    parallel_tool_calls: bool | None = None
    metadata: dict[str, str] | None = None
    xpm: XpmOptions = XpmOptions()

    @property
    def wish(self) -> Wish:
        """Raises RequestError where fields contradict each other or ask for what can't be done."""
        if self.previous_response_id is not None or self.background:
            raise RequestError("this server remembers no responses", hint="send the whole conversation as input")
        names = ("temperature", "top_p", "presence_penalty", "frequency_penalty")
        settings = {name: value for name in names if (value := getattr(self, name)) is not None}
        if self.max_output_tokens is not None:
            settings["max_tokens"] = self.max_output_tokens
        if self.top_logprobs is not None:
            settings["logprobs"] = self.top_logprobs
        if self.text is not None and self.text.format is not None:
            settings["grammar"] = _grammar(self.text.format)
        only = self.tool_choice.name if isinstance(self.tool_choice, FunctionChoice) else None
        tools = tools_of(
            [_tool(each) for each in self.tools or ()],
            self.tool_choice if isinstance(self.tool_choice, str) else "auto",
            only=only,
            is_parallel=self.parallel_tool_calls is not False and only is None,
        )
        if tools.may_call and settings.get("grammar") is not None:
            raise RequestError("tools and a form of the answer contradict each other", hint='set tool_choice to "none"')
        said = [Message("user", self.input)] if isinstance(self.input, str) else [_turn(each) for each in self.input]
        told = [Message("system", self.instructions)] if self.instructions else []
        return Wish(prompt=merged([*told, *said]), model=self.model, settings=settings, tools=tools, **self.xpm.wishes)


def _grammar(form: Mapping[str, Any]) -> Grammar | None:
    """``format`` has the schema where chat completions have it one level below."""
    return Grammar.of_response_format({**form, "json_schema": {"schema": form.get("schema")}})


def _tool(tool: ResponseTool) -> Tool:
    if tool.type != "function" or tool.name is None:
        raise RequestError(f"a tool of type {tool.type[:40]!r} is not supported", hint="this server knows functions")
    return Tool(name=tool.name, description=tool.description or "", schema=tool.parameters, is_strict=bool(tool.strict))


def _turn(item: InputItem) -> Message:
    match item.type or "message":
        case "message":
            role = "system" if item.role == "developer" else item.role or "user"
            return Message(role, _text(item.content))
        case "function_call":
            return Message("assistant", written_call(item.name or "", item.arguments or "{}"))
        case "function_call_output":
            return Message("user", written_result(_text(item.output)))
    raise RequestError(
        f"an input of type {str(item.type)[:40]!r} is not supported", hint="this server reads text alone"
    )


def _text(content: str | Sequence[InputPart] | None) -> str:
    if content is None or isinstance(content, str):
        return content or ""
    if other := next(
        (each.type for each in content if each.type not in ("input_text", "output_text", "refusal", "text")), None
    ):
        raise RequestError(f"a message has a part of type {other[:40]!r}", hint="this server reads text alone")
    return "".join(each.text or each.refusal or "" for each in content)
