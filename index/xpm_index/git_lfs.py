"""Git LFS: where the bytes of a pointer are, asked of the LFS server through dulwich's client.

A pointer and ``.lfsconfig`` come from a stranger's repository: only ids and addresses of the known forms are followed,
sizes are limited before anything comes, and what comes is hashed against the pointer.
"""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

from dulwich.config import ConfigFile
from dulwich.lfs import HTTPLFSClient, LFSError, LFSPointer, LFSStore

from xpm_index.errors import GitError, IntegrityError
from xpm_index.urls import check_file_url, check_web_url, is_local_git, shown, split_scp
from xpm_index.web import Web

MAX_POINTER_BYTES = 1024
_MAX_ANSWER_BYTES = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class LfsObject:
    """Where the bytes of a pointer are: ``data`` if they are here already, else ``url``, to be got with ``headers``.

    ``oid`` is the SHA-256 of the bytes, 64 hex digits. ``headers`` may hold a login, for the origin of ``url`` only.
    """

    oid: str
    size: int
    url: str = field(default="", repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    data: bytes | None = field(default=None, repr=False)

    def chunks(self, web: Web) -> Iterator[bytes]:
        """The bytes, size and digest checked; raises WebError or IntegrityError."""
        hasher, received = hashlib.sha256(), 0
        for chunk in (self.data,) if self.data is not None else self._download(web):
            received += len(chunk)
            if received > self.size:
                break
            hasher.update(chunk)
            yield chunk
        if received != self.size or hasher.hexdigest() != self.oid:
            raise IntegrityError("Git LFS sent other bytes than its pointer promises", context=f"sha256:{self.oid}")

    def _download(self, web: Web) -> Iterator[bytes]:
        with web.request(self.url, private=self.headers) as answer:
            yield from answer.chunks()


def parse_pointer(data: bytes) -> LFSPointer | None:
    """The pointer that a file of a repository is, or None if it is an ordinary file."""
    pointer = LFSPointer.from_bytes(data) if len(data) <= MAX_POINTER_BYTES else None
    return pointer if pointer is not None and _is_sha256(pointer.oid) else None


def locate(pointer: LFSPointer, *, remote: str, lfsconfig: bytes | None, web: Web) -> LfsObject:
    """Ask where the bytes of a pointer are.

    Args:
        remote: the URL of the repository.
        lfsconfig: the repository's ``.lfsconfig`` at the same commit, which may name another server.
    Raises:
        GitError: the server does not have them. WebError, InvalidUrl: it can't or may not be asked.
    """
    try:
        address = _stated_address(lfsconfig) or _address_of(remote)
        if address.startswith("file:"):
            return _read_local(pointer, address, remote)
        return _ask(pointer, check_web_url(address), web)
    except (LFSError, ValueError, OSError) as error:
        raise GitError(f"Git LFS of {shown(remote)} does not give the file", context=f"{error}"[:200]) from error


def _ask(pointer: LFSPointer, address: str, web: Web) -> LfsObject:
    objects = _Client(address, web).batch("download", [{"oid": pointer.oid, "size": pointer.size}]).objects
    if len(objects) != 1 or objects[0].oid != pointer.oid:
        raise LFSError("the server speaks of another file")
    if objects[0].error is not None:
        raise LFSError(f"the server says {objects[0].error.code}: {objects[0].error.message!r}")
    action = (objects[0].actions or {}).get("download")
    if action is None:
        raise LFSError("the server does not have the file")
    headers = {str(name): str(value) for name, value in (action.header or {}).items()}
    return LfsObject(oid=pointer.oid, size=pointer.size, url=check_web_url(action.href, signed=True), headers=headers)


class _Client(HTTPLFSClient):
    """dulwich's client for the batch API, its requests made as all of ours are."""

    def __init__(self, address: str, web: Web) -> None:
        super().__init__(address)
        self._web = web

    def _request(self, method: str, url: str, headers: dict[str, str], body: bytes | None = None) -> Any:
        with self._web.request(url, method=method, headers=headers, body=body) as answer:
            return SimpleNamespace(status=answer.status, data=answer.read(_MAX_ANSWER_BYTES))


def _read_local(pointer: LFSPointer, address: str, remote: str) -> LfsObject:
    if not is_local_git(remote):
        raise LFSError("a repository elsewhere names a folder of this machine")
    try:
        with LFSStore(check_file_url(address)).open_object(pointer.oid) as file:
            return LfsObject(oid=pointer.oid, size=pointer.size, data=file.read(pointer.size + 1))
    except KeyError as error:
        raise LFSError("the repository does not have the file") from error


def _stated_address(lfsconfig: bytes | None) -> str | None:
    """``lfs.url`` of a ``.lfsconfig``."""
    if lfsconfig is None:
        return None
    try:
        return ConfigFile.from_file(BytesIO(lfsconfig)).get((b"lfs",), b"url").decode()
    except KeyError:
        return None


def _address_of(remote: str) -> str:
    """The LFS server that belongs to a repository if nothing else is stated."""
    if is_local_git(remote):
        folder = Path(check_file_url(remote))
        inner = folder / ".git"
        return ((inner if inner.is_dir() else folder) / "lfs").as_uri()
    parts = urlsplit(remote)
    if (scp := split_scp(remote)) is not None:
        _, host, path = scp
        remote = f"https://{host}/{path.lstrip('/')}"
    elif parts.scheme == "ssh":
        remote = f"https://{parts.hostname}{parts.path}"
    remote = remote.rstrip("/")
    return f"{remote}/info/lfs" if remote.endswith(".git") else f"{remote}.git/info/lfs"


def _is_sha256(text: str) -> bool:
    return len(text) == 64 and set(text) <= set("0123456789abcdef")
