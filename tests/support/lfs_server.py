"""A Git LFS server on 127.0.0.1: the batch API, its objects served by a ``WebServer``."""

import base64
import contextlib
import hashlib
import http.server
import json
import threading
from collections.abc import Iterator

from tests.support.web_server import WebServer, serve_web


def pointer_to(data: bytes) -> bytes:
    """The file that Git holds in the place of ``data``."""
    oid = hashlib.sha256(data).hexdigest()
    return f"version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize {len(data)}\n".encode()


class LfsServer:
    """``url`` is an LFS server; ``storage`` serves the objects, at another origin, and wants
    ``token`` for them if it is set."""

    def __init__(self, url: str, storage: WebServer) -> None:
        self.url = url
        self.storage = storage
        self.login = ""
        self.token = ""
        self.oversized = False
        self.requests: list[dict[str, str]] = []

    def put(self, data: bytes, **knobs) -> bytes:
        """Keep an object; returns its pointer. ``knobs`` are those of a Page."""
        self.storage.serve(f"/{hashlib.sha256(data).hexdigest()}", knobs.pop("instead", data), **knobs)
        return pointer_to(data)

    def answer(self, asked: dict[str, object]) -> dict[str, object]:
        objects = []
        for wanted in asked["objects"]:
            found = f"/{wanted['oid']}" in self.storage.pages
            header = {"Authorization": f"Bearer {self.token}"} if self.token else {}
            action = {"href": f"{self.storage.url}/{wanted['oid']}?secret=signed", "header": header}
            missing = {"error": {"code": 404, "message": "Object does not exist"}}
            objects.append({**wanted, **({"actions": {"download": action}} if found else missing)})
        return {"transfer": "basic", "objects": objects}


class _Handler(http.server.BaseHTTPRequestHandler):
    lfs: LfsServer

    def log_message(self, *args: object) -> None:
        pass

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.lfs.requests.append(dict(self.headers.items()))
        expected = "Basic " + base64.b64encode(self.lfs.login.encode()).decode()
        if self.lfs.login and self.headers.get("Authorization") != expected:
            return self._answer(401, b"{}")
        if self.path != "/lfs/objects/batch" or self.headers["Accept"] != "application/vnd.git-lfs+json":
            return self._answer(404, b"{}")
        if self.lfs.oversized:
            return self._answer(200, b" " * (4 << 20))
        return self._answer(200, json.dumps(self.lfs.answer(json.loads(body))).encode())

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/vnd.git-lfs+json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        with contextlib.suppress(OSError):
            self.wfile.write(body)


@contextlib.contextmanager
def serve_lfs() -> Iterator[LfsServer]:
    handler = type("Handler", (_Handler,), {})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    with serve_web() as storage:
        handler.lfs = LfsServer(f"http://127.0.0.1:{server.server_address[1]}/lfs", storage)
        thread.start()
        try:
            yield handler.lfs
        finally:
            server.shutdown()
            server.server_close()
            thread.join()
