"""The application: its routes, and the form in which each protocol says what went wrong."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

from xpm_runtime.server.api import (
    anthropic_messages,
    jobs_api,
    native,
    ollama,
    ollama_models,
    openai_chat,
    openai_completions,
    openai_models,
    openai_responses,
    operations,
    status_page,
)
from xpm_runtime.server.api.anthropic_messages import anthropic_error
from xpm_runtime.server.api.ollama import ollama_error
from xpm_runtime.server.api.openai_errors import openai_error
from xpm_runtime.server.api.replies import ClientGone
from xpm_runtime.server.errors import ApiError, as_api_error
from xpm_runtime.server.guard import Guard, Security
from xpm_runtime.server.job_runner import JobRunner
from xpm_runtime.server.jobs import Jobs
from xpm_runtime.server.service import Service

_PROTOCOLS = (
    openai_chat,
    openai_completions,
    openai_responses,
    openai_models,
    anthropic_messages,
    ollama,
    ollama_models,
    native,
    jobs_api,
    operations,
    status_page,
)
_FORMS: Mapping[str, Callable[[ApiError], dict[str, Any]]] = {  # the beginning of a path → its protocol's form
    "/v1/messages": anthropic_error,
    "/api/": ollama_error,
}
_CLIENT_GONE = 499


def create_app(service: Service, security: Security, *, jobs: Jobs | None = None, version: str = "0") -> FastAPI:
    """
    Args:
        jobs: where jobs are kept; None if none are taken.
    """
    runner = JobRunner(jobs, partial(jobs_api.perform, service)) if jobs is not None else None
    app = FastAPI(title="xpm serve", version=version, docs_url=None, redoc_url=None, lifespan=partial(_running, runner))
    app.state.service, app.state.speeds = service, status_page.new_speeds()
    app.state.jobs, app.state.job_runner = jobs, runner
    for protocol in _PROTOCOLS:
        app.include_router(protocol.router)
    for kind in (ApiError, RequestValidationError, HTTPException, ClientGone, Exception):
        app.add_exception_handler(kind, _told)
    app.add_middleware(Guard, security=security, error_response=error_response, count=_counting(service))
    return app


@asynccontextmanager
async def _running(runner: JobRunner | None, app: FastAPI) -> AsyncIterator[None]:
    """Do what waits among the jobs for as long as requests are answered."""
    task = asyncio.create_task(runner.run()) if runner is not None else None
    yield
    if task is not None:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def _counting(service: Service) -> Callable[[str, int], None]:
    return lambda path, status: service.metrics.responses.labels(path=path, status=str(status)).inc()


def error_response(path: str, error: ApiError) -> JSONResponse:
    """An error in the form of the protocol that a path belongs to."""
    form = next((form for start, form in _FORMS.items() if path.startswith(start)), openai_error)
    return JSONResponse(form(error), status_code=error.status, headers=error.headers)


async def _told(request: Request, error: Exception) -> Response:
    if isinstance(error, ClientGone):
        return Response(status_code=_CLIENT_GONE)
    return error_response(request.url.path, _known(error))


def _known(error: Exception) -> ApiError:
    if isinstance(error, RequestValidationError):
        return _first_of(error)
    if isinstance(error, HTTPException):
        return ApiError(error.status_code, str(error.detail), "http")
    return as_api_error(error) or ApiError(500, "the server failed; its log says how", "internal")


def _first_of(error: RequestValidationError) -> ApiError:
    """The first field that is wrong, by its path; what the client sent is not repeated."""
    first = error.errors()[0]
    names = [str(each) for each in first["loc"] if each != "body"]
    field = ".".join(names) or None
    return ApiError(400, f"{field}: {first['msg']}" if field else str(first["msg"]), "invalid_request", param=field)
