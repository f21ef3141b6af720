"""How the server is: ``/health``, ``/ready`` and ``/metrics``."""

from typing import Literal

from fastapi import APIRouter, Request
from fastapi.responses import Response

from xpm_runtime.server.api.fields import Reply
from xpm_runtime.server.api.openai_errors import RESPONSES
from xpm_runtime.server.api.replies import service_of
from xpm_runtime.server.errors import ApiError
from xpm_runtime.server.metrics import CONTENT_TYPE

router = APIRouter(tags=["Operations"])


class HealthReply(Reply):
    status: Literal["ok"] = "ok"


@router.get("/health", response_model=HealthReply, summary="Whether the process answers")
async def health() -> HealthReply:
    return HealthReply()


@router.get(
    "/ready", response_model=HealthReply, responses={503: RESPONSES[503]}, summary="Whether it takes on new requests"
)
async def ready(request: Request) -> HealthReply:
    if service_of(request).worker.is_draining:
        raise ApiError(503, "the server is going down", "draining", retry_after_s=5)
    return HealthReply()


@router.get(
    "/metrics",
    responses={**{status: RESPONSES[status] for status in (401, 403)}, 200: {"content": {"text/plain": {}}}},
    response_class=Response,
    summary="Figures for Prometheus",
)
async def metrics(request: Request) -> Response:
    return Response(service_of(request).metrics.text(), media_type=CONTENT_TYPE)
