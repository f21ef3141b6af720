"""A server that speaks as much of the Hugging Face hub's protocol as a snapshot download asks for."""

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class HubRepository:
    """What a repository has: ``commits`` are folders by commit, ``branches`` commits by name.

    ``cuts`` are after how many bytes the next answers with weights break off; ``token`` is asked for if there is one.
    """

    commits: dict[str, Path]
    branches: dict[str, str]
    cuts: list[int] = field(default_factory=list)
    token: str = ""

    @classmethod
    def of(cls, folder: Path, *, commit: str = COMMIT, **more: object) -> "HubRepository":
        """With one commit, which ``main`` is at."""
        return cls(commits={commit: folder}, branches={"main": commit}, **more)  # type: ignore[arg-type]


@contextmanager
def serve_model(model_id: str, folder: Path, *, cuts: list[int] | None = None) -> Iterator[tuple[str, list[str]]]:
    """(the endpoint's URL, the paths asked for so far) of a hub that has one model.

    ``cuts`` are after how many bytes the next answers with weights break off.
    """
    with serve_hub({model_id: HubRepository.of(folder, cuts=[] if cuts is None else cuts)}) as served:
        yield served


@contextmanager
def serve_hub(repositories: dict[str, HubRepository]) -> Iterator[tuple[str, list[str]]]:
    """(the endpoint's URL, the paths asked for so far) of a hub that has these repositories, by
    their ids; they may change."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self._answer(with_body=False)

        def do_GET(self) -> None:
            self._answer(with_body=True)

        def _answer(self, *, with_body: bool) -> None:
            asked.append(f"{self.command} {self.path}")
            self._cuts: list[int] = []
            for model_id, repository in repositories.items():
                about, resolve = f"/api/models/{model_id}/revision/", f"/{model_id}/resolve/"
                if not self.path.startswith((about, resolve)):
                    continue
                if repository.token and self.headers.get("Authorization") != f"Bearer {repository.token}":
                    self._send(401, b'{"error": "Access is restricted"}', with_body, code="GatedRepo")
                    return
                if self.path.startswith(about):
                    self._about(model_id, repository, self.path.removeprefix(about), with_body)
                else:
                    commit, _, name = self.path.removeprefix(resolve).partition("/")
                    path = repository.commits.get(commit, Path("/none")) / name
                    self._cuts = repository.cuts
                    if path.is_file():
                        self._send(200, path.read_bytes(), with_body, commit=commit)
                    else:
                        self._send(404, b'{"error": "Entry not found"}', with_body, code="EntryNotFound")
                return
            self._send(404, b'{"error": "Repository not found"}', with_body, code="RepoNotFound")

        def _about(self, model_id: str, repository: HubRepository, rest: str, with_body: bool) -> None:
            revision, _, query = rest.partition("?")
            commit = repository.branches.get(revision, revision)
            folder = repository.commits.get(commit)
            if folder is None:
                self._send(404, b'{"error": "Invalid rev id"}', with_body, code="RevisionNotFound")
                return
            siblings: list[dict[str, object]] = [
                {"rfilename": path.name} for path in folder.iterdir() if path.is_file()
            ]
            if query == "blobs=true":
                siblings = [each | {"size": (folder / str(each["rfilename"])).stat().st_size} for each in siblings]
            document = {"id": model_id, "sha": commit, "siblings": siblings}
            self._send(200, json.dumps(document).encode(), with_body, commit=commit)

        def _send(self, status: int, body: bytes, with_body: bool, *, code: str = "", commit: str = "") -> None:
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
            if commit:
                self.send_header("X-Repo-Commit", commit)
            if code:
                self.send_header("X-Error-Code", code)
            self.end_headers()
            if with_body and self._cuts and self.path.endswith((".safetensors", ".gguf")):
                self.wfile.write(body[: self._cuts.pop(0)])
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
