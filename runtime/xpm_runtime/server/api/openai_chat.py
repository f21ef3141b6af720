"""``/v1/chat/completions``."""

import uuid
from collections.abc import AsyncIterator, Sequence
from typing import Annotated, Any, Literal

from fastapi import Body, Request
from fastapi.responses import Response
from pydantic import Field

from xpm_runtime import GenerationResult, RequestError, TokenReport
from xpm_runtime.server.api.fields import OpenAIRequest, Reply, XpmReply, xpm_reply
from xpm_runtime.server.api.openai_errors import RESPONSES, openai_error
from xpm_runtime.server.api.openai_messages import (
    MAX_MESSAGES,
    ChatMessage,
    ChatTool,
    NamedChoice,
    conversation,
    tools_of,
)
from xpm_runtime.server.api.replies import Document, events, finished, service_of, tenant_of, whole
from xpm_runtime.server.api.routes import new_router
from xpm_runtime.server.service import Answer
from xpm_runtime.server.tools import MAX_TOOLS, CallBegun, CallPiece, CallReader, Piece, Text, read_answer
from xpm_runtime.server.wish import Wish

router = new_router("OpenAI")
FINGERPRINT = "fp_xpm"  # clients want a text; which experts answered says more
FinishReason = Literal["stop", "length", "tool_calls"]


class ChatRequest(OpenAIRequest):
    messages: Annotated[list[ChatMessage], Field(min_length=1, max_length=MAX_MESSAGES)]
    max_completion_tokens: int | None = Field(None, ge=1, lt=1 << 31)
    logprobs: bool | None = None
    top_logprobs: int | None = Field(None, ge=0, le=20)
    tools: list[ChatTool] | None = Field(None, max_length=MAX_TOOLS)
    tool_choice: Literal["none", "auto", "required"] | NamedChoice | None = None
    parallel_tool_calls: bool | None = None
    modalities: list[str] | None = None

    @property
    def wish(self) -> Wish:
        """Raises RequestError where fields contradict each other or ask for what can't be done."""
        if self.modalities and self.modalities != ["text"]:
            raise RequestError("modalities can be text alone", context=f"got {self.modalities}"[:200])
        if self.top_logprobs is not None and not self.logprobs:
            raise RequestError("top_logprobs needs logprobs to be true")
        settings = self.settings | self.grammar_settings
        if (most := self.max_completion_tokens or self.max_tokens) is not None:
            settings["max_tokens"] = most
        if self.logprobs:
            settings["logprobs"] = self.top_logprobs or 0
        named = isinstance(self.tool_choice, NamedChoice)
        tools = tools_of(
            [each.function.tool for each in self.tools or ()],
            "auto" if isinstance(self.tool_choice, NamedChoice) or not self.tool_choice else self.tool_choice,
            only=self.tool_choice.function.name if isinstance(self.tool_choice, NamedChoice) else None,
            is_parallel=self.parallel_tool_calls is not False and not named,
        )
        if tools.may_call and settings.get("grammar") is not None:
            raise RequestError("tools and a form of the answer contradict each other", hint='set tool_choice to "none"')
        return Wish(
            prompt=conversation(self.messages),
            model=self.model,
            settings=settings,
            tools=tools,
            num_choices=self.n or 1,
            **self.xpm.wishes,
        )


class FunctionReply(Reply):
    name: str | None = None
    arguments: str


class ToolCallReply(Reply):
    index: int | None = None
    id: str | None = None
    type: Literal["function"] | None = None
    function: FunctionReply


class MessageReply(Reply):
    role: Literal["assistant"] | None = None
    content: str | None = None
    refusal: None = None
    annotations: list[dict[str, Any]] | None = None
    tool_calls: list[ToolCallReply] | None = None


class TopLogprob(Reply):
    token: str
    logprob: float
    bytes: list[int]


class TokenLogprob(TopLogprob):
    top_logprobs: list[TopLogprob]


class Logprobs(Reply):
    content: list[TokenLogprob]
    refusal: None = None


class Choice(Reply):
    index: int
    message: MessageReply
    logprobs: Logprobs | None = None
    finish_reason: FinishReason


class ChunkChoice(Reply):
    index: int
    delta: MessageReply
    logprobs: Logprobs | None = None
    finish_reason: FinishReason | None = None


class PromptDetails(Reply):
    cached_tokens: int


class Usage(Reply):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptDetails


class ChatReply(Reply):
    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    choices: list[Choice]
    usage: Usage
    system_fingerprint: str | None = None
    xpm: XpmReply


class ChatChunk(Reply):
    id: str
    object: Literal["chat.completion.chunk"] = "chat.completion.chunk"
    created: int
    model: str
    choices: list[ChunkChoice]
    system_fingerprint: str | None = None
    usage: Usage | None = None
    xpm: XpmReply | None = None


@router.post(
    "/v1/chat/completions",
    response_model=ChatReply,
    responses={**RESPONSES, 200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}}},
    summary="Answer a conversation",
)
async def chat_completions(request: Request, body: Annotated[ChatRequest, Body()]) -> Response:
    answer = await service_of(request).begin(body.wish, tenant=tenant_of(request))
    if body.stream:
        return events(answer, _chunks(answer, body), openai_error, end="[DONE]")
    done = await finished(request, answer)
    choices = []
    for number, each in enumerate(done):
        text, calls = read_answer(each.text, answer.tools)
        message: dict[str, Any] = {"role": "assistant", "content": text or (None if calls else ""), "refusal": None}
        message["annotations"] = []
        if calls:
            message["tool_calls"] = [
                {"id": new_id("call"), "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
                for call in calls
            ]
        choices.append(
            {
                "index": number,
                "message": message,
                "logprobs": logprobs_of(each.tokens) if body.logprobs else None,
                "finish_reason": finish_reason(each.result, has_calls=bool(calls)),
            }
        )
    results = [each.result for each in done]
    notes = tuple(note for each in done for note in each.notes)
    return whole(
        {
            **_head(answer, new_id("chatcmpl"), "chat.completion", body.model),
            "choices": choices,
            "usage": usage_of(results),
            "xpm": xpm_reply(answer.choice, notes=notes, finish_reason=results[0].finish_reason).model_dump(),
        }
    )


def new_id(kind: str) -> str:
    return f"{kind}-{uuid.uuid4().hex}" if kind in ("chatcmpl", "cmpl") else f"{kind}_{uuid.uuid4().hex[:24]}"


def _head(answer: Answer, id: str, kind: str, model: str) -> dict[str, Any]:
    return {"id": id, "object": kind, "created": answer.created, "model": model, "system_fingerprint": FINGERPRINT}


async def _chunks(answer: Answer, body: ChatRequest) -> AsyncIterator[tuple[str, Document]]:
    head = _head(answer, new_id("chatcmpl"), "chat.completion.chunk", body.model)
    if body.includes_usage:
        head["usage"] = None

    def chunk(
        number: int,
        delta: dict[str, Any],
        *,
        tokens: Sequence[TokenReport] = (),
        reason: str | None = None,
        **more: Any,
    ) -> tuple[str, Document]:
        choice = {
            "index": number,
            "delta": delta,
            "logprobs": logprobs_of(tokens) if body.logprobs and tokens else None,
            "finish_reason": reason,
        }
        return "", {**head, "choices": [choice], **more}

    readers = [CallReader(answer.tools) for _ in range(answer.num_choices)]
    results: list[GenerationResult] = []
    for number in range(answer.num_choices):
        yield chunk(number, {"role": "assistant", "content": ""}, xpm=xpm_reply(answer.choice).model_dump())
    async for number, delta in answer.deltas():
        reader, tokens = readers[number], delta.tokens
        for piece in reader.feed(delta.text, final=delta.result is not None):
            if (told := _delta_of(piece)) is not None:
                yield chunk(number, told, tokens=tokens)
                tokens = ()
        if tokens and body.logprobs:
            yield chunk(number, {}, tokens=tokens)
        if delta.result is not None:
            results.append(delta.result)
            reason = finish_reason(delta.result, has_calls=bool(reader.num_calls))
            told_by = xpm_reply(answer.choice, notes=delta.notes, finish_reason=delta.result.finish_reason)
            yield chunk(number, {}, reason=reason, xpm=told_by.model_dump())
    if body.includes_usage:
        yield "", {**head, "choices": [], "usage": usage_of(results)}


def _delta_of(piece: Piece) -> dict[str, Any] | None:
    match piece:
        case Text(text):
            return {"content": text}
        case CallBegun(number, name):
            call = {
                "index": number,
                "id": new_id("call"),
                "type": "function",
                "function": {"name": name, "arguments": ""},
            }
            return {"tool_calls": [call]}
        case CallPiece(number, arguments):
            return {"tool_calls": [{"index": number, "function": {"arguments": arguments}}]}
    return None


def finish_reason(result: GenerationResult, *, has_calls: bool = False) -> FinishReason:
    """What ended an answer, in OpenAI's words: out of time is out of length."""
    if result.finish_reason != "stop":
        return "length"
    return "tool_calls" if has_calls else "stop"


def logprobs_of(tokens: Sequence[TokenReport]) -> dict[str, Any]:
    return {
        "content": [
            {
                **_logprob(each.text, each.logprob),
                "top_logprobs": [_logprob(text, logprob) for _, text, logprob in each.top],
            }
            for each in tokens
        ],
        "refusal": None,
    }


def _logprob(text: bytes, logprob: float) -> dict[str, Any]:
    return {"token": text.decode(errors="replace"), "logprob": finite(logprob), "bytes": list(text)}


def finite(logprob: float) -> float:
    """As JSON can say it, which has no infinity."""
    return max(logprob, -9999.0)


def usage_of(results: Sequence[GenerationResult]) -> dict[str, Any]:
    """The prompt counts once, what was written as often as it was."""
    prompt = max(each.num_prompt_tokens for each in results) if results else 0
    written = sum(len(each.token_ids) for each in results)
    reused = max((each.num_reused_tokens for each in results), default=0)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": written,
        "total_tokens": prompt + written,
        "prompt_tokens_details": {"cached_tokens": reused},
    }
