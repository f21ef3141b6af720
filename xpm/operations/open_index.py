"""An index opened for writing, wherever it is: a repository on this machine, or a remote
that is pushed to at the end."""

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from xpm.errors import NotFoundError, UsageError
from xpm.home import Home
from xpm.progress import Progress
from xpm_index.entries import Entry
from xpm_index.errors import PackagingError
from xpm_index.git import BareRepo
from xpm_index.index_writer import IndexWriter
from xpm_index.locks import LockedError, locked_file
from xpm_index.reviews import ReviewFile
from xpm_index.sparse_server import PREFIX
from xpm_index.tuf_keys import Keyring
from xpm_index.urls import check_no_credentials, shown, without_credentials

_LOCK_TIMEOUT_S = 120


@dataclass(slots=True)
class Opened:
    """``writer`` commits locally; ``force`` tells that the remote's history may be replaced."""

    writer: IndexWriter
    url: str | None = None
    force: bool = False
    branches: dict[str, str] = field(default_factory=dict)

    def propose(self, entry: Entry, branch: str, blobs: Mapping[str, bytes]) -> None:
        self.branches[branch] = self.writer.propose_entry(entry, branch, blobs=blobs)

    def propose_reviews(self, reviews: ReviewFile, branch: str) -> None:
        self.branches[branch] = self.writer.propose_reviews(reviews, branch)

    def fetch_branch(self, branch: str) -> str | None:
        """The commit of a branch of the index, or None if it has none."""
        if self.url is None:
            return self.writer.repo.branch_head(branch)
        return self.writer.repo.fetch(self.url, branch=branch)


@contextmanager
def opened(home: Home, where: str, *, keys: Keyring, progress: Progress) -> Iterator[Opened]:
    """Open the index at a path or URL, alone; what was committed is pushed if the block ends well.

    Raises:
        GitError: it can't be reached or is pushed to by somebody else meanwhile. IndexFormatError: it is no index.
            UsageError: it is a sparse one.
    """
    if where.startswith(PREFIX):
        raise UsageError(f"{shown(where)} can only be read", hint="name the Git repository that the index is kept in")
    if "://" in where or (":" in where and not Path(where).exists()):
        yield from _remote(home, check_no_credentials(where, what="the URL of the index"), keys, progress)
    else:
        yield from _local(Path(where), keys)


def _local(path: Path, keys: Keyring) -> Iterator[Opened]:
    if not path.is_dir():
        raise NotFoundError(f"there is no index at {path}", hint="make one with `xpm index init`")
    writer = IndexWriter.open(path, keys=keys)
    try:
        with locked_file(path / "xpm-write.lock", timeout_s=_LOCK_TIMEOUT_S):
            writer.repo.clear_abandoned()
            yield Opened(writer)
    except LockedError as error:
        raise PackagingError(
            f"another xpm is writing to {path}", context=str(error), hint="try again when it has ended"
        ) from error
    finally:
        writer.repo.close()


def _remote(home: Home, url: str, keys: Keyring, progress: Progress) -> Iterator[Opened]:
    home.make()
    with (
        tempfile.TemporaryDirectory(dir=home.root, prefix="index-") as folder,
        BareRepo.init(Path(folder) / "r.git") as repo,
    ):
        head = repo.fetch(url, progress=lambda text: progress.note(text.strip()))
        repo.set_head(head)
        with_writer = Opened(IndexWriter.open(repo.path, keys=keys), url=url)
        yield with_writer
        writer = with_writer.writer
        for branch, commit in with_writer.branches.items():
            repo.push(url, commit, branch=branch, force=True)
        if writer.head != head:
            progress.note(f"pushing to {without_credentials(url)}")
            repo.push(url, writer.head, expected=head, force=with_writer.force)
        writer.repo.close()
