"""ollama's protocol: ``/api/generate`` and ``/api/chat``."""

import json
import time
from collections.abc import AsyncIterator, Callable, Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from fastapi import Body, Request
from fastapi.responses import Response
from pydantic import Field

from xpm_runtime import Grammar, Message, RequestError
from xpm_runtime.server.api.fields import MAX_NAME, MAX_STOPS, ModelName, Reply, StopText, Strict, XpmOptions, xpm_reply
from xpm_runtime.server.api.openai_messages import MAX_MESSAGES, ChatTool, ToolName, merged, tools_of
from xpm_runtime.server.api.replies import Document, finished, json_lines, service_of, tenant_of, whole
from xpm_runtime.server.api.routes import new_router
from xpm_runtime.server.errors import ApiError
from xpm_runtime.server.host import Host
from xpm_runtime.server.service import Answer, Finished
from xpm_runtime.server.tools import (
    MAX_TOOLS,
    CallBegun,
    CallEnded,
    CallPiece,
    CallReader,
    Text,
    read_answer,
    written_call,
    written_result,
)
from xpm_runtime.server.wish import Wish

router = new_router("ollama")


class OllamaErrorReply(Reply):
    error: str


def ollama_error(error: ApiError) -> dict[str, Any]:
    return OllamaErrorReply(error=error.message).model_dump()


RESPONSES: dict[int | str, dict[str, Any]] = {
    status: {"model": OllamaErrorReply} for status in (400, 401, 403, 404, 413, 421, 429, 500, 503)
}


class OllamaOptions(Strict):
    """Of ollama's options, those that say how tokens are drawn; those that say how a model
    is loaded are passed over."""

    num_predict: int | None = Field(None, ge=-2, lt=1 << 31, description="Below 1: as many as there is room for.")
    temperature: float | None = Field(None, ge=0, lt=100)
    top_k: int | None = Field(None, ge=0, lt=1 << 31)
    top_p: float | None = Field(None, gt=0, le=1)
    min_p: float | None = Field(None, ge=0, lt=1)
    repeat_penalty: float | None = Field(None, gt=0, lt=100)
    presence_penalty: float | None = Field(None, ge=-2, le=2)
    frequency_penalty: float | None = Field(None, ge=-2, le=2)
    seed: int | None = Field(None, ge=-(1 << 63), lt=1 << 63)
    stop: StopText | Annotated[list[StopText], Field(max_length=MAX_STOPS)] | None = None

    @property
    def settings(self) -> dict[str, Any]:
        names = ("temperature", "top_k", "top_p", "min_p", "presence_penalty", "frequency_penalty")
        found = {name: value for name in names if (value := getattr(self, name)) is not None}
        if self.num_predict is not None:
            found["max_tokens"] = self.num_predict if self.num_predict > 0 else (1 << 31) - 1
        if self.repeat_penalty is not None:
            found["repetition_penalty"] = self.repeat_penalty
        if self.seed is not None:
            found["seed"] = self.seed % (1 << 63)
        if self.stop:
            found["stop"] = (self.stop,) if isinstance(self.stop, str) else tuple(self.stop)
        return found


class Asked(Strict):
    """What generating and chatting share. A stream unless ``stream`` is false."""

    model: ModelName
    stream: bool | None = None
    format: Literal["json", ""] | dict[str, Any] | None = None
    options: OllamaOptions | None = None
    keep_alive: str | float | None = None
    think: bool | str | None = None
    xpm: XpmOptions = XpmOptions()

    @property
    def settings(self) -> dict[str, Any]:
        found = self.options.settings if self.options else {}
        if self.format == "json":
            found["grammar"] = Grammar.of_schema({"type": "object"})
        elif isinstance(self.format, dict):
            found["grammar"] = Grammar.of_schema(self.format)
        return found


class GenerateRequest(Asked):
    prompt: str = ""
    system: str | None = None
    suffix: str | None = None
    raw: bool | None = None
    images: list[str] | None = None

    @property
    def wish(self) -> Wish:
        if self.suffix or self.images:
            raise RequestError("suffix and images are not supported")
        told = [Message("system", self.system)] if self.system else []
        prompt = self.prompt if self.raw else [*told, Message("user", self.prompt)]
        return Wish(prompt=prompt, model=self.model, settings=self.settings, **self.xpm.wishes)


class OllamaFunction(Strict):
    name: ToolName
    arguments: dict[str, Any] = {}


class OllamaCall(Strict):
    function: OllamaFunction


class OllamaMessage(Strict):
    role: Literal["system", "user", "assistant", "tool"]
    content: str = ""
    images: list[str] | None = None
    tool_calls: list[OllamaCall] | None = Field(None, max_length=MAX_TOOLS)
    tool_name: str | None = Field(None, max_length=MAX_NAME)

    @property
    def turn(self) -> Message:
        if self.images:
            raise RequestError("images are not supported", hint="this server reads text alone")
        if self.role == "tool":
            return Message("user", written_result(self.content))
        calls = [
            written_call(each.function.name, json.dumps(each.function.arguments, ensure_ascii=False))
            for each in self.tool_calls or ()
        ]
        return Message(self.role, "\n".join([*([self.content] if self.content or not calls else []), *calls]))


class OllamaChatRequest(Asked):
    messages: list[OllamaMessage] = Field([], max_length=MAX_MESSAGES)
    tools: list[ChatTool] | None = Field(None, max_length=MAX_TOOLS)

    @property
    def wish(self) -> Wish:
        tools = tools_of([each.function.tool for each in self.tools or ()], "auto")
        if tools.may_call and self.format:
            raise RequestError("tools and format contradict each other", hint="give one of them")
        prompt = merged([each.turn for each in self.messages])
        return Wish(prompt=prompt, model=self.model, settings=self.settings, tools=tools, **self.xpm.wishes)


class OllamaReply(Reply):
    """The last of a stream, or the only one; those before it have no figures."""

    model: str
    created_at: str
    response: str | None = None
    message: dict[str, Any] | None = None
    done: bool
    done_reason: str | None = None
    total_duration: int | None = None
    load_duration: int | None = None
    prompt_eval_count: int | None = None
    prompt_eval_duration: int | None = None
    eval_count: int | None = None
    eval_duration: int | None = None
    xpm: dict[str, Any] | None = None


_STREAMED: dict[int | str, dict[str, Any]] = {
    **RESPONSES,
    200: {"content": {"application/x-ndjson": {"schema": {"type": "string"}}}},
}


@router.post("/api/generate", response_model=OllamaReply, responses=_STREAMED, summary="Answer a prompt")
async def generate(request: Request, body: Annotated[GenerateRequest, Body()]) -> Response:
    if not body.prompt:
        return _loaded(service_of(request).host, body.model, {"response": ""})
    answer = await service_of(request).begin(body.wish, tenant=tenant_of(request))
    return await _told(request, answer, body, lambda text, calls: {"response": text})


@router.post("/api/chat", response_model=OllamaReply, responses=_STREAMED, summary="Answer a conversation")
async def chat(request: Request, body: Annotated[OllamaChatRequest, Body()]) -> Response:
    if not body.messages:
        return _loaded(service_of(request).host, body.model, {"message": {"role": "assistant", "content": ""}})
    answer = await service_of(request).begin(body.wish, tenant=tenant_of(request))

    def said(text: str, calls: list[dict[str, Any]]) -> dict[str, Any]:
        return {"message": {"role": "assistant", "content": text, **({"tool_calls": calls} if calls else {})}}

    return await _told(request, answer, body, said)


Said = Callable[[str, list[dict[str, Any]]], dict[str, Any]]


def _loaded(host: Host, model: str, empty: Mapping[str, Any]) -> Response:
    """Nothing is asked: ollama's clients load a model so."""
    host.route("", model=model)
    return whole({**_head(model), **empty, "done": True, "done_reason": "load"})


async def _told(request: Request, answer: Answer, body: Asked, said: Said) -> Response:
    if body.stream is not False:
        return json_lines(answer, _lines(answer, body.model, said), ollama_error)
    (done,) = await finished(request, answer)
    text, calls = read_answer(done.text, answer.tools)
    told = [_call(each.name, each.arguments) for each in calls]
    return whole({**_head(body.model), **said(text, told), **_end(answer, done)})


async def _lines(answer: Answer, model: str, said: Said) -> AsyncIterator[tuple[str, Document]]:
    """Text as it comes; a call when it is whole, as ollama has it."""
    reader, name, arguments = CallReader(answer.tools), "", ""
    async for _, delta in answer.deltas():
        for piece in reader.feed(delta.text, final=delta.result is not None):
            match piece:
                case Text(text):
                    yield "", {**_head(model), **said(text, []), "done": False}
                case CallBegun(_, begun):
                    name, arguments = begun, ""
                case CallPiece(_, part):
                    arguments += part
                case CallEnded():
                    yield "", {**_head(model), **said("", [_call(name, arguments)]), "done": False}
        if delta.result is not None:
            done = Finished(result=delta.result, notes=delta.notes)
            yield "", {**_head(model), **said("", []), **_end(answer, done)}


def _head(model: str) -> dict[str, Any]:
    return {"model": model, "created_at": datetime.now(UTC).isoformat().replace("+00:00", "Z")}


def _call(name: str, arguments: str) -> dict[str, Any]:
    try:
        found = json.loads(arguments)
    except ValueError:
        found = {}
    return {"function": {"name": name, "arguments": found if isinstance(found, dict) else {}}}


def _end(answer: Answer, done: Finished) -> dict[str, Any]:
    """Durations are nanoseconds."""
    result = done.result
    return {
        "done": True,
        "done_reason": "stop" if result.finish_reason == "stop" else "length",
        "total_duration": int(1e9 * (time.perf_counter() - answer.begun)),
        "load_duration": 0,
        "prompt_eval_count": result.num_prompt_tokens,
        "prompt_eval_duration": int(1e6 * result.prefill_ms),
        "eval_count": len(result.token_ids),
        "eval_duration": int(1e6 * result.decode_ms),
        "xpm": xpm_reply(answer.choice, notes=done.notes, finish_reason=result.finish_reason).model_dump(),
    }
