"""``/v1/responses``, without a memory: every request holds the whole conversation."""

import time
from collections.abc import AsyncIterator, Mapping, Sequence
from itertools import count
from typing import Annotated, Any, Literal

from fastapi import Body, Request
from fastapi.responses import Response
from pydantic import ConfigDict

from xpm_runtime import GenerationResult
from xpm_runtime.server.api.fields import Reply, XpmReply, xpm_reply
from xpm_runtime.server.api.openai_chat import finite, new_id
from xpm_runtime.server.api.openai_errors import RESPONSES
from xpm_runtime.server.api.openai_responses_request import FunctionChoice, ResponsesRequest
from xpm_runtime.server.api.replies import Document, events, finished, service_of, tenant_of, whole
from xpm_runtime.server.api.routes import new_router
from xpm_runtime.server.errors import ApiError
from xpm_runtime.server.service import Answer
from xpm_runtime.server.tools import CallBegun, CallEnded, CallPiece, CallReader, Text, read_answer

router = new_router("OpenAI")


class OutputPart(Reply):
    type: Literal["output_text"] = "output_text"
    text: str
    annotations: list[dict[str, Any]]
    logprobs: list[dict[str, Any]]


class OutputItem(Reply):
    type: Literal["message", "function_call"]
    id: str
    status: Literal["in_progress", "completed", "incomplete"]
    role: Literal["assistant"] | None = None
    content: list[OutputPart] | None = None
    call_id: str | None = None
    name: str | None = None
    arguments: str | None = None


class ResponsesReply(Reply):
    """Fields beside those that are told here are those of OpenAI's, as they were sent or by their defaults."""

    model_config = ConfigDict(extra="allow")

    id: str
    object: Literal["response"] = "response"
    created_at: int
    status: Literal["in_progress", "completed", "incomplete", "failed"]
    model: str
    output: list[OutputItem]
    usage: dict[str, Any] | None
    xpm: XpmReply


@router.post(
    "/v1/responses",
    response_model=ResponsesReply,
    responses={**RESPONSES, 200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}}},
    summary="Answer a conversation",
)
async def responses(request: Request, body: Annotated[ResponsesRequest, Body()]) -> Response:
    answer = await service_of(request).begin(body.wish, tenant=tenant_of(request))
    told = _Told(answer, body)
    if body.stream:
        return events(answer, told.events(), told.error)
    (done,) = await finished(request, answer)
    text, calls = read_answer(done.text, answer.tools)
    status = _status(done.result)
    output: list[dict[str, Any]] = []
    if text or not calls:
        output.append(
            _message(new_id("msg"), status, [_part(text, done.tokens if body.top_logprobs is not None else ())])
        )
    output += [_call(new_id("fc"), status, each.name, each.arguments) for each in calls]
    return whole(told.response(output, done.result, done.notes))


class _Told:
    """The events of one response, and the response as each of them shows it."""

    def __init__(self, answer: Answer, body: ResponsesRequest) -> None:
        self._answer, self._body = answer, body
        self._id, self._numbers = new_id("resp"), count()

    def response(
        self, output: Sequence[Mapping[str, Any]], result: GenerationResult | None, notes: tuple[str, ...] = ()
    ) -> dict[str, Any]:
        body = self._body
        status = _status(result) if result else "in_progress"
        choice = body.tool_choice
        unset = {"type": "function", "strict": None, "description": None}
        tools = [unset | each.model_dump(exclude_none=True) for each in body.tools or ()]
        return {
            "id": self._id,
            "object": "response",
            "created_at": self._answer.created,
            "completed_at": int(time.time()) if result else None,
            "status": status,
            "error": None,
            "incomplete_details": {"reason": "max_output_tokens"} if status == "incomplete" else None,
            "instructions": body.instructions,
            "max_output_tokens": body.max_output_tokens,
            "max_tool_calls": None,
            "model": body.model,
            "output": list(output),
            "parallel_tool_calls": body.parallel_tool_calls is not False,
            "previous_response_id": None,
            "reasoning": None,
            "background": False,
            "service_tier": "default",
            "store": False,
            "temperature": 1.0 if body.temperature is None else body.temperature,
            "text": {"format": (body.text and body.text.format) or {"type": "text"}},
            "tool_choice": choice.model_dump() if isinstance(choice, FunctionChoice) else choice or "auto",
            "tools": tools,
            "top_logprobs": body.top_logprobs or 0,
            "top_p": 1.0 if body.top_p is None else body.top_p,
            "presence_penalty": body.presence_penalty or 0.0,
            "frequency_penalty": body.frequency_penalty or 0.0,
            "truncation": "disabled",
            "usage": _usage(result) if result else None,
            "user": None,
            "safety_identifier": None,
            "prompt_cache_key": None,
            "metadata": body.metadata or {},
            "xpm": xpm_reply(
                self._answer.choice, notes=notes, finish_reason=result.finish_reason if result else None
            ).model_dump(),
        }

    def _event(self, kind: str, **fields: Any) -> tuple[str, Document]:
        return kind, {"type": kind, "sequence_number": next(self._numbers), **fields}

    def error(self, error: ApiError) -> dict[str, Any]:
        """The last event of a response that broke off."""
        number = next(self._numbers)
        return {
            "type": "error",
            "sequence_number": number,
            "code": error.code or error.kind,
            "message": error.message,
            "param": error.param,
        }

    async def events(self) -> AsyncIterator[tuple[str, Document]]:
        """Items one after the other: a message, if there is text, then the calls."""
        yield self._event("response.created", response=self.response([], None))
        yield self._event("response.in_progress", response=self.response([], None))
        reader, output = CallReader(self._answer.tools), list[dict[str, Any]]()
        open_text = False
        async for _, delta in self._answer.deltas():
            for piece in reader.feed(delta.text, final=delta.result is not None):
                if isinstance(piece, CallBegun) and open_text:
                    open_text = False
                    for each in self._text_done(output, "completed"):
                        yield each
                if isinstance(piece, Text) and not open_text:
                    open_text = True
                    for each in self._text_begun(output):
                        yield each
                for each in self._piece(output, piece):
                    yield each
            if delta.result is None:
                continue
            status = _status(delta.result)
            if not output:
                for each in self._text_begun(output):
                    yield each
            if open_text or output[-1]["type"] == "message":
                for each in self._text_done(output, status):
                    yield each
            elif output[-1]["status"] == "in_progress":
                for each in self._call_done(output, status):
                    yield each
            kind = "response.completed" if status == "completed" else "response.incomplete"
            yield self._event(kind, response=self.response(output, delta.result, delta.notes))

    def _text_begun(self, output: list[dict[str, Any]]) -> Sequence[tuple[str, Document]]:
        output.append(_message(new_id("msg"), "in_progress", []))
        at = {"output_index": len(output) - 1}
        added = self._event("response.output_item.added", **at, item=dict(output[-1]))
        output[-1]["content"] = [_part("")]
        part = self._event(
            "response.content_part.added", **at, item_id=output[-1]["id"], content_index=0, part=_part("")
        )
        return added, part

    def _text_done(self, output: list[dict[str, Any]], status: str) -> Sequence[tuple[str, Document]]:
        item = output[-1]
        at = {"output_index": len(output) - 1, "item_id": item["id"], "content_index": 0}
        item["status"] = status
        return (
            self._event("response.output_text.done", **at, text=item["content"][0]["text"], logprobs=[]),
            self._event("response.content_part.done", **at, part=item["content"][0]),
            self._event("response.output_item.done", output_index=at["output_index"], item=item),
        )

    def _call_done(self, output: list[dict[str, Any]], status: str) -> Sequence[tuple[str, Document]]:
        item = output[-1]
        item["status"] = status
        at = {"output_index": len(output) - 1}
        done = {"item_id": item["id"], "name": item["name"], "arguments": item["arguments"]}
        return (
            self._event("response.function_call_arguments.done", **at, **done),
            self._event("response.output_item.done", **at, item=item),
        )

    def _piece(
        self, output: list[dict[str, Any]], piece: Text | CallBegun | CallPiece | CallEnded
    ) -> Sequence[tuple[str, Document]]:
        match piece:
            case Text(text):
                output[-1]["content"][0]["text"] += text
                at = {"output_index": len(output) - 1, "item_id": output[-1]["id"], "content_index": 0}
                return (self._event("response.output_text.delta", **at, delta=text, logprobs=[]),)
            case CallBegun(_, name):
                output.append(_call(new_id("fc"), "in_progress", name, ""))
                return (self._event("response.output_item.added", output_index=len(output) - 1, item=dict(output[-1])),)
            case CallPiece(_, arguments):
                output[-1]["arguments"] += arguments
                at = {"output_index": len(output) - 1, "item_id": output[-1]["id"]}
                return (self._event("response.function_call_arguments.delta", **at, delta=arguments),)
        return self._call_done(output, "completed")


def _status(result: GenerationResult) -> str:
    return "completed" if result.finish_reason == "stop" else "incomplete"


def _message(id: str, status: str, content: list[dict[str, Any]]) -> dict[str, Any]:
    return {"type": "message", "id": id, "status": status, "role": "assistant", "content": content}


def _call(id: str, status: str, name: str, arguments: str) -> dict[str, Any]:
    call = {"call_id": new_id("call"), "name": name, "arguments": arguments}
    return {"type": "function_call", "id": id, "status": status, **call}


def _part(text: str, tokens: Sequence[Any] = ()) -> dict[str, Any]:
    def told(written: bytes, logprob: float) -> dict[str, Any]:
        return {"token": written.decode(errors="replace"), "logprob": finite(logprob), "bytes": list(written)}

    logprobs = [
        {**told(each.text, each.logprob), "top_logprobs": [told(text, logprob) for _, text, logprob in each.top]}
        for each in tokens
    ]
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": logprobs}


def _usage(result: GenerationResult) -> dict[str, Any]:
    written = len(result.token_ids)
    return {
        "input_tokens": result.num_prompt_tokens,
        "input_tokens_details": {"cached_tokens": result.num_reused_tokens},
        "output_tokens": written,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": result.num_prompt_tokens + written,
    }
