"""Bring archives to local files, several at once, each from the first of its sources that has the promised bytes.

A download grows as ``<digest>.partial`` and gets its name when its SHA-256, computed while it comes, is right; so a finished
file is always whole, and an interrupted one is gone on with. What the bytes mean is verified by ``xpm.trust``.
"""

import hashlib
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

from xpm.errors import FetchError
from xpm.http import CHUNK_BYTES, download
from xpm.progress import Progress
from xpm_index.archive_sources import BlobSource, FileSource, WebSource, parse_archive_source
from xpm_index.entries import ArchiveRef
from xpm_index.errors import IntegrityError, XpmError
from xpm_index.git import without_credentials
from xpm_index.git_files import LfsObject, tagged
from xpm_index.urls import check_file_url

DEFAULT_JOBS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """An archive to bring; ``what`` names it to people, ``read_blob`` reads what its index holds itself."""

    ref: ArchiveRef
    what: str
    read_blob: Callable[[str], bytes | None]


class _Stopped(Exception):
    """Another download failed, or somebody pressed Ctrl-C."""


def fetch_archives(
    wanted: Sequence[Wanted], folder: Path, *, progress: Progress, offline: bool, jobs: int = DEFAULT_JOBS
) -> list[Path]:
    """Bring all archives into ``folder``, named by their digests; their paths, in the order of ``wanted``.

    Args:
        offline: whether sources on the network are refused.
        jobs: how many downloads at a time.
    Raises:
        FetchError: no source of one of them has it; the context tells what each said. The others are stopped, and what
            came so far is kept to go on with. IntegrityError: what came is not what was promised.
    """
    missing = [each for each in wanted if not (folder / _hex(each.ref)).is_file()]
    if missing:
        folder.mkdir(parents=True, exist_ok=True)
        meter = _Meter(progress, missing)
        stop = threading.Event()
        with ThreadPoolExecutor(max_workers=max(1, jobs), thread_name_prefix="xpm-fetch") as pool:
            futures = [pool.submit(_bring, each, folder, meter, stop, offline) for each in missing]
            try:
                for future in as_completed(futures):
                    future.result()
            except BaseException:
                stop.set()
                pool.shutdown(wait=False, cancel_futures=True)
                raise
    return [folder / _hex(each.ref) for each in wanted]


class _Meter:
    """One progress for several downloads."""

    def __init__(self, progress: Progress, wanted: Sequence[Wanted]) -> None:
        self._progress = progress
        self._lock = threading.Lock()
        what = wanted[0].what if len(wanted) == 1 else f"{len(wanted)} packages"
        progress.start(what, sum(each.ref.size for each in wanted))

    def advance(self, num_bytes: int) -> None:
        with self._lock:
            self._progress.advance(num_bytes)


class _Partial:
    """A download in progress: a file that grows, hashed as it does."""

    def __init__(self, path: Path, ref: ArchiveRef, meter: _Meter, stop: threading.Event) -> None:
        self.path = path
        self._ref = ref
        self._meter = meter
        self._stop = stop
        self._hasher = hashlib.sha256()
        self._file = path.open("ab+")
        self.num_bytes = 0
        self._file.seek(0)
        while chunk := self._file.read(CHUNK_BYTES):
            self._take(chunk)
        self.resumed = self.num_bytes > 0
        if self.num_bytes > ref.size:
            self.rewind()

    def write(self, chunk: bytes) -> None:
        if self._stop.is_set():
            raise _Stopped
        if self.num_bytes + len(chunk) > self._ref.size:
            raise FetchError(f"more than the stated {self._ref.size} bytes came")
        self._file.write(chunk)
        self._take(chunk)

    def rewind(self) -> None:
        self._meter.advance(-self.num_bytes)
        self._file.truncate(0)
        self._hasher, self.num_bytes, self.resumed = hashlib.sha256(), 0, False

    def finish(self, target: Path) -> None:
        """Give the file its name; raises IntegrityError, and drops what came, if the digest is wrong."""
        digest = "sha256:" + self._hasher.hexdigest()
        if self.num_bytes != self._ref.size or digest != self._ref.digest:
            got = f"expected {self._ref.digest} ({self._ref.size} bytes), got {digest} ({self.num_bytes} bytes)"
            self.rewind()
            raise IntegrityError("other bytes came than were promised", context=got)
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        os.replace(self.path, target)

    def close(self) -> None:
        self._file.close()

    def _take(self, chunk: bytes) -> None:
        self._hasher.update(chunk)
        self.num_bytes += len(chunk)
        self._meter.advance(len(chunk))


def _bring(wanted: Wanted, folder: Path, meter: _Meter, stop: threading.Event, offline: bool) -> None:
    """Bring one archive from the first of its sources that has it."""
    ref, problems = wanted.ref, []
    target = folder / _hex(ref)
    partial = _Partial(folder / f"{_hex(ref)}.partial", ref, meter, stop)
    altered = None
    try:
        for source in ref.sources:
            try:
                resumed = partial.resumed
                _transfer(source, wanted, partial, offline=offline)
                try:
                    partial.finish(target)
                except IntegrityError:
                    if not resumed:
                        raise
                    _transfer(source, wanted, partial, offline=offline)  # what was there before was not right
                    partial.finish(target)
                return
            except (XpmError, OSError) as error:
                altered = error if isinstance(error, IntegrityError) else altered
                told = f"{error}{f' ({error.context})' if isinstance(error, XpmError) and error.context else ''}"
                problems.append(f"{without_credentials(source)}: {told}")
    finally:
        partial.close()
        if not partial.num_bytes:
            partial.path.unlink(missing_ok=True)
    if altered is not None:
        raise IntegrityError(
            f"the archive of {wanted.what} was altered", context="\n".join(problems)[:900],
            hint="run the command again; if it recurs, tell the publisher",
        )  # fmt: skip
    raise FetchError(
        f"{wanted.what} could not be fetched",
        context="\n".join(problems)[:900] or "its entry names no source",
        hint="check the network, or update the index with `xpm index update`",
    )


def _transfer(text: str, wanted: Wanted, partial: _Partial, *, offline: bool) -> None:
    """Copy what a source has into the partial file."""
    source = parse_archive_source(text)
    if offline and not source.is_local:
        raise FetchError("--offline forbids the network")
    if isinstance(source, BlobSource):
        _write_bytes(wanted.read_blob(source.path), partial)
    elif isinstance(source, FileSource):
        _copy_file(Path(check_file_url(source.url)), partial)
    elif isinstance(source, WebSource):
        _download(source.url, wanted, partial)
    else:
        with tagged(source.url, source.tag) as tree:
            found = tree.read(source.path)
            if isinstance(found, LfsObject) and found.data is None:
                _download(found.url, wanted, partial, headers=found.headers)
            else:
                _write_bytes(found.data if isinstance(found, LfsObject) else found, partial)


def _download(url: str, wanted: Wanted, partial: _Partial, **options: object) -> None:
    download(
        url, start=lambda: partial.num_bytes, write=partial.write, rewind=partial.rewind, size=wanted.ref.size,
        **options,  # type: ignore[arg-type]
    )  # fmt: skip


def _write_bytes(data: bytes | None, partial: _Partial) -> None:
    if data is None:
        raise FetchError("the repository does not hold the file")
    partial.rewind()
    partial.write(data)


def _copy_file(path: Path, partial: _Partial) -> None:
    partial.rewind()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            partial.write(chunk)


def _hex(ref: ArchiveRef) -> str:
    return ref.digest.removeprefix("sha256:")
