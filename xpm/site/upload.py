"""Archives handed in to a served site: taken in pieces, resumed where they broke off, and staged once they are whole.

Nothing is taken of anybody but a publisher whose key the index lists. A version whose archives are all
whole, with the digests that were signed, goes to ``stage``, which verifies and scans it; whatever it says,
the files are gone afterwards.
"""

import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from xpm.errors import ExpectedError
from xpm.site.body import read_body
from xpm_index.digests import sha256_file
from xpm_index.errors import IntegrityError, SignatureError, TrustError, XpmError
from xpm_index.keys import PublicKey
from xpm_index.metadata import now_utc
from xpm_index.uploads import MAX_ARCHIVES, MAX_CHUNK_BYTES, OFFSET, SIGNATURE, UploadClaim

MAX_BYTES = 512 << 20
_MAX_OPEN = MAX_ARCHIVES  # of one publisher
_KEPT_S = 24 * 3600.0
_BODY_S = 60.0
_PARTIAL = ".partial"
Stage = Callable[[Sequence[Path], UploadClaim], dict[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """What uploads are held against: the index's id, the key that may sign at a time, and where what is whole goes."""

    index_id: str
    key_of: Callable[[UploadClaim, datetime], PublicKey]
    stage: Stage
    max_bytes: int = MAX_BYTES
    now: Callable[[], datetime] = now_utc


class Uploads:
    """The routes of uploads; ``folder`` is where what is not whole yet lies."""

    def __init__(self, desk: Desk, folder: Path) -> None:
        self._desk, self._folder = desk, folder
        self._lock = threading.Lock()
        folder.mkdir(parents=True, exist_ok=True)

    @property
    def routes(self) -> list[Route]:
        return [Route("/uploads/{digest}", self._handle, methods=["HEAD", "PATCH"])]

    async def _handle(self, request: Request) -> Response:
        try:
            claim = await run_in_threadpool(self._claim, request)
            if request.method == "HEAD":
                return Response(headers={OFFSET: str(await run_in_threadpool(self._offset, claim))})
            body = await read_body(request.stream(), max_bytes=MAX_CHUNK_BYTES, seconds=_BODY_S)
            if body is None:
                return _problem(413, f"a piece has at most {MAX_CHUNK_BYTES} bytes, and comes within {_BODY_S:.0f} s")
            return await run_in_threadpool(self._take, claim, request.headers.get(OFFSET, ""), body)
        except (SignatureError, TrustError) as error:
            return _refusal(403, error)
        except XpmError as error:
            return _refusal(400, error)

    def _claim(self, request: Request) -> UploadClaim:
        """Who hands in what, verified; raises SignatureError or TrustError."""
        now = self._desk.now()
        claim = UploadClaim.parse(request.headers, index_id=self._desk.index_id, digest=request.path_params["digest"])
        claim.verify(self._desk.key_of(claim, now), request.headers.get(SIGNATURE, ""), now=now)
        return claim

    def _path(self, claim: UploadClaim, digest: str = "") -> Path:
        """Where an archive lies once it is whole; by default the one that the claim is of."""
        return self._folder / f"{claim.publisher}.{(digest or claim.digest).removeprefix('sha256:')}.{claim.kind}"

    def _lying(self, claim: UploadClaim) -> Path:
        """Where what is there of an archive lies."""
        whole = self._path(claim)
        return whole if whole.is_file() else whole.with_name(whole.name + _PARTIAL)

    def _offset(self, claim: UploadClaim) -> int:
        path = self._lying(claim)
        return path.stat().st_size if path.is_file() else 0

    def _take(self, claim: UploadClaim, offset: str, body: bytes) -> Response:
        with self._lock:
            there = self._offset(claim)
            if offset != str(there):
                return _problem(409, f"{there} bytes are here", headers={OFFSET: str(there)})
            if claim.size > self._desk.max_bytes or there + len(body) > claim.size:
                return _problem(413, f"an archive has at most {self._desk.max_bytes} bytes, and as many as were signed")
            if there == 0 and not self._has_room(claim):
                return _problem(429, f"{claim.publisher} has {_MAX_OPEN} archives here already", {"retry-after": "60"})
            path = self._lying(claim)
            if body:
                with path.open("ab") as file:
                    file.write(body)
            there += len(body)
            if there < claim.size:
                return Response(status_code=204, headers={OFFSET: str(there)})
            return self._whole(path, claim)

    def _whole(self, path: Path, claim: UploadClaim) -> Response:
        """Stage the version if all its archives are whole; 422 says why it can't be."""
        if sha256_file(path) != claim.digest:
            path.unlink()
            return _refusal(422, IntegrityError("the archive is not the one that was signed", hint="send it again"))
        os.replace(path, self._path(claim))
        paths = [self._path(claim, each) for each in (claim.digest, *claim.beside)]
        if missing := sum(not each.is_file() for each in paths):
            return JSONResponse({"missing": missing}, 202, {OFFSET: str(claim.size)})
        try:
            return JSONResponse(self._desk.stage(paths, claim), 201)
        except Exception as error:
            if not isinstance(error, ExpectedError):
                raise
            return _refusal(422, error)
        finally:
            for each in paths:
                each.unlink(missing_ok=True)

    def _has_room(self, claim: UploadClaim) -> bool:
        """Whether the publisher may begin another file; what nobody went on with for a day is removed."""
        count = 0
        for path in self._folder.iterdir():
            if time.time() - path.stat().st_mtime > _KEPT_S:
                path.unlink(missing_ok=True)
            elif path.name.startswith(f"{claim.publisher}."):
                count += 1
        return count < _MAX_OPEN


def _refusal(status: int, error: ExpectedError) -> Response:
    document = {"code": error.code, "message": error.message, "context": error.context, "hint": error.hint}
    return JSONResponse({"error": document}, status)


def _problem(status: int, message: str, headers: dict[str, str] | None = None) -> Response:
    document = {"code": "upload", "message": message, "context": None, "hint": None}
    return JSONResponse({"error": document}, status, headers)
