"""A web server on 127.0.0.1 that knows ranges, and can misbehave in the ways that servers and networks do."""

import base64
import contextlib
import http.server
import re
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Page:
    """What a path answers.

    ``answers`` (status, headers) are given first, one per request. ``cuts`` are body bytes after which the
    connection breaks, one per request. ``shift`` makes the server send another part than was asked for. ``hold`` is
    called in the middle of a body.
    """

    data: bytes = b""
    etag: str = '"v1"'
    ignores_ranges: bool = False
    shift: int = 0
    total: int | None = None
    stated_length: int | None = None
    endless: bool = False
    redirect: str = ""
    login: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    answers: list[tuple[int, dict[str, str]]] = field(default_factory=list)
    cuts: list[int] = field(default_factory=list)
    hold: Callable[[], object] | None = None


@dataclass
class Request:
    method: str
    path: str
    headers: dict[str, str]
    status: int = 0
    sent: int = 0


class WebServer:
    """``server.pages["/a"] = Page(data)`` is served at ``server.url + "/a"``; ``requests``
    logs what was asked and sent."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.pages: dict[str, Page] = {}
        self.requests: list[Request] = []

    def serve(self, path: str, data: bytes = b"", **knobs) -> str:
        self.pages[path] = Page(data, **knobs)
        return self.url + path

    @property
    def sent(self) -> int:
        """How many bytes of bodies were sent."""
        return sum(request.sent for request in self.requests)


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    web: WebServer

    def log_message(self, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        self.request_seen = Request("GET", self.path, dict(self.headers.items()))
        self.web.requests.append(self.request_seen)
        page = self.web.pages.get(path)
        if page is None:
            return self._head(404, {"Content-Length": "0"})
        if page.login and self.headers.get("Authorization") != _basic(page.login):
            return self._head(401, {"Content-Length": "0", "WWW-Authenticate": 'Basic realm="test"'})
        if page.answers:
            status, headers = page.answers.pop(0)
            return self._head(status, {"Content-Length": "0", **headers})
        if page.redirect:
            return self._head(302, {"Content-Length": "0", "Location": page.redirect})
        return self._serve(page)

    def _serve(self, page: Page) -> None:
        start = self._start(page)
        if start >= len(page.data) and start:
            return self._head(416, {"Content-Length": "0", "Content-Range": f"bytes */{len(page.data)}"})
        headers = ({"ETag": page.etag} if page.etag else {}) | page.headers
        if page.etag and self.headers.get("If-None-Match") == page.etag:
            return self._head(304, headers)
        body = page.data[start + page.shift :] if start else page.data
        if start:
            total = len(page.data) if page.total is None else page.total
            headers["Content-Range"] = f"bytes {start + page.shift}-{len(page.data) - 1}/{total}"
        if page.endless:
            headers["Connection"] = "close"
        else:
            headers["Content-Length"] = str(len(body) if page.stated_length is None else page.stated_length)
        self._head(206 if start else 200, headers)
        cut = page.cuts.pop(0) if page.cuts else None
        middle = len(body) // 2 if cut is None else min(cut, len(body))
        self._send(body[:middle])
        if page.hold:
            page.hold()
        if cut is not None:
            self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True
            return None
        self._send(body[middle:])
        while page.endless:
            self._send(b"x" * 65536)
        return None

    def _start(self, page: Page) -> int:
        """Where the wanted range begins, 0 if all is to be sent."""
        match = re.fullmatch(r"bytes=([0-9]+)-", self.headers.get("Range", ""))
        condition = self.headers.get("If-Range")
        if match is None or page.ignores_ranges or (condition and condition != page.etag):
            return 0
        return int(match[1])

    def _head(self, status: int, headers: dict[str, str]) -> None:
        self.request_seen.status = status
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def _send(self, data: bytes) -> None:
        self.wfile.write(data)
        self.request_seen.sent += len(data)


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: object, client_address: object) -> None:
        pass  # clients break off


def _basic(login: str) -> str:
    return "Basic " + base64.b64encode(login.encode()).decode()


@contextlib.contextmanager
def serve_web(*, certificate: Path | None = None) -> Iterator[WebServer]:
    """Serve over HTTP, or over HTTPS with a ``certificate`` (and its key, in one PEM file)."""
    handler = type("Handler", (_Handler,), {})
    server = _Server(("127.0.0.1", 0), handler)
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    handler.web = WebServer(f"http{'s' if certificate else ''}://127.0.0.1:{server.server_address[1]}")
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield handler.web
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
