"""A server that speaks as much of the Hugging Face hub's protocol as a snapshot download asks for."""

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

_COMMIT = "0123456789abcdef0123456789abcdef01234567"


@contextmanager
def serve_model(model_id: str, folder: Path, *, cuts: list[int] | None = None) -> Iterator[tuple[str, list[str]]]:
    """(the endpoint's URL, the paths asked for so far) of a hub that has one model.

    ``cuts`` are after how many bytes the next answers with weights break off.
    """
    cuts = [] if cuts is None else cuts
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self._answer(with_body=False)

        def do_GET(self) -> None:
            self._answer(with_body=True)

        def _answer(self, *, with_body: bool) -> None:
            asked.append(f"{self.command} {self.path}")
            resolve = f"/{model_id}/resolve/{_COMMIT}/"
            if self.path.startswith(f"/api/models/{model_id}/revision/"):
                siblings = [{"rfilename": path.name} for path in folder.iterdir() if path.is_file()]
                if self.path.endswith("?blobs=true"):
                    siblings = [each | {"size": (folder / each["rfilename"]).stat().st_size} for each in siblings]
                self._send(200, json.dumps({"id": model_id, "sha": _COMMIT, "siblings": siblings}).encode(), with_body)
            elif self.path.startswith(resolve) and (folder / self.path.removeprefix(resolve)).is_file():
                self._send(200, (folder / self.path.removeprefix(resolve)).read_bytes(), with_body)
            else:
                self._send(404, b'{"error": "Repository not found"}', with_body, code="RepoNotFound")

        def _send(self, status: int, body: bytes, with_body: bool, *, code: str = "") -> None:
            etag, first = f'"{hashlib.sha256(body).hexdigest()}"', 0
            if (asked_for := self.headers.get("Range")) and self.headers.get("If-Range") == etag:
                first = int(asked_for.removeprefix("bytes=").removesuffix("-"))
            self.send_response(206 if first else status)
            if first:
                self.send_header("Content-Range", f"bytes {first}-{len(body) - 1}/{len(body)}")
                asked[-1] += f" from {first}"
            body = body[first:]
            self.send_header("Content-Length", str(len(body)))
            self.send_header("ETag", etag)
            self.send_header("X-Repo-Commit", _COMMIT)
            if code:
                self.send_header("X-Error-Code", code)
            self.end_headers()
            if with_body and cuts and self.path.endswith((".safetensors", ".gguf")):
                self.wfile.write(body[: cuts.pop(0)])
                self.close_connection = True
            elif with_body:
                self.wfile.write(body)

        def log_message(self, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
