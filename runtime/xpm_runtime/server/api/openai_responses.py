"""``/v1/responses``, without a memory: every request holds the whole conversation."""

import time
from collections.abc import AsyncIterator, Mapping, Sequence
from itertools import count
from typing import Annotated, Any, Literal

from fastapi import Body, Request
from fastapi.responses import Response
from pydantic import ConfigDict, Field

from xpm_runtime import GenerationResult, Grammar, Message, RequestError
from xpm_runtime.server.api.fields import MAX_NAME, ModelName, Reply, Strict, XpmOptions, XpmReply, xpm_reply
from xpm_runtime.server.api.openai_chat import finite, new_id
from xpm_runtime.server.api.openai_errors import RESPONSES, openai_error
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

router = new_router("OpenAI")


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
        return events(answer, told.events(), _error_event)
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


def _error_event(error: ApiError) -> dict[str, Any]:
    return {"type": "error", "sequence_number": 0, **openai_error(error)["error"]}


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
