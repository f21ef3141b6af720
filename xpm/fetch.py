"""Bring an archive to a local file, from the first of its sources that works. Digests are checked by ``xpm.trust``."""

import contextlib
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from xpm.errors import FetchError
from xpm.progress import Progress
from xpm_index.entries import ArchiveRef
from xpm_index.errors import XpmError
from xpm_index.git import without_credentials
from xpm_index.index import IndexSnapshot

_CHUNK_BYTES = 1 << 18
_TIMEOUT_S = 60


def fetch_archive(
    ref: ArchiveRef, snapshot: IndexSnapshot, target: Path, *, what: str, progress: Progress, offline: bool
) -> None:
    """Write the archive to ``target``, at most the stated size of it.

    Args:
        what: names the package in progress and errors.
        offline: whether sources on the network are refused.
    Raises:
        FetchError: no source has it; the context tells what each said.
    """
    problems = []
    for source in ref.sources:
        try:
            progress.start(what, ref.size)
            with _open(source, snapshot, offline=offline) as chunks, target.open("wb") as file:
                _copy(chunks, file, ref.size, progress)
            return
        except (XpmError, OSError, urllib.error.URLError) as error:
            problems.append(f"{without_credentials(source)}: {error}")
    raise FetchError(
        f"{what} could not be fetched",
        context="; ".join(problems)[:500] or "its entry names no source",
        hint="check the network, or update the index with `xpm index update`",
    )


def _copy(chunks: Iterator[bytes], file: BinaryIO, size: int, progress: Progress) -> None:
    received = 0
    for chunk in chunks:
        received += len(chunk)
        if received > size:
            raise FetchError(f"more than the stated {size} bytes came")
        file.write(chunk)
        progress.advance(len(chunk))


@contextlib.contextmanager
def _open(source: str, snapshot: IndexSnapshot, *, offline: bool) -> Iterator[Iterator[bytes]]:
    kind, _, rest = source.partition(":")
    if kind == "blob":
        data = snapshot.read_blob(rest)
        if data is None:
            raise FetchError("the index does not hold the file")
        yield iter([data])
    elif kind in ("https", "http", "file"):
        if offline and kind != "file":
            raise FetchError("--offline forbids the network")
        with urllib.request.urlopen(source, timeout=_TIMEOUT_S) as response:
            yield iter(lambda: response.read(_CHUNK_BYTES), b"")
    else:
        raise FetchError(f"sources of kind {kind[:20]!r} are not supported")
