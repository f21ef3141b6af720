"""HTTP in front of a live site: conditional requests, headers that keep browsers strict,
hosts that are answered for."""

import re
from collections.abc import Sequence

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from xpm.site.live import LiveSite
from xpm.site.render import POLICY
from xpm_index.errors import XpmError

_PORT = re.compile(r":\d{1,5}$")
_MAX_PATH = 300
_HEADERS = {
    "content-security-policy": f"{POLICY}; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "clipboard-write=(self), camera=(), microphone=(), geolocation=()",
}


def create_app(site: LiveSite, *, hosts: Sequence[str] = (), routes: Sequence[Route] = ()) -> ASGIApp:
    """The application.

    Args:
        hosts: names, without ports, that requests may be addressed to; () for any.
        routes: further ones, which come first.
    """

    async def page(request: Request) -> Response:
        path = request.path_params["path"]
        if path == "compare.html":
            both = request.query_params.get("a", ""), request.query_params.get("b", "")
            found = await run_in_threadpool(site.pair, *both)
            if found:
                return RedirectResponse(f"/{found}", status_code=303)
        reply = await run_in_threadpool(site.reply, path[:_MAX_PATH], request.query_params)
        headers = {"etag": reply.etag, "cache-control": "no-cache"}
        if reply.status == 200 and _is_known(request.headers.get("if-none-match", ""), reply.etag):
            return Response(status_code=304, headers=headers)
        return Response(reply.body, reply.status, headers, media_type=reply.media_type)

    app = Starlette(
        routes=[*routes, Route("/{path:path}", page, methods=["GET", "HEAD"])], exception_handlers={XpmError: _unread}
    )
    return _Guard(app, hosts)


async def _unread(request: Request, error: Exception) -> Response:
    """Whatever was asked: of the index nothing can be said now."""
    return Response("the index can't be read just now\n", 503, {"retry-after": "5"}, media_type="text/plain")


def _is_known(given: str, etag: str) -> bool:
    return given.strip() == "*" or etag in [each.strip().removeprefix("W/") for each in given.split(",")]


class _Guard:
    """Headers on everything that goes out; 421 for hosts that are not ours, so that no page
    elsewhere can be pointed at us."""

    def __init__(self, app: ASGIApp, hosts: Sequence[str]) -> None:
        self._app, self._hosts = app, frozenset(each.lower() for each in hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                added = [(name.encode(), value.encode()) for name, value in _HEADERS.items()]
                message["headers"] = [*message["headers"], *added]
            await send(message)

        given = next((value.decode("latin-1") for name, value in scope["headers"] if name == b"host"), "")
        if self._hosts and _PORT.sub("", given).lower() not in self._hosts:
            reply = Response("this server does not answer for that host\n", 421, media_type="text/plain")
            await reply(scope, receive, guarded)
            return
        await self._app(scope, receive, guarded)
