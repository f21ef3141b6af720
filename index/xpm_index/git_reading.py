"""Reading a repository's commits. Objects are hash-checked when read, so a commit id
vouches for every file below it."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from dulwich.graph import can_fast_forward
from dulwich.objects import Blob, Commit, ObjectID, Tag, Tree
from dulwich.repo import Repo

from xpm_index import git_objects, git_program
from xpm_index.errors import GitError
from xpm_index.git_objects import MAX_TREE_BYTES, Walk
from xpm_index.git_transport import wrapped

MAX_FILE_BYTES = 4 << 30
MAX_TEXT_BYTES = 64 << 20
_MAX_COMMIT_BYTES = 1 << 20
_MANY = 500
_MAX_TREES = 64


class CommitReader:
    """Reads files of commits by their paths."""

    def __init__(self, repo: Repo, path: Path) -> None:
        self._repo = repo
        self.path = path
        self._trees: dict[ObjectID, Tree] = {}
        self._roots: dict[str, ObjectID] = {}

    def is_ancestor(self, old: str, new: str) -> bool:
        with wrapped("the history could not be read"):
            return bool(can_fast_forward(self._repo, object_id(old), object_id(new)))

    def reader(self, commit: str, *, ahead: Iterable[str] = ()) -> Callable[[str], bytes | None]:
        """``read_blob`` at one commit, of files of at most ``MAX_TEXT_BYTES``; the paths
        ``ahead`` are read now, together."""
        known = dict(self.read_blobs(commit, ahead))
        return lambda path: known[path] if path in known else self.read_blob(commit, path, max_bytes=MAX_TEXT_BYTES)

    def commit_time(self, commit: str) -> int:
        """When a commit says that it was made, in seconds since the epoch."""
        with wrapped("the history could not be read"):
            return int(self._commit(commit).commit_time)

    def blob_ids(self, commit: str, prefix: str) -> dict[str, str]:
        """Path → object id of every file below the folder ``prefix``, in the order of the tree; no file is read."""
        with wrapped(f"{prefix} could not be listed"):
            found = self._lookup(commit, prefix)
            walk = Walk(self._repo.object_store)
            return {path: id.decode() for path, _, id in walk.files(found, f"{prefix}/")} if found else {}

    def read_blob(self, commit: str, path: str, *, max_bytes: int = MAX_FILE_BYTES) -> bytes | None:
        """The file at ``path`` in ``commit``, or None; raises GitError if it has more than ``max_bytes``."""
        with wrapped(f"{path} could not be read from the repository"):
            found = self._lookup(commit, path)
            return self._blob(found, max_bytes, path) if found else None

    def regular_id(self, commit: str, path: str) -> str | None:
        """The object id of the file at ``path``, None if there is none, or a link, a folder or a submodule."""
        folder, _, name = path.rpartition("/")
        with wrapped(f"{path} could not be looked up"):
            found = self._lookup(commit, folder)
            tree = self._tree(found) if found else None
            if tree is None or name.encode() not in tree:
                return None
            mode, id = tree[name.encode()]
            return id.decode() if git_objects.is_regular(mode) else None

    def has(self, commit: str) -> bool:
        """Whether the commit is in this repository."""
        with wrapped("the objects could not be read"):
            return object_id(commit) in self._repo.object_store

    def read_blobs(self, commit: str, paths: Iterable[str]) -> Iterator[tuple[str, bytes | None]]:
        """(path, content or None) of many files of one commit; fastest if neighbours come together."""
        with wrapped("files could not be read from the repository"):
            found = [(path, self._lookup(commit, path)) for path in paths]
            if len(found) >= _MANY and git_program.is_available():
                contents = git_program.read_blobs(
                    self.path, [each.decode() for _, each in found if each], max_bytes=MAX_TEXT_BYTES
                )
                for path, blob_id in found:
                    yield path, next(contents) if blob_id else None
                return
            for path, blob_id in found:
                yield path, self._blob(blob_id, MAX_TEXT_BYTES, path) if blob_id else None

    def read_object(self, id: str, *, max_bytes: int = MAX_FILE_BYTES, what: str = "") -> bytes:
        """The contents of the file with this object id; raises GitError if it has more than ``max_bytes``."""
        with wrapped(f"{what or f'the object {id}'} could not be read"):
            return git_objects.read_object(
                self._repo.object_store, object_id(id), max_bytes=max_bytes, what=what
            ).as_raw_string()

    def regular_files(self, commit: str, *, max_paths: int = git_objects.MAX_PATHS) -> Iterator[tuple[str, str]]:
        """(path, object id) of every file but links and submodules, in the order of the tree.

        Raises:
            GitError: there are more than ``max_paths`` files and folders.
        """
        with wrapped("the files could not be listed"):
            walk = Walk(self._repo.object_store, max_paths=max_paths)
            for path, mode, id in walk.files(self._commit(commit).tree, ""):
                if git_objects.is_regular(mode):
                    yield path, id.decode()

    def list_tree(self, commit: str, prefix: str) -> Iterator[str]:
        """Paths of all files below the folder ``prefix``, in the order of the tree."""
        with wrapped(f"{prefix} could not be listed"):
            found = self._lookup(commit, prefix)
            if found is not None:
                for path, _, _ in Walk(self._repo.object_store).files(found, f"{prefix}/" if prefix else ""):
                    yield path

    def changed_paths(self, old: str, new: str, prefix: str) -> Iterator[str]:
        """Paths below the folder ``prefix`` that were added, removed or altered from commit ``old`` to ``new``."""
        with wrapped(f"the changes of {prefix} could not be read"):
            before, after = self._lookup(old, prefix), self._lookup(new, prefix)
            if before != after:
                yield from Walk(self._repo.object_store).changes(before, after, f"{prefix}/")

    def _commit(self, commit: str) -> Commit:
        """The commit of this id, or the one that an annotated tag of this id is on."""
        store = self._repo.object_store
        found = git_objects.read_object(store, object_id(commit), max_bytes=_MAX_COMMIT_BYTES)
        while isinstance(found, Tag):
            found = git_objects.read_object(store, found.object[1], max_bytes=_MAX_COMMIT_BYTES)
        if not isinstance(found, Commit):
            raise GitError(f"{commit} is not a commit")
        return found

    def _blob(self, id: ObjectID, max_bytes: int, path: str) -> bytes | None:
        found = git_objects.read_object(self._repo.object_store, id, max_bytes=max_bytes, what=path)
        return found.as_raw_string() if isinstance(found, Blob) else None

    def _lookup(self, commit: str, path: str) -> ObjectID | None:
        found = self._roots.get(commit) or self._roots.setdefault(commit, self._commit(commit).tree)
        for part in path.split("/") if path else ():
            tree = self._tree(found)
            if tree is None or part.encode() not in tree:
                return None
            found = tree[part.encode()][1]
        return found

    def _tree(self, tree_id: ObjectID) -> Tree | None:
        """A tree, from memory if it was used lately; None if the object is no tree."""
        tree = self._trees.pop(tree_id, None)
        if tree is None:
            found = git_objects.read_object(self._repo.object_store, tree_id, max_bytes=MAX_TREE_BYTES)
            if not isinstance(found, Tree):
                return None
            tree = found
            if len(self._trees) >= _MAX_TREES:
                self._trees.pop(next(iter(self._trees)))
        self._trees[tree_id] = tree
        return tree


def object_id(text: str) -> ObjectID:
    return ObjectID(text.encode())
