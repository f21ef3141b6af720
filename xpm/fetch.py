"""Fetch archives to local files, several at once, each from the first of its sources that has the promised bytes.

Owns which source is tried when, and that all of it succeeds or nothing: the first failure breaks the others off. What
has come by then, or when somebody pressed Ctrl-C, is kept and gone on with (``xpm.partial``). A file under its digest's
name is whole and has that digest; what its bytes mean is verified by ``xpm.trust``.
"""

import shutil
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from xpm.errors import FetchError, StoreError, unwritable
from xpm.http import download_to
from xpm.partial import UNNAMED, Partial
from xpm.progress import Progress, Shared
from xpm_index.archive_sources import BlobSource, FileSource, GitSource, WebSource, parse_archive_source
from xpm_index.digests import sha256_file
from xpm_index.entries import ArchiveRef
from xpm_index.errors import FULL, DiskFullError, IntegrityError, XpmError
from xpm_index.git_files import LfsObject, tagged
from xpm_index.urls import InvalidUrl, check_file_url, shown
from xpm_index.web import Web

DEFAULT_JOBS = 4
_CHUNK_BYTES = 1 << 18
_POLL_S = 0.1
_GRACE_S = 5.0
_SCRATCH = "xpm-git-*"
_SCRATCH_AGE_S = 86400
IF_ALTERED = "run the command again; if it recurs, tell the publisher"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """An archive to fetch.

    ``what`` names it to people, ``read_blob`` reads what its index holds itself, ``if_altered`` is the hint if a source
    has other bytes.
    """

    ref: ArchiveRef
    what: str
    read_blob: Callable[[str], bytes | None]
    if_altered: str = IF_ALTERED


def fetch_archives(
    wanted: Sequence[Wanted],
    folder: Path,
    *,
    progress: Progress,
    offline: bool,
    jobs: int = DEFAULT_JOBS,
    sleep: Callable[[float], object] | None = None,
) -> list[Path]:
    """Fetch all archives into ``folder``, named by their digests; their paths, in the order of ``wanted``.

    Args:
        offline: whether sources that need the network are refused.
        jobs: how many downloads at a time.
        sleep: waits that many seconds between tries.
    Raises:
        FetchError: no source of one of them has it; the context tells what each said. IntegrityError: a source has it,
            but altered. StoreError: the disk is full or can't be written.
    """
    todo = list({each.ref.digest: each for each in wanted if not _is_whole(folder, each.ref)}.values())
    if todo:
        folder.mkdir(parents=True, exist_ok=True)
        _clear_abandoned(folder)
        shared = Shared(progress)
        shared.start(todo[0].what if len(todo) == 1 else f"{len(todo)} packages", sum(each.ref.size for each in todo))
        try:
            with Web() as web:
                _Crew(folder, web, shared, offline=offline, sleep=sleep).fetch_all(todo, jobs)
        finally:
            shared.stop()
    return [folder / _hex(each.ref) for each in wanted]


class _Crew:
    """Threads that fetch archives until all are there or one can't be had."""

    def __init__(
        self, folder: Path, web: Web, progress: Shared, *, offline: bool, sleep: Callable[[float], object] | None
    ) -> None:
        self._folder = folder
        self._web = web
        self._progress = progress
        self._offline = offline
        self._broken_off = threading.Event()
        self._sleep = sleep or self._broken_off.wait
        self._blobs = threading.Lock()  # an index is read by one thread at a time

    def fetch_all(self, todo: Sequence[Wanted], jobs: int) -> None:
        left, failures = deque(todo), list[BaseException]()

        def work() -> None:
            while not self._broken_off.is_set():
                try:
                    wanted = left.popleft()
                except IndexError:
                    return
                try:
                    self._fetch(wanted)
                except BaseException as error:  # it is raised again by the thread that asked for the archives
                    failures.append(error)
                    self._break_off()

        threads = [
            threading.Thread(target=work, name=f"xpm-fetch-{i}", daemon=True)
            for i in range(max(1, min(jobs, len(todo))))
        ]
        try:
            for thread in threads:
                thread.start()
            self._wait(threads)
        except BaseException:
            self._break_off()
            self._wait(threads)
            raise
        if failures:
            raise failures[0]

    def _break_off(self) -> None:
        self._broken_off.set()
        self._web.cancel()

    def _wait(self, threads: Sequence[threading.Thread]) -> None:
        """Until all have ended; after breaking off only for a grace, as Git may be waiting for a server."""
        until = None
        while any(thread.is_alive() for thread in threads):
            if self._broken_off.is_set():
                until = until or time.monotonic() + _GRACE_S
                if time.monotonic() > until:
                    return
            for thread in threads:
                thread.join(_POLL_S)

    def _fetch(self, wanted: Wanted) -> None:
        """Fetch one archive from the first of its sources that has it."""
        ref = wanted.ref
        problems, altered = [], False
        options = {"advance": self._progress.advance, "skip": self._progress.skip}
        with Partial(self._folder, ref.digest, ref.size, **options) as partial:
            for text in ref.sources:
                try:
                    self._fetch_from(text, wanted, partial)
                    return
                except (StoreError, DiskFullError):
                    raise
                except (XpmError, OSError) as error:
                    if isinstance(error, OSError) and error.errno in FULL:
                        raise unwritable(f"{wanted.what} could not be fetched", error) from error
                    if self._broken_off.is_set():
                        return
                    altered |= isinstance(error, IntegrityError)
                    problems.append(_described(text, error))
                    self._progress.note(problems[-1])
        if altered:
            raise IntegrityError(
                f"the archive of {wanted.what} was altered", context="\n".join(problems)[:900], hint=wanted.if_altered
            )
        raise FetchError(
            f"{wanted.what} could not be fetched",
            context="\n".join(problems)[:900] or "its entry names no source",
            hint="check the network, or update the index with `xpm index update`",
        )

    def _fetch_from(self, text: str, wanted: Wanted, partial: Partial) -> None:
        """Fetch an archive from one source; once more from its beginning if what was there
        before turns out to be wrong."""
        went_on = partial.num_bytes > 0
        try:
            self._transfer(text, wanted, partial)
            partial.finish()
        except IntegrityError:
            partial.rewind()
            if not went_on:
                raise
            self._transfer(text, wanted, partial)
            partial.finish()

    def _transfer(self, text: str, wanted: Wanted, partial: Partial) -> None:
        source = parse_archive_source(text)
        if self._offline and not source.is_local:
            raise FetchError("--offline forbids the network")
        match source:
            case BlobSource(path=path):
                with self._blobs:
                    data = wanted.read_blob(path)
                if data is None:
                    raise FetchError("the index does not hold the file")
                partial.rewind()
                partial.write(data)
            case FileSource(url=url):
                self._copy(Path(check_file_url(url)), partial)
            case WebSource(url=url):
                download_to(partial, url, size=wanted.ref.size, web=self._web, sleep=self._sleep)
            case GitSource():
                self._transfer_git(source, wanted.ref.size, partial)

    def _copy(self, path: Path, partial: Partial) -> None:
        partial.rewind()
        with path.open("rb") as file:
            while (chunk := file.read(_CHUNK_BYTES)) and not self._broken_off.is_set():
                partial.write(chunk)

    def _transfer_git(self, source: GitSource, size: int, partial: Partial) -> None:
        note = self._progress.note
        with tagged(source.url, source.tag, web=self._web, scratch=self._folder, progress=note) as tree:
            found = tree.read(source.path, max_bytes=size)
        if found is None:
            raise FetchError(f"there is no {source.path} at {source.tag}")
        if isinstance(found, LfsObject) and found.data is None:
            download_to(partial, found.url, size=size, web=self._web, headers=found.headers, sleep=self._sleep)
            return
        partial.rewind()
        for chunk in found.chunks(self._web) if isinstance(found, LfsObject) else (found,):
            partial.write(chunk)


def _described(text: str, error: XpmError | OSError) -> str:
    """What went wrong with a source, without what is secret in its URL."""
    said = f"{error}" if isinstance(error, XpmError) else error.strerror or type(error).__name__
    if isinstance(error, XpmError) and error.context:
        said += f" ({error.context})"
    name = text if text.startswith("git+") and not isinstance(error, InvalidUrl) else shown(text)
    return said if name in said else f"{name}: {said}"


def _is_whole(folder: Path, ref: ArchiveRef) -> bool:
    """Whether the archive is there already, from a command that got no further."""
    path = folder / _hex(ref)
    if path.is_file() and path.stat().st_size == ref.size and sha256_file(path) == ref.digest:
        return True
    path.unlink(missing_ok=True)
    return False


def _clear_abandoned(folder: Path) -> None:
    """Remove throw-away repositories, and files without a name yet, of commands that were killed long ago."""
    for path in (*folder.glob(_SCRATCH), *folder.glob(f"*{UNNAMED}")):
        if time.time() - path.stat().st_mtime > _SCRATCH_AGE_S:
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)


def _hex(ref: ArchiveRef) -> str:
    return ref.digest.removeprefix("sha256:")
