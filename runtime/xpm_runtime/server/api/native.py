"""xpm's own protocol: ``/v1/infer``, ``/v1/route`` and ``/v1/experts``."""

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated, Any, Literal

from fastapi import Body, Request
from fastapi.responses import Response
from pydantic import Field

from xpm_runtime import Message, RequestError
from xpm_runtime.server.api.fields import (
    MAX_EXPERTS,
    Documented,
    ExpertWish,
    GrammarWish,
    ModelName,
    Reply,
    Sampling,
    Strict,
    XpmReply,
    grammar_of,
    xpm_reply,
)
from xpm_runtime.server.api.openai_chat import Usage, usage_of
from xpm_runtime.server.api.openai_errors import RESPONSES, openai_error
from xpm_runtime.server.api.openai_messages import MAX_MESSAGES, ChatMessage, conversation
from xpm_runtime.server.api.replies import Document, events, finished, service_of, tenant_of, whole
from xpm_runtime.server.api.routes import new_router
from xpm_runtime.server.host import Choice, Listed, Scaled
from xpm_runtime.server.service import Answer, Finished
from xpm_runtime.server.wish import DEFAULT_PRIORITY, Wish

router = new_router("xpm")


class Routed(Strict):
    """Whom a prompt goes to: the router's choice, unless experts are forced."""

    prompt: Annotated[str, Field(min_length=1)] | None = None
    messages: Annotated[list[ChatMessage], Field(min_length=1, max_length=MAX_MESSAGES)] | None = None
    model: ModelName = "auto"
    force_experts: list[ModelName | ExpertWish] = Field(default=[], max_length=MAX_EXPERTS)
    exclude_experts: list[ModelName] = Field(default=[], max_length=1000)
    max_experts: int | None = Field(None, ge=0, le=MAX_EXPERTS)

    def wish(self, **more: Any) -> Wish:
        """Raises RequestError unless there is one of prompt and messages."""
        if (self.prompt is None) == (self.messages is None):
            raise RequestError("give one of prompt and messages")
        return Wish(
            prompt=[Message("user", self.prompt)] if self.prompt else conversation(self.messages or ()),
            model=self.model,
            experts=tuple(
                Scaled(id=each) if isinstance(each, str) else Scaled(id=each.id, scale=each.scale)
                for each in self.force_experts
            ),
            exclude=tuple(self.exclude_experts),
            max_experts=self.max_experts,
            **more,
        )


class InferRequest(Routed, Sampling, Documented):
    """``context_size`` bounds prompt and answer together."""

    max_tokens: int | None = Field(None, ge=1, lt=1 << 31)
    grammar: GrammarWish | str | None = None
    json_schema: dict[str, Any] | None = None
    priority: int = Field(DEFAULT_PRIORITY, ge=0, le=9)
    timeout_ms: int | None = Field(None, ge=1, le=86_400_000)
    context_size: int | None = Field(None, ge=1, lt=1 << 31)
    stream: bool = False

    @property
    def whole_wish(self) -> Wish:
        settings = self.settings | grammar_of(
            self.grammar,
            {"type": "json_schema", "json_schema": {"schema": self.json_schema}} if self.json_schema else None,
        )
        if self.max_tokens is not None:
            settings["max_tokens"] = self.max_tokens
        return self.wish(
            settings=settings,
            priority=self.priority,
            timeout_s=self.timeout_ms / 1e3 if self.timeout_ms is not None else None,
            context=self.context_size,
            **self.documents,
        )


class Timings(Reply):
    queued_ms: float
    prefill_ms: float
    decode_ms: float
    total_ms: float


class InferReply(Reply):
    """``missing`` is what the answer lacks to match its grammar, if it was cut off."""

    text: str
    finish_reason: Literal["stop", "length", "cancelled", "timeout"]
    missing: str | None
    usage: Usage
    timings: Timings
    xpm: XpmReply


@router.post(
    "/v1/infer",
    response_model=InferReply,
    responses={**RESPONSES, 200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}}},
    summary="Answer a prompt",
)
async def infer(request: Request, body: Annotated[InferRequest, Body()]) -> Response:
    answer = await service_of(request).begin(body.whole_wish, tenant=tenant_of(request))
    if body.stream:
        return events(answer, _events(answer), openai_error)
    (done,) = await finished(request, answer)
    return whole(infer_reply(answer, done))


def infer_reply(answer: Answer, done: Finished) -> dict[str, Any]:
    result = done.result
    return {
        "text": done.text,
        "finish_reason": result.finish_reason,
        "missing": result.missing,
        "usage": usage_of([result]),
        "timings": {
            "queued_ms": round(answer.queued_ms, 3),
            "prefill_ms": round(result.prefill_ms, 3),
            "decode_ms": round(result.decode_ms, 3),
            "total_ms": round(answer.elapsed_ms, 3),
        },
        "xpm": xpm_reply(answer.choice, notes=done.notes, finish_reason=result.finish_reason).model_dump(),
    }


async def _events(answer: Answer) -> AsyncIterator[tuple[str, Document]]:
    """``begin`` says who answers, ``text`` is a piece, ``end`` is the whole."""
    yield "begin", {"xpm": xpm_reply(answer.choice).model_dump()}
    text = ""
    async for _, delta in answer.deltas():
        text += delta.text
        if delta.text:
            yield "text", {"text": delta.text}
        if delta.result is not None:
            yield "end", infer_reply(answer, Finished(text=text, result=delta.result, notes=delta.notes))


class CandidateReply(Reply):
    id: str
    probability: float
    reasons: list[str]


class RouteReply(Reply):
    experts: list[str]
    confidence: float | None
    reason: str
    task: str
    candidates: list[CandidateReply]
    settings: dict[str, Any]
    router_ms: float


@router.post("/v1/route", response_model=RouteReply, responses=RESPONSES, summary="Say who would answer a prompt")
async def route(request: Request, body: Annotated[Routed, Body()]) -> RouteReply:
    return _route_reply(await service_of(request).choose(body.wish()))


def _route_reply(choice: Choice) -> RouteReply:
    settings = {name: value for name, value in choice.settings.items() if name != "grammar"}
    return RouteReply(
        experts=[each.name for each in choice.experts],
        confidence=choice.confidence,
        reason=choice.reason,
        task=choice.task,
        candidates=[
            CandidateReply(id=each.name, probability=each.probability, reasons=list(each.reasons))
            for each in choice.candidates
        ],
        settings=settings,
        router_ms=round(choice.ms, 3),
    )


class ExpertReply(Reply):
    id: str
    version: str
    description: str
    digest: str
    num_bytes: int
    license: str
    is_loaded: bool


class ExpertsReply(Reply):
    base: ExpertReply
    experts: list[ExpertReply]


def expert_reply(listed: Listed) -> ExpertReply:
    return ExpertReply(
        id=listed.name,
        version=listed.version,
        description=listed.description,
        digest=listed.digest,
        num_bytes=listed.num_bytes,
        license=listed.license,
        is_loaded=listed.is_loaded,
    )


@router.get("/v1/experts", response_model=ExpertsReply, responses=RESPONSES, summary="List what is installed")
async def list_experts(request: Request) -> ExpertsReply:
    host = service_of(request).host
    return ExpertsReply(base=expert_reply(host.base), experts=[expert_reply(each) for each in host.list_experts()])


class ExpertNamed(Strict):
    id: ModelName


class LoadedReply(Reply):
    id: str
    is_loaded: bool
    attach_ms: float = 0.0


_ADMIN_RESPONSES = {**RESPONSES, 409: {"model": RESPONSES[400]["model"], "description": "Something runs on it"}}


@router.post(
    "/v1/experts/load", response_model=LoadedReply, responses=RESPONSES, summary="Attach an installed expert now"
)
async def load_expert(request: Request, body: Annotated[ExpertNamed, Body()]) -> LoadedReply:
    host = service_of(request).host
    return LoadedReply(id=body.id, is_loaded=True, attach_ms=round(await asyncio.to_thread(host.load, body.id), 3))


@router.post(
    "/v1/experts/unload",
    response_model=LoadedReply,
    responses=_ADMIN_RESPONSES,
    summary="Let go of an expert until it is asked for again",
)
async def unload_expert(request: Request, body: Annotated[ExpertNamed, Body()]) -> LoadedReply:
    await asyncio.to_thread(service_of(request).host.unload, body.id)
    return LoadedReply(id=body.id, is_loaded=False)


class ReloadReply(Reply):
    added: list[str]
    removed: list[str]
    note: str


@router.post("/v1/experts/reload", response_model=ReloadReply, responses=RESPONSES, summary="Read the lock again")
async def reload_experts(request: Request) -> ReloadReply:
    found = await asyncio.to_thread(service_of(request).host.reload)
    return ReloadReply(added=list(found.added), removed=list(found.removed), note=found.note)
