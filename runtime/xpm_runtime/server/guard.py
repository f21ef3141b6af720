"""What stands in front of every route: hosts, keys, quotas, sizes, times; request ids and a line in the log for each.

Written for ASGI itself, so that streams pass through untouched.
"""

import asyncio
import logging
import re
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from xpm_runtime.server.errors import ApiError, as_api_error
from xpm_runtime.server.keys import Key, KeyFile
from xpm_runtime.server.quotas import Quotas
from xpm_runtime.server.traces import CARRIED, carrier

_LOG = logging.getLogger("xpm.serve")
_PORT = re.compile(r":\d{1,5}$")
_REQUEST_ID = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_OPEN = frozenset({"/health", "/ready"})
_SCOPES = (("/metrics", "metrics"), ("/v1/experts/", "admin"))
MAX_BODY_BYTES = 8 << 20
_BODY_S = 30.0
_HEADER_BYTES = 32 << 10
ErrorResponse = Callable[[str, ApiError], Response]


@dataclass(frozen=True, slots=True, kw_only=True)
class Security:
    """``hosts`` are names, without ports, that requests may be addressed to.

    ``needs_key``: also where there is none (any more) nobody is let in without one; else a key is
    needed as soon as there is one.
    """

    keys: KeyFile
    hosts: tuple[str, ...]
    needs_key: bool = False
    max_body_bytes: int = MAX_BODY_BYTES
    quotas: Quotas = field(default_factory=Quotas)


class Guard:
    """The middleware."""

    def __init__(
        self, app: ASGIApp, security: Security, error_response: ErrorResponse, count: Callable[[str, int], None]
    ) -> None:
        """
        Args:
            count: told of (path of the route, status) of every response.
        """
        self._app, self._security, self._error_response, self._count = app, security, error_response, count
        self._hosts = frozenset(each.lower() for each in security.hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        if scope["type"] != "http":
            return
        headers = Headers(scope=scope)
        given = headers.get("x-request-id", "")
        request_id = given if _REQUEST_ID.fullmatch(given) else f"req_{uuid.uuid4().hex}"
        told = _Told(send, request_id)
        started = time.perf_counter()
        tenant = ""
        try:
            key = self._admitted(scope, headers)
            tenant = key.name if key else ""
            scope["xpm.tenant"], scope["xpm.request_id"] = tenant, request_id
            carrier.set({name: value for name in CARRIED if (value := headers.get(name)) is not None})
            if scope["path"].startswith("/api/"):  # whoever asks ollama by curl says of no body that it is JSON
                MutableHeaders(scope=scope)["content-type"] = "application/json"
            await self._app(scope, await self._read(scope, headers, receive), told.send)
        except ApiError as error:
            await self._error_response(scope["path"], error)(scope, receive, told.send)
        finally:
            route = scope.get("route")
            self._count(getattr(route, "path", "") or "other", told.status)
            fields = {
                "request_id": request_id,
                "method": scope["method"],
                "path": scope["path"],
                "status": told.status,
                "ms": round(1e3 * (time.perf_counter() - started), 1),
                "tenant": tenant,
            }
            _LOG.info("request", extra={"fields": fields})

    def _admitted(self, scope: Scope, headers: Headers) -> Key | None:
        """The key of a request, None where none is needed; raises ApiError if it may not come in."""
        if sum(len(name) + len(value) for name, value in headers.raw) > _HEADER_BYTES:
            raise ApiError(431, f"the headers have more than {_HEADER_BYTES:,} bytes", "headers_too_large")
        host = _PORT.sub("", headers.get("host", "")).lower()
        if host not in self._hosts:
            raise ApiError(
                421, f"this server does not answer for the host {host[:80]!r}; --allow-host adds names", "host"
            )
        if (origin := headers.get("origin")) is not None and origin.partition("://")[2] != headers["host"]:
            raise ApiError(403, "pages of other sites may not use this server", "origin")
        path: str = scope["path"]
        if path in _OPEN:
            return None
        keys = self._security.keys
        try:
            if not keys.active() and not self._security.needs_key:
                return None
            secret = _secret(headers)
            key = keys.find(secret) if secret else None
        except Exception as error:
            known = as_api_error(error)
            raise ApiError(
                503, known.message if known else "the keys can't be read", "keys", retry_after_s=5
            ) from error
        if key is None:
            raise ApiError(401, "there is no key" if not secret else "nobody knows this key", "invalid_api_key")
        wanted = next(
            (name for start, name in _SCOPES if (path.startswith(start) and scope["method"] != "GET") or path == start),
            "infer",
        )
        if wanted not in key.scopes and "admin" not in key.scopes:
            raise ApiError(403, f"the key {key.name} has not the scope {wanted}", "scope")
        self._security.quotas.admit(key)
        return key

    async def _read(self, scope: Scope, headers: Headers, receive: Receive) -> Receive:
        """``receive`` of a body that was read whole: it is small enough, and came in time."""
        limit = self._security.max_body_bytes
        length = headers.get("content-length", "0")
        if not length.isascii() or not length.isdigit() or int(length) > limit:
            raise ApiError(413, f"the body has more than {limit:,} bytes", "body_too_large")
        if scope["method"] in ("GET", "HEAD", "OPTIONS") and "transfer-encoding" not in headers and int(length) == 0:
            return receive
        pending = iter(await whole_body(receive, limit))

        async def replay() -> Message:
            return next(pending, None) or await receive()

        return replay


async def whole_body(receive: Receive, limit: int = MAX_BODY_BYTES) -> list[Message]:
    """The messages that a request's body comes in, the last one of a client that left instead; raises ApiError if it
    is too large or too slow."""
    messages: list[Message] = []
    size = 0
    try:
        async with asyncio.timeout(_BODY_S):
            while True:
                message = await receive()
                messages.append(message)
                size += len(message.get("body", b""))
                if size > limit:
                    raise ApiError(413, f"the body has more than {limit:,} bytes", "body_too_large")
                if message["type"] == "http.disconnect" or not message.get("more_body", False):
                    return messages
    except TimeoutError:
        raise ApiError(408, f"the body did not come within {_BODY_S:.0f} s", "timeout") from None


def _secret(headers: Headers) -> str:
    """From ``Authorization: Bearer``, as OpenAI's clients send it, or ``x-api-key``, as Anthropic's do."""
    scheme, _, secret = headers.get("authorization", "").partition(" ")
    return secret.strip() if scheme.lower() == "bearer" else headers.get("x-api-key", "").strip()


class _Told:
    """``send`` that adds headers and remembers the status."""

    def __init__(self, send: Send, request_id: str) -> None:
        self._send, self._request_id = send, request_id
        self.status = 0

    async def send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = MutableHeaders(scope=message)
            headers["x-request-id"] = headers["request-id"] = self._request_id
            headers["x-content-type-options"] = "nosniff"
        await self._send(message)
