"""Handing in a version's signed archives to a served marketplace; an upload that broke off goes on where it was."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xpm.errors import NotFoundError, UsageError
from xpm.home import Home
from xpm.operations.clock import now
from xpm.operations.publish import list_keys
from xpm.progress import Progress, Silent
from xpm_index.archive import read_manifest
from xpm_index.digests import sha256_file
from xpm_index.errors import KeyFileError, PackagingError
from xpm_index.integrity import PackageSignature, read_signature
from xpm_index.keys import SigningKey
from xpm_index.uploads import CHUNK_BYTES, KINDS, MAX_ARCHIVES, OFFSET, UploadClaim
from xpm_index.web import Answer, Web, WebError

_MAX_FAILURES = 4
_PAUSE_S = 0.5
_MAX_REPLY_BYTES = 1 << 20
_TOLD = (400, 403, 409, 413, 422, 429)


class RefusedUpload(PackagingError):
    """What a marketplace says of an archive that it does not take."""

    code = "refused-upload"


@dataclass(frozen=True, slots=True, kw_only=True)
class Uploaded:
    """``branch`` is where it waits for the maintainer; ``findings`` are what the rules of publishing warn of."""

    name: str
    version: str
    branch: str
    findings: tuple[Mapping[str, Any], ...]


def upload(
    home: Home,
    url: str,
    archives: Sequence[Path],
    *,
    keys: tuple[SigningKey, ...] = (),
    progress: Progress | None = None,
    sleep: Callable[[float], object] = time.sleep,
) -> Uploaded:
    """Hand in the signed archives of one version; the key that signed them signs the upload.

    Args:
        keys: further keys beside the user's own.
    Raises:
        RefusedUpload: they are not taken, and why. KeyFileError: the key is not here. WebError:
            the server can't be reached.
        PackagingError: they are not of one version.
    """
    kind, signature = _common(archives)
    key = _key(home, signature.key_id, keys)
    digests = {sha256_file(each): each for each in archives}
    root = url.rstrip("/")
    reply: dict[str, Any] = {}
    with Web() as web:
        index_id = _index_id(web, root)
        for digest, archive in digests.items():
            claim = UploadClaim(
                index_id=index_id,
                digest=digest,
                size=archive.stat().st_size,
                kind=kind,
                publisher=signature.publisher,
                key_id=signature.key_id,
                at=now(),
                beside=tuple(sorted(digests.keys() - {digest})),
            )
            sending = _Sending(web, f"{root}/uploads/{claim.digest}", claim.headers(key), archive, claim.size)
            reply = sending.run(progress or Silent(), sleep)
    if "missing" in reply:
        raise RefusedUpload("the marketplace has lost one of the archives meanwhile", hint="hand them in again")
    return Uploaded(
        name=str(reply.get("name")),
        version=str(reply.get("version")),
        branch=str(reply.get("branch")),
        findings=tuple(reply.get("findings") or ()),
    )


def _common(archives: Sequence[Path]) -> tuple[str, PackageSignature]:
    """(kind, who signed) of the archives of one version."""
    found = set()
    for each in archives:
        if not each.is_file():
            raise NotFoundError(f"there is no file {each}")
        kind = each.suffix.removeprefix(".")
        if kind not in KINDS:
            raise UsageError(f"{each.name} is no package file", hint="its name ends in .expert or .base")
        manifest = read_manifest(each)
        signature = read_signature(manifest)
        found.add((kind, manifest.name, manifest.version, signature.publisher, signature.key_id))
    if len(found) != 1:
        raise PackagingError(
            "the archives are of different packages or versions, or signed by different keys",
            hint="hand in one version at a time",
        )
    if len(archives) > MAX_ARCHIVES:
        raise PackagingError(f"a version has at most {MAX_ARCHIVES} archives")
    return kind, signature


class _Sending:
    """One archive on its way."""

    def __init__(self, web: Web, url: str, headers: Mapping[str, str], archive: Path, size: int) -> None:
        self._web, self._url, self._headers, self._archive, self._size = web, url, headers, archive, size

    def run(self, progress: Progress, sleep: Callable[[float], object]) -> dict[str, Any]:
        """Send what is missing until the server says what became of it."""
        failures = 0
        progress.start(self._archive.name, self._size)
        try:
            while True:
                try:
                    offset = self._offset()
                    progress.skip(offset)
                    while (reply := self._send(offset)) is None:
                        progress.advance(min(CHUNK_BYTES, self._size - offset))
                        offset += min(CHUNK_BYTES, self._size - offset)
                    return reply
                except WebError as error:
                    failures += 1
                    if not error.transient or failures >= _MAX_FAILURES:
                        raise
                    sleep(max(_PAUSE_S * 2**failures, error.retry_after_s))
        finally:
            progress.stop()

    def _offset(self) -> int:
        with self._web.request(self._url, method="HEAD", headers=self._headers, answers=_TOLD) as answer:
            if answer.status >= 400:
                raise RefusedUpload("the marketplace takes nothing by this key", hint="ask its maintainer to add it")
            text = answer.headers.get(OFFSET, "")
        return int(text) if text.isascii() and text.isdigit() and len(text) < 16 else 0

    def _send(self, offset: int) -> dict[str, Any] | None:
        """Send the piece at an offset; what became of the whole, None if more of it is wanted."""
        with self._archive.open("rb") as file:
            file.seek(offset)
            piece = file.read(CHUNK_BYTES)
        headers = {**self._headers, OFFSET: str(offset), "content-type": "application/octet-stream"}
        with self._web.request(self._url, method="PATCH", headers=headers, body=piece, answers=_TOLD) as answer:
            if answer.status == 204:
                return None
            if answer.status in (201, 202):
                return _document(answer)
            error = _document(answer).get("error")
            told = error if isinstance(error, dict) else {}
        raise RefusedUpload(
            str(told.get("message") or "the marketplace does not take it")[:500],
            context=str(told["context"])[:2000] if told.get("context") else None,
            hint=str(told["hint"])[:500] if told.get("hint") else None,
        )


def _index_id(web: Web, root: str) -> str:
    with web.request(f"{root}/status.json") as answer:
        found = _document(answer).get("id")
    if not isinstance(found, str) or not found:
        raise RefusedUpload(f"{root} is no marketplace", hint="name the address that `xpm market serve` printed")
    return found


def _document(answer: Answer) -> dict[str, Any]:
    try:
        found = json.loads(answer.read(_MAX_REPLY_BYTES))
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _key(home: Home, key_id: str, keys: tuple[SigningKey, ...]) -> SigningKey:
    for key in keys:
        if key.key_id == key_id:
            return key
    for info in list_keys(home):
        if info.public.key_id == key_id:
            return SigningKey.load(info.path)
    raise KeyFileError(f"the key {key_id} that signed the archive is not here", hint="name its file with --key")
