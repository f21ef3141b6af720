"""``/v1/jobs``: inferences that are accepted now and done later, whatever happens to the process."""

import asyncio
from typing import Annotated, Any, Literal

from fastapi import Body, Header, Query, Request
from fastapi.responses import Response
from pydantic import Field

from xpm_runtime import RequestError
from xpm_runtime.server.api.fields import Reply
from xpm_runtime.server.api.native import InferReply, InferRequest, infer_reply
from xpm_runtime.server.api.openai_errors import RESPONSES
from xpm_runtime.server.api.replies import service_of, tenant_of, whole
from xpm_runtime.server.api.routes import new_router
from xpm_runtime.server.errors import ApiError
from xpm_runtime.server.job_runner import JobRunner
from xpm_runtime.server.jobs import Job, Jobs
from xpm_runtime.server.service import Service
from xpm_runtime.server.work import Overloaded

router = new_router("xpm")
_RETRY_S = 5.0
_RESPONSES = {**RESPONSES, 501: {"model": RESPONSES[400]["model"], "description": "This server takes no jobs"}}


class JobReply(Reply):
    """Times are seconds of the epoch. ``result`` is what `/v1/infer` would have said, once the job is done."""

    id: str
    state: Literal["queued", "running", "done", "failed", "cancelled"]
    priority: int
    attempt: int
    accepted: float
    started: float | None
    ended: float | None
    result: InferReply | None
    error: str | None


class JobsReply(Reply):
    jobs: list[JobReply]


async def perform(service: Service, payload: dict[str, Any]) -> dict[str, Any]:
    """What a job comes to.

    Raises:
        Overloaded: there is no room for it now, or the server is going down. EngineError, ApiError: it can't be done.
    """
    wish = InferRequest.model_validate(payload["request"]).whole_wish
    try:
        answer = await service.begin(wish, tenant=payload["tenant"])
    except ApiError as error:
        if error.status == 503:
            raise Overloaded(error.message, retry_after_s=error.retry_after_s or _RETRY_S) from error
        raise
    try:
        (done,) = await answer.finished()
    finally:
        answer.cancel()
    if done.result.finish_reason == "cancelled":
        raise Overloaded("the server is going down", retry_after_s=_RETRY_S)
    return infer_reply(answer, done)


@router.post("/v1/jobs", status_code=202, response_model=JobReply, responses=_RESPONSES, summary="Accept a job")
async def accept_job(
    request: Request,
    body: Annotated[InferRequest, Body()],
    idempotency_key: Annotated[str | None, Header(min_length=1, max_length=200)] = None,
) -> Response:
    """The job is on the disk when this is answered. The same `Idempotency-Key` again is the same job."""
    if body.stream:
        raise RequestError("a job can't be streamed", hint="ask /v1/infer, or for the job until it is done")
    _ = body.whole_wish  # what is malformed is told now
    jobs, runner = _jobs(request)
    tenant = tenant_of(request)
    payload = {"tenant": tenant, "request": body.model_dump(exclude_unset=True)}
    priority = service_of(request).priority_of(tenant, body.priority)
    job = await asyncio.to_thread(jobs.accept, payload, tenant=tenant, key=idempotency_key, priority=priority)
    runner.notify()
    return whole(_reply(job), status=202)


@router.get("/v1/jobs", response_model=JobsReply, responses=_RESPONSES, summary="List the jobs of this key")
async def list_jobs(request: Request, limit: Annotated[int, Query(ge=1, le=1000)] = 100) -> JobsReply:
    jobs, _ = _jobs(request)
    found = await asyncio.to_thread(jobs.list, tenant=tenant_of(request), limit=limit)
    return JobsReply(jobs=[_reply(each) for each in found])


@router.get("/v1/jobs/{id}", response_model=JobReply, responses=_RESPONSES, summary="Look at a job")
async def get_job(request: Request, id: Annotated[str, Field(max_length=100)]) -> JobReply:
    jobs, _ = _jobs(request)
    return _found(await asyncio.to_thread(jobs.get, id, tenant=tenant_of(request)))


@router.delete("/v1/jobs/{id}", response_model=JobReply, responses=_RESPONSES, summary="Cancel a job")
async def cancel_job(request: Request, id: Annotated[str, Field(max_length=100)]) -> JobReply:
    """A job that has ended stays as it is."""
    _, runner = _jobs(request)
    return _found(await runner.cancel(id, tenant=tenant_of(request)))


def _jobs(request: Request) -> tuple[Jobs, JobRunner]:
    jobs, runner = request.app.state.jobs, request.app.state.job_runner
    if jobs is None:
        raise ApiError(501, "this server takes no jobs", "no_jobs")
    return jobs, runner


def _found(job: Job | None) -> JobReply:
    if job is None:
        raise ApiError(404, "there is no such job, or its result is no longer kept", "unknown_job")
    return _reply(job)


def _reply(job: Job) -> JobReply:
    return JobReply(
        id=job.id,
        state=job.state,
        priority=job.priority,
        attempt=job.attempt,
        accepted=job.accepted,
        started=job.started,
        ended=job.ended,
        result=InferReply.model_validate(job.result) if job.result is not None else None,
        error=job.error,
    )
