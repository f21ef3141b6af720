"""The copy of a sparse index: what was fetched of it, file by file as it was needed, and verified.

It is held in a repository on this machine, so that it is read, compared with what comes next, and followed like an
index that was cloned. The server is believed in nothing: ``TufFiles`` says what a file must be, and so whether one
that is held is still right.
"""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from xpm_index.digests import sha256_bytes
from xpm_index.errors import TrustError, XpmError
from xpm_index.git import BareRepo
from xpm_index.git_reading import MAX_TEXT_BYTES
from xpm_index.index import IndexSnapshot
from xpm_index.layout import ENTRIES, METADATA, PUBLISHERS, REVIEWS, entry_path, metadata_path
from xpm_index.metadata import Read
from xpm_index.sparse_server import TIMESTAMP, Remote
from xpm_index.urls import shown
from xpm_index.verified import TufFiles, find_root
from xpm_index.web import WebError

_SNAPSHOT = metadata_path("snapshot")
_TARGETS = metadata_path("targets")
_ETAG = "xpm-etag"
_AUTHOR = "xpm <xpm@localhost>"
_Answer = TypeVar("_Answer")


class NotFetchedError(XpmError):
    """A file of a sparse index is not held here."""

    code = "fetch"
    exit_code = 7


@dataclass(frozen=True, slots=True, kw_only=True)
class Trust:
    """By what a state of an index is believed; see ``TufFiles``."""

    fingerprint: str
    now: datetime
    allow_stale: bool = False


def fetch_newest(repo: BareRepo, remote: Remote, trust: Trust) -> str:
    """Fetch the newest state of an index, of what is held in ``repo`` and has changed, into a commit upon its head.

    The branch is not moved: whether the state may follow the one before is said by ``index_update``. Of an index of
    which nothing is held yet come the metadata and ``index.json``.

    Returns:
        The commit; the head if nothing is new.
    Raises:
        WebError: a file can't be had. TrustError, StaleIndexError, IndexFormatError: what came does not verify.
    """
    head = repo.head()
    held = repo.reader(head) if head else _nothing
    fetched = {} if head else remote.roots()

    def read(path: str) -> bytes | None:
        return fetched[path] if path in fetched else held(path)

    def fetch(path: str, max_bytes: int) -> bytes | None:
        if _is_settled(path) and (known := read(path)) is not None:
            return known
        data = remote.get(path, min(max_bytes, MAX_TEXT_BYTES))
        if data is not None:
            fetched[path] = data
        return data

    if (timestamp := _newer_timestamp(repo, remote, held)) is not None:
        fetched[TIMESTAMP] = timestamp
    files = _tuf_files(read, trust, fetch=fetch, earlier=held, held=_roles(repo, head))
    snapshot = IndexSnapshot(repo, head or "", files)
    if head and timestamp is not None:
        if metadata_path(ENTRIES) in fetched:
            files.vouches_for(entry_path("any"))
        for path in _held(repo, head, ENTRIES, REVIEWS, PUBLISHERS):
            _read_again(snapshot, path)
    if not fetched:
        assert head is not None, "the roots of a new index were fetched"
        return head
    return _commit(repo, fetched)


class SparseFiles:
    """The files of a sparse index at the state that was accepted last: those that are held, and those
    that are fetched when read.

    Args:
        commit: of what is held.
        remote: where more is fetched from; None if nothing may be.
        renew: makes the newest state of the index the accepted one. Called once, before the first file is fetched, as a
            server has no other state than the newest.
    Raises:
        What ``TufFiles`` raises.
    """

    def __init__(
        self, repo: BareRepo, commit: str, trust: Trust, *, remote: Remote | None, renew: Callable[[], object]
    ) -> None:
        self._repo, self._trust, self._remote, self._renew = repo, trust, remote, renew
        self._is_newest = False
        self._pending: dict[str, bytes] = {}
        self._kept: dict[str, bytes] = {}
        self._open(commit)

    @property
    def state(self) -> str:
        """The digest of the snapshot, the metadata that says of which versions all the other is."""
        return sha256_bytes(self._read(_SNAPSHOT) or b"")

    @property
    def snapshot_version(self) -> int:
        return self._files.snapshot_version

    @property
    def expires(self) -> datetime:
        return self._files.expires

    def has(self, path: str) -> bool:
        return self._asked(lambda files: files.has(path))

    def read(self, path: str) -> bytes | None:
        return self._asked(lambda files: files.read(path))

    def promises(self, path: str, digest: str) -> bool:
        return self._asked(lambda files: files.promises(path, digest))

    def list_files(self, folder: str) -> list[str]:
        """The paths of the files below a folder: of reviews what the server lists, if it can be
        reached, else of what is held."""
        if self._remote is not None and folder.startswith(f"{REVIEWS}/"):
            with contextlib.suppress(WebError):
                return self._remote.reviews(folder)
        return _held(self._repo, self._commit, folder)

    def keep(self) -> None:
        """Hold what was fetched and verified from now on."""
        if self._kept:
            self._repo.set_head(_commit(self._repo, self._kept))
            self._kept = {}

    def _open(self, commit: str) -> None:
        self._commit, self._held = commit, self._repo.reader(commit)
        self._files = _tuf_files(
            self._read, self._trust, fetch=self._fetch, earlier=self._read, held=_roles(self._repo, commit)
        )

    def _read(self, path: str) -> bytes | None:
        return self._kept[path] if path in self._kept else self._held(path)

    def _fetch(self, path: str, max_bytes: int) -> bytes | None:
        if _is_settled(path) or path in (_SNAPSHOT, _TARGETS):
            return self._read(path)
        if self._remote is None or not self._is_newest:
            raise NotFetchedError(
                f"{path} of the index would have to be fetched, and --offline forbids it",
                hint="run the command once without --offline",
            )
        data = self._remote.get(path, min(max_bytes, MAX_TEXT_BYTES))
        if data is not None:
            self._pending[path] = data
        return data

    def _asked(self, question: Callable[[TufFiles], _Answer]) -> _Answer:
        """An answer from what is held, if that will do; what was fetched for it is kept if all of it verified."""
        self._pending = {}
        try:
            answer = question(self._files)
        except NotFetchedError:
            if self._remote is None:
                raise
            self._renew()
            self._is_newest = True
            self._open(self._repo.head() or self._commit)
            return self._asked(question)
        except TrustError as error:
            if self._remote and self._is_newest and self._remote.timestamp()[0] != self._read(TIMESTAMP):
                hint = "run the command again, which asks for the newer state"
                raise WebError(f"{shown(self._remote.url)} changed while it was read", hint=hint) from error
            raise
        self._kept |= self._pending
        return answer


def _nothing(path: str) -> bytes | None:
    return None


def _is_settled(path: str) -> bool:
    """Whether a file is taken as it was fetched before anything else was: the timestamp, and
    roots, which never change."""
    return path == TIMESTAMP or path.endswith(".root.json")


def _tuf_files(
    read: Read, trust: Trust, *, fetch: Callable[[str, int], bytes | None], earlier: Read, held: list[str]
) -> TufFiles:
    return TufFiles(
        read,
        root=find_root(read, trust.fingerprint),
        earlier=earlier,
        now=trust.now,
        allow_stale=trust.allow_stale,
        fetch=fetch,
        held=held,
    )


def _newer_timestamp(repo: BareRepo, remote: Remote, held: Read) -> bytes | None:
    """The server's timestamp if it is another than the one that is held. What its ETag was is
    noted beside the repository."""
    known, note = held(TIMESTAMP), repo.path / _ETAG
    digest = sha256_bytes(known) if known else ""
    noted, _, etag = note.read_text("utf-8", "replace").partition("\n") if note.is_file() else ("", "", "")
    data, etag = remote.timestamp(etag=etag if known and noted == digest else "")
    if data is not None and etag.isascii() and etag.isprintable():
        note.write_text(f"{sha256_bytes(data)}\n{etag}", "utf-8")
    return data if data != known else None


def _read_again(snapshot: IndexSnapshot, path: str) -> None:
    """Read a file that is held as the newest state has it, so that it is fetched if it changed."""
    name = path.rsplit("/", 1)[1]
    if path.startswith(f"{ENTRIES}/"):
        snapshot.entries(name.removesuffix(".jsonl"))
    elif path.startswith(f"{PUBLISHERS}/"):
        snapshot.publisher(name.removesuffix(".json"))
    else:
        snapshot.review_file(path)


def _held(repo: BareRepo, commit: str, *folders: str) -> list[str]:
    return [path for folder in folders for path in repo.list_tree(commit, folder)]


def _roles(repo: BareRepo, commit: str | None) -> list[str]:
    """The roles, but roots, whose metadata is held."""
    names = [path.rsplit("/", 1)[1].removesuffix(".json") for path in _held(repo, commit, METADATA)] if commit else []
    return [name for name in names if not name.endswith(".root")]


def _commit(repo: BareRepo, files: dict[str, bytes]) -> str:
    """Put files into a commit upon the head; the head is not moved."""
    return repo.commit_files(files, message="what was fetched", author=_AUTHOR, branch="fetched")
