"""``/v1/messages``, Anthropic's protocol."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from typing import Annotated, Any, Literal

from fastapi import Body, Request
from fastapi.responses import Response
from pydantic import Field

from xpm_runtime import GenerationResult, Message, RequestError
from xpm_runtime.server.api.fields import (
    MAX_NAME,
    MAX_STOPS,
    ModelName,
    Reply,
    StopText,
    Strict,
    XpmOptions,
    XpmReply,
    xpm_reply,
)
from xpm_runtime.server.api.openai_chat import new_id
from xpm_runtime.server.api.openai_messages import MAX_MESSAGES, ToolName, merged, tools_of
from xpm_runtime.server.api.replies import Document, events, finished, service_of, tenant_of, whole
from xpm_runtime.server.api.routes import new_router
from xpm_runtime.server.errors import ApiError
from xpm_runtime.server.service import Answer
from xpm_runtime.server.tools import (
    MAX_TOOLS,
    CallBegun,
    CallEnded,
    CallPiece,
    CallReader,
    Text,
    Tool,
    read_answer,
    written_call,
    written_result,
)
from xpm_runtime.server.wish import Wish

router = new_router("Anthropic")


class ErrorBody(Reply):
    type: str
    message: str


class AnthropicErrorReply(Reply):
    type: Literal["error"] = "error"
    error: ErrorBody


def anthropic_error(error: ApiError) -> dict[str, Any]:
    return AnthropicErrorReply(error=ErrorBody(type=error.kind, message=error.message)).model_dump()


RESPONSES: dict[int | str, dict[str, Any]] = {
    status: {"model": AnthropicErrorReply} for status in (400, 401, 403, 404, 413, 421, 429, 500, 503)
}


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


class ReplyBlock(Reply):
    type: Literal["text", "tool_use"]
    text: str | None = None
    id: str | None = None
    name: str | None = None
    input: dict[str, Any] | None = None
    citations: None = None
    caller: dict[str, str] | None = None


class AnthropicUsage(Reply):
    """What is null is Anthropic's alone, and wanted by its clients."""

    input_tokens: int
    output_tokens: int
    cache_read_input_tokens: int = 0
    cache_creation_input_tokens: int = 0
    cache_creation: None = None
    inference_geo: None = None
    output_tokens_details: None = None
    server_tool_use: None = None
    service_tier: Literal["standard"] = "standard"


class MessageReply(Reply):
    id: str
    type: Literal["message"] = "message"
    role: Literal["assistant"] = "assistant"
    model: str
    content: list[ReplyBlock]
    stop_reason: Literal["end_turn", "max_tokens", "stop_sequence", "tool_use"] | None
    stop_sequence: str | None
    stop_details: None = None
    container: None = None
    usage: AnthropicUsage
    xpm: XpmReply | None = None


@router.post(
    "/v1/messages",
    response_model=MessageReply,
    responses={**RESPONSES, 200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}}},
    summary="Answer a conversation",
)
async def messages(request: Request, body: Annotated[MessagesRequest, Body()]) -> Response:
    if body.thinking and body.thinking.get("type") == "enabled":
        raise RequestError("thinking is not supported", hint="leave it out")
    answer = await service_of(request).begin(body.wish(body.settings, body.xpm), tenant=tenant_of(request))
    if body.stream:
        return events(answer, _events(answer, body), anthropic_error)
    (done,) = await finished(request, answer)
    text, calls = read_answer(done.text, answer.tools)
    content = [_text_block(text)] if text or not calls else []
    content += [_call_block(each.name, _parsed(each.arguments)) for each in calls]
    return whole(
        {
            **_head(body),
            "content": content,
            **_stop(done.result, has_calls=bool(calls)),
            "usage": _usage(done.result),
            "xpm": xpm_reply(answer.choice, notes=done.notes, finish_reason=done.result.finish_reason).model_dump(),
        }
    )


def _head(body: MessagesRequest) -> dict[str, Any]:
    kind = {"type": "message", "role": "assistant", "model": body.model}
    return {"id": new_id("msg"), **kind, "stop_details": None, "container": None}


def _text_block(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text, "citations": None}


def _call_block(name: str, arguments: dict[str, Any]) -> dict[str, Any]:
    call = {"name": name, "input": arguments, "caller": {"type": "direct"}}
    return {"type": "tool_use", "id": new_id("toolu"), **call}


def _parsed(arguments: str) -> dict[str, Any]:
    """A call's arguments; {} of a call that was cut off."""
    try:
        found = json.loads(arguments)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


async def _events(answer: Answer, body: MessagesRequest) -> AsyncIterator[tuple[str, Document]]:
    """Blocks one after the other: one of text, if there is any, then one for each call."""

    def event(kind: str, **fields: Any) -> tuple[str, Document]:
        return kind, {"type": kind, **fields}

    begun = {**_head(body), "content": [], "stop_reason": None, "stop_sequence": None, "usage": _usage(None)}
    yield event("message_start", message={**begun, "xpm": xpm_reply(answer.choice).model_dump()})
    reader, index, is_text = CallReader(answer.tools), -1, False
    async for _, delta in answer.deltas():
        for piece in reader.feed(delta.text, final=delta.result is not None):
            if isinstance(piece, Text | CallBegun) and not (is_text and isinstance(piece, Text)):
                if is_text:
                    yield event("content_block_stop", index=index)
                index, is_text = index + 1, isinstance(piece, Text)
                yield event("content_block_start", index=index, content_block=_begun(piece))
            match piece:
                case Text(text):
                    yield event("content_block_delta", index=index, delta={"type": "text_delta", "text": text})
                case CallPiece(_, arguments):
                    told = {"type": "input_json_delta", "partial_json": arguments}
                    yield event("content_block_delta", index=index, delta=told)
                case CallEnded():
                    yield event("content_block_stop", index=index)
        if delta.result is None:
            continue
        if index < 0:
            index, is_text = 0, True
            yield event("content_block_start", index=0, content_block=_begun(Text("")))
        if is_text or reader.num_ended < reader.num_calls:
            yield event("content_block_stop", index=index)
        stop = _stop(delta.result, has_calls=bool(reader.num_calls))
        told_by = xpm_reply(answer.choice, notes=delta.notes, finish_reason=delta.result.finish_reason)
        yield event("message_delta", delta=stop, usage=_usage(delta.result), xpm=told_by.model_dump())
    yield event("message_stop")


def _begun(piece: Text | CallBegun) -> dict[str, Any]:
    return _text_block("") if isinstance(piece, Text) else _call_block(piece.name, {})


def _stop(result: GenerationResult, *, has_calls: bool) -> dict[str, Any]:
    if result.finish_reason != "stop":
        return {"stop_reason": "max_tokens", "stop_sequence": None}
    return {"stop_reason": "tool_use" if has_calls else "end_turn", "stop_sequence": None}


def _usage(result: GenerationResult | None) -> dict[str, Any]:
    """The prompt's tokens that were known are counted apart, as Anthropic does."""
    reused = result.num_reused_tokens if result else 0
    usage = AnthropicUsage(
        input_tokens=result.num_prompt_tokens - reused if result else 0,
        output_tokens=len(result.token_ids) if result else 0,
        cache_read_input_tokens=reused,
    )
    return usage.model_dump()


class CountReply(Reply):
    input_tokens: int


@router.post(
    "/v1/messages/count_tokens", response_model=CountReply, responses=RESPONSES, summary="Count a prompt's tokens"
)
async def count_tokens(request: Request, body: Annotated[Prompted, Body()]) -> CountReply:
    service = service_of(request)
    return CountReply(input_tokens=await asyncio.to_thread(service.count_tokens, body.wish({}, XpmOptions())))
