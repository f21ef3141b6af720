"""``/``: a page for people that says how the server is, made here, without a script; anew every 5
seconds for who follows it."""

from collections import deque
from collections.abc import Sequence
from functools import cache
from importlib import resources

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, PlainTextResponse, Response
from jinja2 import Environment, Template

from xpm_runtime.server.api.replies import service_of

router = APIRouter(include_in_schema=False)
_POINTS = 60
_WIDTH, _HEIGHT = 240, 40
_HEADERS = {
    "content-security-policy": "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none';"
    " frame-ancestors 'none'",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
}


@router.get("/", response_class=HTMLResponse)
@router.head("/", response_class=HTMLResponse)
async def status_page(request: Request, follow: bool = False) -> Response:
    service = service_of(request)
    now = service.worker.snapshot()
    speeds: deque[float] = request.app.state.speeds
    speeds.append(now.tokens_per_s)
    told = {
        "base": service.host.base,
        "experts": service.host.list_experts(),
        "now": now,
        "follows": follow,
        "waiting": sum(now.waiting),
        "points": sparkline(speeds),
        "width": _WIDTH,
        "height": _HEIGHT,
    }
    return HTMLResponse(_template().render(**told), headers=_HEADERS)


@router.get("/status.css", response_class=PlainTextResponse)
async def style() -> Response:
    return Response(_file("status.css"), media_type="text/css", headers={"cache-control": "max-age=3600"})


@router.get("/favicon.ico")
async def icon() -> Response:
    """There is none, and no browser needs to ask twice."""
    return Response(status_code=204, headers={"cache-control": "max-age=86400"})


def new_speeds() -> deque[float]:
    """The tokens per second of the last times that somebody looked."""
    return deque([0.0], maxlen=_POINTS)


def sparkline(values: Sequence[float] | deque[float]) -> str:
    """The points of an SVG polyline, the last value at the right."""
    highest = max(*values, 1.0) if len(values) > 1 else max(values[0], 1.0)
    step = _WIDTH / (_POINTS - 1)
    start = _POINTS - len(values)
    return " ".join(
        f"{(start + place) * step:.1f},{_HEIGHT - 1 - value / highest * (_HEIGHT - 2):.1f}"
        for place, value in enumerate(values)
    )


@cache
def _template() -> Template:
    return Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(_file("status.html"))


def _file(name: str) -> str:
    return resources.files("xpm_runtime.server").joinpath(name).read_text(encoding="utf-8")
