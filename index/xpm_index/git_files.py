"""Files of a repository at a tag: one shallow fetch into a throw-away repository, read as objects; Git LFS resolved.

Only the wanted files come if the server can leave files out (partial clone), else all that the
tag has. There is never a
checkout: no hook, filter or submodule runs, and links are not followed.
"""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from xpm_index.errors import GitError
from xpm_index.git import BareRepo
from xpm_index.git_lfs import MAX_POINTER_BYTES, LfsObject, locate, parse_pointer
from xpm_index.urls import check_git_url, check_tag, shown
from xpm_index.web import Web

__all__ = ["LfsObject", "TaggedTree", "tagged"]

MAX_TREE_BYTES = 2 << 30
MAX_FILE_BYTES = 1 << 30
MAX_PATHS = 200_000
_LFSCONFIG = ".lfsconfig"
_MAX_LFSCONFIG_BYTES = 1 << 16


class TaggedTree:
    """The files of ``url`` at a tag; ``commit`` is what the tag is on."""

    def __init__(self, url: str, repo: BareRepo, commit: str, *, max_bytes: int, web: Web) -> None:
        self.url = url
        self.commit = commit
        self._repo = repo
        self._max_bytes = max_bytes
        self._web = web
        self._ids = dict(repo.regular_files(commit, max_paths=MAX_PATHS))

    def paths(self, folder: str = "") -> list[str]:
        """The regular files below ``folder``, in the order of the tree."""
        return [path for path in self._ids if not folder or path.startswith(folder + "/")]

    def read(self, path: str, *, max_bytes: int = MAX_FILE_BYTES) -> bytes | LfsObject | None:
        """The file at ``path``, where Git LFS keeps it, or None if there is no such regular file.

        Raises:
            GitError: it is more than ``max_bytes``, or can't be fetched.
        """
        if path not in self._ids:
            return None
        self.fetch([path], max_file_bytes=max_bytes)
        data = self._repo.read_object(self._ids[path], max_bytes=max(max_bytes, MAX_POINTER_BYTES), what=path[:80])
        pointer = parse_pointer(data)
        if (pointer.size if pointer else len(data)) > max_bytes:
            raise GitError(f"{path[:80]} of {shown(self.url)} has more than {max_bytes} bytes")
        if pointer is None:
            return data
        config = self._config()
        return locate(pointer, remote=self.url, lfsconfig=config, web=self._web)

    def chunks(self, path: str, *, max_bytes: int = MAX_FILE_BYTES) -> Iterator[bytes]:
        """The bytes of the file at ``path``, wherever they are; raises GitError if there is none."""
        found = self.read(path, max_bytes=max_bytes)
        if found is None:
            raise GitError(f"{shown(self.url)} has no file {path[:80]!r} at this tag")
        yield from found.chunks(self._web) if isinstance(found, LfsObject) else (found,)

    def fetch(self, paths: Sequence[str], *, max_file_bytes: int = MAX_FILE_BYTES) -> None:
        """Fetch what a partial clone left out, of several files at once; raises GitError if one is too large."""
        ids = list(dict.fromkeys(self._ids[path] for path in paths if not self._repo.has(self._ids[path])))
        if ids:
            limit = max(max_file_bytes, MAX_POINTER_BYTES)
            self._repo.fetch_objects(self.url, ids, max_bytes=self._max_bytes, max_object_bytes=limit)

    def _config(self) -> bytes | None:
        if _LFSCONFIG not in self._ids:
            return None
        self.fetch([_LFSCONFIG], max_file_bytes=_MAX_LFSCONFIG_BYTES)
        return self._repo.read_object(self._ids[_LFSCONFIG], max_bytes=_MAX_LFSCONFIG_BYTES, what=_LFSCONFIG)


@contextmanager
def tagged(
    url: str,
    tag: str,
    *,
    max_bytes: int = MAX_TREE_BYTES,
    web: Web | None = None,
    scratch: Path | None = None,
    progress: Callable[[str], None] = lambda text: None,
) -> Iterator[TaggedTree]:
    """Fetch what one tag, light or annotated, is on, without its history.

    Args:
        max_bytes: a remote that sends more is cut off.
        web: makes the requests to Git LFS; one of its own if None.
        scratch: the folder for the throw-away repository; the system's if None.
    Raises:
        GitError: it can't be fetched. InvalidUrl: it may not be.
    """
    check_git_url(url)
    with (
        tempfile.TemporaryDirectory(prefix="xpm-git-", dir=scratch, ignore_cleanup_errors=True) as folder,
        BareRepo.init(Path(folder) / "tag.git") as repo,
        Web() as own,
    ):
        commit = repo.fetch(
            url,
            tag=check_tag(tag),
            depth=1,
            max_bytes=max_bytes,
            max_object_bytes=MAX_FILE_BYTES,
            blobs=False,
            progress=progress,
        )
        yield TaggedTree(url, repo, commit, max_bytes=max_bytes, web=web or own)
