"""Bare Git repositories read and written as objects; never a checkout. Only the ``git…`` modules import dulwich.

Every foreign exception becomes a GitError here. URLs are shown without credentials. Objects are hash-checked when read,
so a commit id vouches for every file below it.
"""

import contextlib
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from dulwich.bundle import create_bundle_from_repo, read_bundle, write_bundle
from dulwich.client import GitClient
from dulwich.graph import can_fast_forward
from dulwich.objects import Blob, Commit, ObjectID, ShaFile, Tag, Tree
from dulwich.refs import Ref
from dulwich.repo import Repo

from xpm_index import git_objects, git_program
from xpm_index.durable import sync_folder
from xpm_index.errors import GitError
from xpm_index.git_objects import MAX_TREE_BYTES, TREE_MODE, Walk
from xpm_index.git_transport import BRANCH, BRANCH_REF, MAIN, Refs, branch_ref, limit, pick, ref_prefixes, talk, wrapped
from xpm_index.urls import without_credentials

_FILE_MODE = 0o100644
MAX_FETCH_BYTES = 4 << 30
MAX_FILE_BYTES = 4 << 30
MAX_TEXT_BYTES = 64 << 20
_MAX_COMMIT_BYTES = 1 << 20
_ABANDONED = (
    "objects/tmp_*",
    "objects/incoming-*",
    "objects/??/*.lock",
    "objects/??/tmp_*",
    "objects/pack/*.lock",
    "objects/pack/tmp_*",
    "objects/pack/.tmp-*",
    "xpm-ref-*",
)
_LOCK_TRIES = 20
_MANY = 500
_MAX_TREES = 64
_LOCK_PAUSE_S = 0.1
logging.getLogger("dulwich").addHandler(logging.NullHandler())  # its warnings are for programmers


class BareRepo:
    """A bare repository with one branch, ``main``."""

    def __init__(self, repo: Repo, path: Path) -> None:
        self._repo = repo
        self.path = path
        self._added: set[str] = set()
        self._trees: dict[ObjectID, Tree] = {}
        self._roots: dict[str, ObjectID] = {}

    @classmethod
    def init(cls, path: Path) -> "BareRepo":
        """Make a new bare repository at ``path``, which must not exist or be empty."""
        if path.exists() and any(path.iterdir()):
            raise GitError(f"{path} is not empty", hint="name a new folder")
        with wrapped(f"could not make a repository at {path}"):
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
            try:
                temporary.chmod(0o755)
                Repo.init_bare(str(temporary), default_branch=BRANCH.encode()).close()
                os.rename(temporary, path)
            except BaseException:
                shutil.rmtree(temporary, ignore_errors=True)
                raise
        return cls.open(path)

    @classmethod
    def open(cls, path: Path) -> "BareRepo":
        if not (path / "objects").is_dir() or not (path / "HEAD").is_file():
            raise GitError(f"{path} is not a bare Git repository")
        with wrapped(f"{path} could not be opened"):
            return cls(Repo(str(path), bare=True), path)

    def clear_abandoned(self) -> None:
        """Remove what a writer that was killed left behind; call it only while nobody else can be writing."""
        for pattern in _ABANDONED:
            for path in self.path.glob(pattern):
                if path.is_dir():
                    shutil.rmtree(path, ignore_errors=True)
                else:
                    path.unlink(missing_ok=True)

    def __enter__(self) -> "BareRepo":
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def close(self) -> None:
        self._repo.close()

    def head(self) -> str | None:
        """The commit id of the branch, or None if there is no commit yet."""
        with wrapped("the branch could not be read"):
            return self._ref(MAIN)

    def set_head(self, commit: str) -> None:
        with wrapped("the branch could not be moved"):
            self._move(MAIN, _id(commit))

    def branch_head(self, branch: str) -> str | None:
        """The commit of another branch, or None if there is none."""
        with wrapped(f"the branch {branch} could not be read"):
            return self._ref(branch_ref(branch))

    def deletebranch_ref(self, branch: str) -> None:
        with wrapped(f"the branch {branch} could not be deleted"):
            self._repo.refs.remove_if_equals(branch_ref(branch), None)

    def remote_head(self, url: str) -> str:
        """The commit the remote's branch (``main``, else its HEAD) points to, without fetching anything."""
        with wrapped(f"could not reach {without_credentials(url)}"):
            return pick(self._main_of(url), url, None).decode()

    def fetch(
        self,
        url: str,
        *,
        tag: str | None = None,
        branch: str | None = None,
        depth: int | None = None,
        max_bytes: int = MAX_FETCH_BYTES,
        max_object_bytes: int | None = None,
        blobs: bool = True,
        progress: Callable[[str], None] = lambda text: None,
    ) -> str:
        """Fetch the remote's branch, or one tag, into this repository's objects; no ref is moved.

        Nobody else may be writing here: what came of a fetch that fails is removed.

        Args:
            url: ``file://``, ``http(s)://``, ``ssh://``, or the path of a repository or bundle.
            tag, branch: fetch what this tag or branch points to instead of ``main``.
            max_bytes: a remote that sends more is cut off.
            max_object_bytes: so is one that sends a larger object, or ones that inflate to more than ``max_bytes``.
            depth: fetch this many commits of the history only.
            blobs: False leaves the files' contents out, if the remote can; see ``fetch_objects``.
            progress: called with what the remote reports.
        Returns:
            The commit id fetched.
        Raises:
            GitError: the remote can't be reached, wants a login, or has no such branch or tag.
        """

        def wants(refs: Refs, depth: int | None = None) -> list[ObjectID]:
            return [pick(refs, url, tag, branch)]

        def report(text: bytes) -> None:
            progress(text.decode(errors="replace"))

        def get(client: GitClient, path: str) -> Refs:
            limit(client, max_bytes, max_object_bytes)
            left_out = None if blobs else b"blob:none"
            return client.fetch(
                path,
                self._repo,
                wants,
                progress=report,
                depth=depth,
                filter_spec=left_out,
                ref_prefix=ref_prefixes(tag, branch),
            ).refs

        with wrapped(f"could not fetch {without_credentials(url)}"), self._cleared_if_it_fails():
            if (tag, branch, depth) == (None, None, None) and blobs and "://" in url and git_program.is_available():
                return self._fetch_with_program(url, max_bytes, progress)
            return self._commit(pick(talk(url, get), url, tag, branch).decode()).id.decode()

    @staticmethod
    def _main_of(url: str) -> Refs:
        return talk(url, lambda client, path: client.get_refs(path.encode(), ref_prefix=ref_prefixes()).refs)

    @contextlib.contextmanager
    def _cleared_if_it_fails(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            self.clear_abandoned()
            raise

    def _fetch_with_program(self, url: str, max_bytes: int, progress: Callable[[str], None]) -> str:
        """Fetch the branch with the ``git`` program, unless its commit is here already."""
        refs = self._main_of(url)
        commit = pick(refs, url, None)
        if commit not in self._repo.object_store:
            ref = BRANCH_REF if refs.get(MAIN) else "HEAD"
            git_program.fetch(self.path, url, ref, max_bytes=max_bytes, progress=progress)
        return self._commit(commit.decode()).id.decode()

    def fetch_objects(
        self, url: str, ids: Sequence[str], *, max_bytes: int = MAX_FETCH_BYTES, max_object_bytes: int | None = None
    ) -> None:
        """Fetch objects that ``fetch`` left out; raises GitError."""

        def get(client: GitClient, path: str) -> None:
            limit(client, max_bytes, max_object_bytes)
            wanted = [_id(each) for each in ids]
            client.fetch(path, self._repo, lambda refs, depth=None: wanted, ref_prefix=ref_prefixes())

        with wrapped(f"could not fetch files of {without_credentials(url)}"):
            talk(url, get)

    def push(
        self, url: str, commit: str, *, branch: str = BRANCH, expected: str | None = None, force: bool = False
    ) -> None:
        """Push a commit to a branch of a remote.

        Args:
            expected: the commit that the remote's branch must be at, None if it must not exist.
            force: push whatever the branch is at.
        Raises:
            GitError: the branch is elsewhere, the remote refuses, or can't be reached.
        """
        ref = branch_ref(branch)

        def update(refs: dict[Ref, ObjectID]) -> dict[Ref, ObjectID]:
            found = refs.get(ref)
            if not force and found != (_id(expected) if expected else None):
                raise GitError(
                    f"{branch} of {without_credentials(url)} was changed by somebody else meanwhile", hint="try again"
                )
            return {ref: _id(commit)}

        def send(client: GitClient, path: str) -> None:
            result = client.send_pack(path.encode(), update, self._repo.generate_pack_data)  # type: ignore[arg-type]
            if refused := (result.ref_status or {}).get(ref):
                raise GitError(f"{without_credentials(url)} refused the push to {branch}", context=str(refused)[:200])

        with wrapped(f"could not push to {without_credentials(url)}"):
            talk(url, send)

    @staticmethod
    def bundle_head(path: Path) -> str:
        """The commit a bundle's branch points to."""
        with wrapped(f"{path} is not a Git bundle"), path.open("rb") as file:
            bundle = read_bundle(file)
            try:
                return pick(bundle.references, str(path), None).decode()
            finally:
                bundle.close()

    def is_ancestor(self, old: str, new: str) -> bool:
        with wrapped("the history could not be read"):
            return bool(can_fast_forward(self._repo, _id(old), _id(new)))

    def reader(self, commit: str) -> Callable[[str], bytes | None]:
        """``read_blob`` at one commit, of files of at most ``MAX_TEXT_BYTES``."""
        return lambda path: self.read_blob(commit, path, max_bytes=MAX_TEXT_BYTES)

    def read_blob(self, commit: str, path: str, *, max_bytes: int = MAX_FILE_BYTES) -> bytes | None:
        """The file at ``path`` in ``commit``, or None; raises GitError if it has more than ``max_bytes``."""
        with wrapped(f"{path} could not be read from the repository"):
            found = self._lookup(commit, path)
            return self._blob(found, max_bytes, path) if found else None

    def has(self, commit: str) -> bool:
        """Whether the commit is in this repository."""
        with wrapped("the objects could not be read"):
            return _id(commit) in self._repo.object_store

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
                self._repo.object_store, _id(id), max_bytes=max_bytes, what=what
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

    def commit_files(
        self,
        files: Mapping[str, bytes],
        *,
        message: str,
        author: str,
        when: int | None = None,
        branch: str | None = None,
        orphan: bool = False,
    ) -> str:
        """Add or replace ``files`` on top of ``main`` in one commit and return it.

        Args:
            author: ``Name <address>``.
            when: seconds since the epoch, UTC; now if None.
            branch: put the commit on this branch, replacing it, instead of on ``main``.
            orphan: let the commit have no parents, so that the history before it is dropped.
        Raises:
            GitError: among others, if ``main`` moved meanwhile; nothing is changed then.
        """
        with wrapped("the commit could not be written"):
            parent = self.head()
            root = self._commit(parent).tree if parent else None
            commit = Commit()
            commit.tree = self._write_tree(root, files)
            commit.parents = [_id(parent)] if parent and not orphan else []
            commit.author = commit.committer = author.encode()
            commit.author_time = commit.commit_time = int(time.time()) if when is None else when
            commit.author_timezone = commit.commit_timezone = 0
            commit.encoding = b"UTF-8"
            commit.message = message.encode()
            self._add(commit)
            if branch is not None:
                self._move(branch_ref(branch), commit.id)
                return commit.id.decode()
            if self.head() != parent:
                raise GitError("somebody else changed the repository meanwhile", hint="try again")
            self._move(MAIN, commit.id)
            return commit.id.decode()

    def write_bundle(self, path: Path) -> None:
        """Write the branch with its whole history to a Git bundle."""
        with wrapped(f"{path} could not be written"), path.open("wb") as file:
            write_bundle(file, create_bundle_from_repo(self._repo, refs=[MAIN]))

    def _add(self, item: ShaFile) -> None:
        self._repo.object_store.add_object(item)
        self._added.add(item.id[:2].decode())

    def _sync_objects(self) -> None:
        """Make the objects added last through a crash, before a ref names them."""
        for folder in sorted(self._added):
            if (self.path / "objects" / folder).is_dir():
                sync_folder(self.path / "objects" / folder)
        self._added.clear()

    def _ref(self, ref: Ref) -> str | None:
        """What a ref points to, None if there is no such ref."""
        try:
            return self._repo.refs[ref].decode()
        except KeyError:
            return None

    def _move(self, ref: Ref, commit: ObjectID) -> None:
        """Set a ref by one rename, after a lock that Git may hold on it was given time to go."""
        target = self.path / ref.decode()
        lock = target.with_name(target.name + ".lock")
        for _ in range(_LOCK_TRIES):
            if not lock.exists():
                break
            time.sleep(_LOCK_PAUSE_S)
        lock.unlink(missing_ok=True)
        target.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=self.path, prefix="xpm-ref-")
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(commit + b"\n")
                file.flush()
                os.fsync(file.fileno())
            os.chmod(temporary, 0o644)
            self._sync_objects()
            os.replace(temporary, target)
            sync_folder(target.parent)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise

    def _commit(self, commit: str) -> Commit:
        """The commit of this id, or the one that an annotated tag of this id is on."""
        store = self._repo.object_store
        found = git_objects.read_object(store, _id(commit), max_bytes=_MAX_COMMIT_BYTES)
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

    def _write_tree(self, tree_id: ObjectID | None, files: Mapping[str, bytes]) -> ObjectID:
        """A copy of the tree with ``files`` (path → content) put in; returns its id."""
        old = self._repo.object_store[tree_id] if tree_id else None
        tree = Tree()
        for entry in old.items() if isinstance(old, Tree) else ():
            tree.add(entry.path, entry.mode, entry.sha)
        folders: dict[str, dict[str, bytes]] = {}
        for path, content in files.items():
            head, slash, rest = path.partition("/")
            if slash:
                folders.setdefault(head, {})[rest] = content
                continue
            blob = Blob.from_string(content)
            self._add(blob)
            tree.add(head.encode(), _FILE_MODE, blob.id)
        for folder, inner in folders.items():
            existing = tree[folder.encode()][1] if folder.encode() in tree else None
            tree.add(folder.encode(), TREE_MODE, self._write_tree(existing, inner))
        self._add(tree)
        return tree.id


def _id(commit: str) -> ObjectID:
    return ObjectID(commit.encode())
