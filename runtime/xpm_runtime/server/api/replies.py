"""Sending what comes: whole or in a stream, until it ends or the client has gone."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, TypeVar

from fastapi import Request
from pydantic import BaseModel
from starlette.responses import JSONResponse, StreamingResponse

from xpm_runtime.server.errors import ApiError, as_api_error
from xpm_runtime.server.service import Answer, Finished, Service

Document = Mapping[str, Any] | BaseModel
ErrorForm = Callable[[ApiError], dict[str, Any]]
Result = TypeVar("Result")


class ClientGone(Exception):
    """Nobody is there to read the answer."""


def service_of(request: Request) -> Service:
    found: Service = request.app.state.service
    return found


def tenant_of(request: Request) -> str:
    return str(request.scope.get("xpm.tenant", ""))


async def unless_gone(request: Request, work: Awaitable[Result]) -> Result:
    """What ``work`` comes to; it is cancelled, and ClientGone raised, as soon as the client
    has closed the connection."""
    task = asyncio.ensure_future(work)
    watch = asyncio.create_task(_gone(request))
    try:
        await asyncio.wait({task, watch}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        raise ClientGone
    finally:
        watch.cancel()
        if not task.done():
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def finished(request: Request, answer: Answer) -> list[Finished]:
    """All choices of an answer, whole."""
    try:
        return await unless_gone(request, answer.finished())
    finally:
        answer.cancel()


def compact(document: Document) -> str:
    value = document.model_dump(exclude_unset=True) if isinstance(document, BaseModel) else document
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def whole(document: Document, *, status: int = 200) -> JSONResponse:
    """A reply as one document; of a model, the fields that were set."""
    value = document.model_dump(exclude_unset=True) if isinstance(document, BaseModel) else dict(document)
    return JSONResponse(value, status_code=status)


def events(
    answer: Answer, documents: AsyncIterator[tuple[str, Document]], error_form: ErrorForm, *, end: str = ""
) -> StreamingResponse:
    """Server-sent events.

    Args:
        documents: (event's name, "" for none; its data).
        error_form: of what goes wrong once the stream has begun, as the protocol says it.
        end: what the last event holds, if there is one more.
    """

    async def lines() -> AsyncIterator[str]:
        async for name, document in _or_error(answer, documents, error_form):
            yield (f"event: {name}\n" if name else "") + f"data: {compact(document)}\n\n"
        if end:
            yield f"data: {end}\n\n"

    return _stream(answer, lines(), "text/event-stream")


def json_lines(
    answer: Answer, documents: AsyncIterator[tuple[str, Document]], error_form: ErrorForm
) -> StreamingResponse:
    """A JSON document a line."""

    async def lines() -> AsyncIterator[str]:
        async for _, document in _or_error(answer, documents, error_form):
            yield compact(document) + "\n"

    return _stream(answer, lines(), "application/x-ndjson")


async def _or_error(
    answer: Answer, documents: AsyncIterator[tuple[str, Document]], error_form: ErrorForm
) -> AsyncIterator[tuple[str, Document]]:
    try:
        async for each in documents:
            yield each
    except Exception as error:
        known = as_api_error(error)
        if known is None:
            raise
        yield "error", error_form(known)
    finally:
        answer.cancel()


def _stream(answer: Answer, lines: AsyncIterator[str], media_type: str) -> StreamingResponse:
    return _Cancelling(
        answer, lines, media_type=media_type, headers={"cache-control": "no-cache", "x-accel-buffering": "no"}
    )


class _Cancelling(StreamingResponse):
    """Cancels the answer however the response ends, also where it never began."""

    def __init__(self, answer: Answer, lines: AsyncIterator[str], **options: Any) -> None:
        super().__init__(lines, **options)
        self._answer = answer

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._answer.cancel()
