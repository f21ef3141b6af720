"""``/v1/messages``, Anthropic's protocol."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Annotated, Any, Literal

from fastapi import Body, Request
from fastapi.responses import Response

from xpm_runtime import GenerationResult, RequestError
from xpm_runtime.server.api.anthropic_request import MessagesRequest, Prompted
from xpm_runtime.server.api.fields import Reply, XpmOptions, XpmReply, xpm_reply
from xpm_runtime.server.api.openai_chat import new_id
from xpm_runtime.server.api.replies import Document, events, finished, service_of, tenant_of, whole
from xpm_runtime.server.api.routes import new_router
from xpm_runtime.server.errors import ApiError
from xpm_runtime.server.service import Answer, Service
from xpm_runtime.server.tools import CallBegun, CallEnded, CallPiece, CallReader, Text, read_answer

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
    service = service_of(request)
    answer = await service.begin(body.wish(body.settings, body.xpm), tenant=tenant_of(request))
    if body.stream:
        return events(answer, _events(service, answer, body), anthropic_error)
    (done,) = await finished(request, answer)
    text, calls = read_answer(done.text, answer.tools)
    stopped_by = service.stopped_by(done.result, body.stop_sequences or ())
    content = [_text_block(text)] if text or not calls else []
    content += [_call_block(each.name, _parsed(each.arguments)) for each in calls]
    return whole(
        {
            **_head(body),
            "content": content,
            **_stop(done.result, stopped_by, has_calls=bool(calls)),
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


async def _events(service: Service, answer: Answer, body: MessagesRequest) -> AsyncIterator[tuple[str, Document]]:
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
        stopped_by = service.stopped_by(delta.result, body.stop_sequences or ())
        stop = _stop(delta.result, stopped_by, has_calls=bool(reader.num_calls))
        told_by = xpm_reply(answer.choice, notes=delta.notes, finish_reason=delta.result.finish_reason)
        yield event("message_delta", delta=stop, usage=_usage(delta.result), xpm=told_by.model_dump())
    yield event("message_stop")


def _begun(piece: Text | CallBegun) -> dict[str, Any]:
    return _text_block("") if isinstance(piece, Text) else _call_block(piece.name, {})


def _stop(result: GenerationResult, stopped_by: str | None, *, has_calls: bool) -> dict[str, Any]:
    reason = "tool_use" if has_calls else "stop_sequence" if stopped_by else "end_turn"
    return {"stop_reason": reason if result.finish_reason == "stop" else "max_tokens", "stop_sequence": stopped_by}


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
