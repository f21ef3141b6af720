"""Of which commit the files of a folder are, where somebody works in a clone: what a build says of its source."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from dulwich.errors import NotGitRepository
from dulwich.repo import Repo

from xpm_index.git_reading import CommitReader
from xpm_index.git_transport import wrapped
from xpm_index.urls import InvalidUrl, check_git_url, is_loopback, split_scp

_MAX_COMPARED_BYTES = 1 << 30


@dataclass(frozen=True, slots=True, kw_only=True)
class GitSource:
    """``url`` is where others have the repository, "" if that is on this machine alone; ``path``
    leads in it to the folder.

    ``not_in_commit`` are the files that the commit does not have as they are.
    """

    url: str
    commit: str
    path: str
    not_in_commit: tuple[str, ...]


def source_of(folder: Path, names: Sequence[str]) -> GitSource | None:
    """Where the files ``names`` of a folder come from; None if it is in no clone, or the first
    of them not in its commit.

    Raises:
        GitError: the repository is damaged.
    """
    with wrapped(f"the repository of {folder} could not be read"):
        try:
            repo = Repo.discover(str(folder))
        except NotGitRepository:
            return None
        with repo:
            try:
                commit = repo.head().decode()
            except KeyError:  # nothing was committed yet
                return None
            path = folder.resolve().relative_to(Path(repo.path).resolve()).as_posix()
            prefix = "" if path == "." else f"{path}/"
            reader = CommitReader(repo, Path(repo.path))
            if reader.read_blob(commit, prefix + names[0], max_bytes=_MAX_COMPARED_BYTES) is None:
                return None
            return GitSource(
                url=_public(repo),
                commit=commit,
                path=prefix.rstrip("/"),
                not_in_commit=tuple(
                    each
                    for each in names
                    if reader.read_blob(commit, prefix + each, max_bytes=_MAX_COMPARED_BYTES)
                    != (folder / each).read_bytes()
                ),
            )


def _public(repo: Repo) -> str:
    """The remote ``origin`` without whoever logs in there, as in SPDX's ``git+https://…``; ""
    for a path on this machine."""
    try:
        url = repo.get_config().get((b"remote", b"origin"), b"url").decode()
        if (scp := split_scp(url)) is not None:
            return f"git+ssh://{scp[1]}/{scp[2].lstrip('/')}"
        parts = urlsplit(url)
        bare = parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()
        return "" if parts.scheme in ("", "file") or is_loopback(parts.hostname) else f"git+{check_git_url(bare)}"
    except (KeyError, UnicodeDecodeError, ValueError, InvalidUrl):
        return ""
