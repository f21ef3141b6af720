"""Files of a repository at a tag: one shallow fetch, read as objects, with Git LFS pointers resolved."""

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from dulwich.config import ConfigFile
from dulwich.lfs import FileLFSClient, HTTPLFSClient, LFSClient, LFSError, LFSPointer

from xpm_index.errors import GitError
from xpm_index.git import BareRepo, without_credentials
from xpm_index.git_login import Login, ask_git

MAX_TREE_BYTES = 2 << 30
_POINTER_BYTES = 1024
_LFSCONFIG = ".lfsconfig"


@dataclass(frozen=True, slots=True, kw_only=True)
class LfsObject:
    """Where a Git LFS object lies: ``data`` if it came at once, else ``url`` to be got with ``headers``."""

    oid: str
    size: int
    url: str = ""
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    data: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class TaggedTree:
    """The files of ``url`` at a tag."""

    url: str
    repo: BareRepo
    commit: str

    def read(self, path: str) -> bytes | LfsObject | None:
        """The file at ``path``, where Git LFS keeps it, or None; raises GitError."""
        data = self.repo.read_blob(self.commit, path)
        if data is None or len(data) > _POINTER_BYTES:
            return data
        pointer = LFSPointer.from_bytes(data)
        return self._locate(pointer) if pointer is not None and pointer.is_valid_oid() else data

    def paths(self, folder: str = "") -> list[str]:
        """Every file below ``folder``."""
        return list(self.repo.list_tree(self.commit, folder))

    def _locate(self, pointer: LFSPointer) -> LfsObject:
        """Ask the LFS server where an object is, a second time with the login that Git knows if it wants one."""
        client = self._client()
        try:
            if isinstance(client, FileLFSClient):
                data = client.download(pointer.oid, pointer.size)
                return LfsObject(oid=pointer.oid, size=pointer.size, data=data)
            return self._batch(client, pointer)
        except (LFSError, ValueError, OSError) as error:
            told = without_credentials(str(error))[:200]
            raise GitError(
                f"Git LFS of {without_credentials(self.url)} does not give the file", context=told
            ) from error

    def _client(self) -> LFSClient:
        config = ConfigFile()
        stated = self.repo.read_blob(self.commit, _LFSCONFIG)
        if stated is not None:
            with tempfile.NamedTemporaryFile() as file:
                file.write(stated)
                file.flush()
                config = ConfigFile.from_path(file.name)
        config.set((b"remote", b"origin"), b"url", self.url.encode())
        client = LFSClient.from_config(config)
        if client is None:
            raise GitError(f"{without_credentials(self.url)} has no Git LFS address")
        return client

    def _batch(self, client: LFSClient, pointer: LFSPointer) -> LfsObject:
        authorised = _AuthorisedClient(client.url)
        try:
            answer = authorised.batch("download", [{"oid": pointer.oid, "size": pointer.size}])
        except LFSError as error:
            login = ask_git(client.url) if "HTTP 401" in str(error) else None
            if login is None:
                raise
            authorised = _AuthorisedClient(client.url, login)
            answer = authorised.batch("download", [{"oid": pointer.oid, "size": pointer.size}])
        (found,) = answer.objects
        if found.error is not None or not found.actions or found.oid != pointer.oid:
            raise LFSError(found.error.message if found.error else "the server has no such object")
        action = found.actions["download"]
        return LfsObject(oid=pointer.oid, size=pointer.size, url=action.href, headers=dict(action.header or {}))


@contextmanager
def tagged(url: str, tag: str, *, max_bytes: int = MAX_TREE_BYTES) -> Iterator[TaggedTree]:
    """Fetch one tag of a repository, without its history, into a throw-away repository; raises GitError."""
    with (
        tempfile.TemporaryDirectory(prefix="xpm-git-") as folder,
        BareRepo.init(Path(folder) / "tag.git") as repo,
    ):
        yield TaggedTree(url, repo, repo.fetch(url, tag=tag, depth=1, max_bytes=max_bytes))


class _AuthorisedClient(HTTPLFSClient):
    """dulwich's LFS client with a login."""

    def __init__(self, url: str, login: Login | None = None) -> None:
        super().__init__(url)
        self._login = login

    def _make_request(
        self, method: str, path: str, data: bytes | None = None, headers: dict[str, str] | None = None
    ) -> bytes:
        extra = self._login.header() if self._login else {}
        return super()._make_request(method, path, data, {**(headers or {}), **extra})
