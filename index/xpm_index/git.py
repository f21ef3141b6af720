"""Bare Git repositories read and written as objects; never a checkout. The only module that imports dulwich.

Every foreign exception becomes a GitError here. URLs are shown without credentials.
"""

import contextlib
import re
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import dulwich.errors
from dulwich.bundle import create_bundle_from_repo, read_bundle, write_bundle
from dulwich.client import get_transport_and_path
from dulwich.graph import can_fast_forward
from dulwich.objects import Blob, Commit, Tree
from dulwich.refs import Ref
from dulwich.repo import Repo

from xpm_index.errors import GitError

BRANCH = "main"
_REF = Ref(b"refs/heads/main")
_FILE_MODE = 0o100644
_TREE_MODE = 0o040000
_CREDENTIALS = re.compile(r"(?<=://)[^/@\s]+@")


def without_credentials(text: str) -> str:
    return _CREDENTIALS.sub("", text)


class BareRepo:
    """A bare repository with one branch, ``main``."""

    def __init__(self, repo: Repo, path: Path) -> None:
        self._repo = repo
        self.path = path

    @classmethod
    def init(cls, path: Path) -> "BareRepo":
        """Make a new bare repository at ``path``, which must not exist or be empty."""
        if path.exists() and any(path.iterdir()):
            raise GitError(f"{path} is not empty", hint="name a new folder")
        with _wrapped(f"could not make a repository at {path}"):
            repo = Repo.init_bare(str(path), mkdir=not path.exists(), default_branch=BRANCH.encode())
        return cls(repo, path)

    @classmethod
    def open(cls, path: Path) -> "BareRepo":
        with _wrapped(f"{path} is not a Git repository"):
            return cls(Repo(str(path), bare=True), path)

    def __enter__(self) -> "BareRepo":
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def close(self) -> None:
        self._repo.close()

    def head(self) -> str | None:
        """The commit id of the branch, or None if there is no commit yet."""
        with _wrapped("the branch could not be read"):
            commit = self._repo.refs.as_dict().get(_REF)
        return commit.decode() if commit else None

    def set_head(self, commit: str) -> None:
        with _wrapped("the branch could not be moved"):
            self._repo.refs[_REF] = commit.encode()

    def remote_head(self, url: str) -> str:
        """The commit the remote's branch (``main``, else its HEAD) points to, without fetching anything."""
        with _wrapped(f"could not reach {without_credentials(url)}"):
            client, path = get_transport_and_path(url)
            refs = client.get_refs(path.encode() if isinstance(path, str) else path).refs
        return _pick(refs, url)

    def fetch(self, url: str, *, progress: Callable[[str], None] = lambda text: None) -> str:
        """Fetch the remote's branch into this repository's objects and return its commit; no ref is moved.

        Args:
            url: ``file://``, ``http(s)://``, ``ssh://``, or the path of a repository or bundle.
            progress: called with what the remote reports.
        """
        with _wrapped(f"could not fetch {without_credentials(url)}"):
            client, path = get_transport_and_path(url)
            result = client.fetch(
                path, self._repo, progress=lambda text: progress(text.decode(errors="replace")),
                determine_wants=lambda refs, depth=None: [_pick(refs, url).encode()],
            )  # fmt: skip
        return _pick(result.refs, url)

    @staticmethod
    def bundle_head(path: Path) -> str:
        """The commit a bundle's branch points to."""
        with _wrapped(f"{path} is not a Git bundle"), path.open("rb") as file:
            bundle = read_bundle(file)
            try:
                return _pick(bundle.references, str(path))
            finally:
                bundle.close()

    def is_ancestor(self, old: str, new: str) -> bool:
        with _wrapped("the history could not be read"):
            return bool(can_fast_forward(self._repo, old.encode(), new.encode()))

    def read_blob(self, commit: str, path: str) -> bytes | None:
        """The file at ``path`` in ``commit``, or None. Objects are hash-checked as they are read."""
        with _wrapped(f"{path} could not be read from the repository"):
            entry = self._lookup(commit, path)
            if entry is None:
                return None
            blob = self._repo.object_store[entry]
            if not isinstance(blob, Blob):
                return None
            blob.check()
            return blob.as_raw_string()

    def list_tree(self, commit: str, prefix: str) -> Iterator[str]:
        """Paths of all files below the folder ``prefix``, sorted."""
        with _wrapped(f"{prefix} could not be listed"):
            found = self._lookup(commit, prefix)
            if found is None:
                return
            yield from self._walk(found, prefix)

    def commit_files(self, files: Mapping[str, bytes], *, message: str, author: str, when: int | None = None) -> str:
        """Add or replace ``files`` on the branch in one commit and return it.

        Args:
            author: ``Name <address>``.
            when: seconds since the epoch, UTC; now if None.
        """
        with _wrapped("the commit could not be written"):
            parent = self.head()
            root = self._commit(parent).tree if parent else None
            commit = Commit()
            commit.tree = self._write_tree(root, files)
            commit.parents = [parent.encode()] if parent else []
            commit.author = commit.committer = author.encode()
            commit.author_time = commit.commit_time = int(time.time()) if when is None else when
            commit.author_timezone = commit.commit_timezone = 0
            commit.encoding = b"UTF-8"
            commit.message = message.encode()
            self._repo.object_store.add_object(commit)
            old = parent.encode() if parent else None
            if not self._repo.refs.set_if_equals(_REF, old, commit.id):
                raise GitError("somebody else changed the repository meanwhile", hint="try again")
            return commit.id.decode()

    def write_bundle(self, path: Path) -> None:
        """Write the branch with its whole history to a Git bundle."""
        with _wrapped(f"{path} could not be written"), path.open("wb") as file:
            write_bundle(file, create_bundle_from_repo(self._repo, refs=[_REF]))

    def _commit(self, commit: str) -> Commit:
        found = self._repo.object_store[commit.encode()]
        if not isinstance(found, Commit):
            raise GitError(f"{commit} is not a commit")
        return found

    def _lookup(self, commit: str, path: str) -> bytes | None:
        found = self._commit(commit).tree
        for part in path.split("/"):
            tree = self._repo.object_store[found]
            if not isinstance(tree, Tree) or part.encode() not in tree:
                return None
            found = tree[part.encode()][1]
        return found

    def _walk(self, tree_id: bytes, prefix: str) -> Iterator[str]:
        tree = self._repo.object_store[tree_id]
        if not isinstance(tree, Tree):
            return
        for entry in tree.items():
            path = f"{prefix}/{entry.path.decode()}"
            if entry.mode == _TREE_MODE:
                yield from self._walk(entry.sha, path)
            else:
                yield path

    def _write_tree(self, tree_id: bytes | None, files: Mapping[str, bytes]) -> bytes:
        """A copy of the tree with ``files`` (path → content) put in; returns its id."""
        old = self._repo.object_store[tree_id] if tree_id else None
        tree = old.copy() if isinstance(old, Tree) else Tree()
        folders: dict[str, dict[str, bytes]] = {}
        for path, content in files.items():
            head, slash, rest = path.partition("/")
            if slash:
                folders.setdefault(head, {})[rest] = content
                continue
            blob = Blob.from_string(content)
            self._repo.object_store.add_object(blob)
            tree.add(head.encode(), _FILE_MODE, blob.id)
        for folder, inner in folders.items():
            existing = tree[folder.encode()][1] if folder.encode() in tree else None
            tree.add(folder.encode(), _TREE_MODE, self._write_tree(existing, inner))
        self._repo.object_store.add_object(tree)
        return tree.id


def _pick(refs: Mapping[Ref, bytes | None], url: str) -> str:
    commit = refs.get(_REF) or refs.get(Ref(b"HEAD"))
    if not commit:
        raise GitError(
            f"{without_credentials(url)} has no branch main", hint="is it an index? make one with `xpm index init`"
        )
    return commit.decode()


@contextlib.contextmanager
def _wrapped(message: str) -> Iterator[None]:
    try:
        yield
    except GitError:
        raise
    except (dulwich.errors.NotGitRepository, FileNotFoundError) as error:
        raise GitError(message, context="there is no Git repository") from error
    except Exception as error:  # dulwich and its transports raise many unrelated types
        raise GitError(message, context=without_credentials(f"{type(error).__name__}: {error}")[:200]) from error
