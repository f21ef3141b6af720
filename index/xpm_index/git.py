"""Bare Git repositories: refs, remotes, and commits of files; never a checkout. Only the
``git…`` modules import dulwich.

Every foreign exception becomes a GitError here. URLs are shown without credentials.
"""

import contextlib
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from dulwich.bundle import create_bundle_from_repo, write_bundle
from dulwich.client import GitClient
from dulwich.objects import Commit, ObjectID
from dulwich.refs import Ref
from dulwich.repo import Repo

from xpm_index import git_program
from xpm_index.errors import GitError
from xpm_index.git_bundle import read_references
from xpm_index.git_reading import CommitReader, object_id
from xpm_index.git_transport import BRANCH, BRANCH_REF, MAIN, Refs, branch_ref, limit, pick, ref_prefixes, talk, wrapped
from xpm_index.git_writing import ObjectWriter
from xpm_index.urls import without_credentials

MAX_FETCH_BYTES = 4 << 30
_ABANDONED = (
    "objects/tmp_*",
    "objects/incoming-*",
    "objects/??/*.lock",
    "objects/??/tmp_*",
    "objects/pack/*.lock",
    "objects/pack/tmp*",
    "objects/pack/.tmp-*",
    "xpm-ref-*",
)
logging.getLogger("dulwich").addHandler(logging.NullHandler())  # its warnings are for programmers


class BareRepo(CommitReader):
    """A bare repository with one branch, ``main``."""

    def __init__(self, repo: Repo, path: Path) -> None:
        super().__init__(repo, path)
        self._writer = ObjectWriter(repo.object_store, path)

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
            self._writer.move(MAIN, object_id(commit))

    def branch_head(self, branch: str) -> str | None:
        """The commit of another branch, or None if there is none."""
        with wrapped(f"the branch {branch} could not be read"):
            return self._ref(branch_ref(branch))

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
        default: bool = False,
        anonymous: bool = False,
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
            tag, branch, default: fetch what this tag or branch, or the remote's default branch, points to instead
                of ``main``.
            anonymous: ask as a stranger would, without a login.
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
            return [pick(refs, url, tag, branch, default=default)]

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
                ref_prefix=ref_prefixes(tag, branch, default=default),
            ).refs

        with wrapped(f"could not fetch {without_credentials(url)}"), self._cleared_if_it_fails():
            is_plain = (tag, branch, depth, default, anonymous) == (None, None, None, False, False)
            if is_plain and blobs and "://" in url and git_program.is_available():
                return self._fetch_with_program(url, max_bytes, progress)
            found = pick(talk(url, get, anonymous=anonymous), url, tag, branch, default=default)
            return self._commit(found.decode()).id.decode()

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
        self,
        url: str,
        ids: Sequence[str],
        *,
        anonymous: bool = False,
        max_bytes: int = MAX_FETCH_BYTES,
        max_object_bytes: int | None = None,
    ) -> None:
        """Fetch objects that ``fetch`` left out; raises GitError."""

        def get(client: GitClient, path: str) -> None:
            limit(client, max_bytes, max_object_bytes)
            wanted = [object_id(each) for each in ids]
            client.fetch(path, self._repo, lambda refs, depth=None: wanted, ref_prefix=ref_prefixes())

        with wrapped(f"could not fetch files of {without_credentials(url)}"):
            talk(url, get, anonymous=anonymous)

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
            if not force and found != (object_id(expected) if expected else None):
                raise GitError(
                    f"{branch} of {without_credentials(url)} was changed by somebody else meanwhile", hint="try again"
                )
            return {ref: object_id(commit)}

        def send(client: GitClient, path: str) -> None:
            result = client.send_pack(path.encode(), update, self._repo.generate_pack_data)  # type: ignore[arg-type]
            if refused := (result.ref_status or {}).get(ref):
                raise GitError(f"{without_credentials(url)} refused the push to {branch}", context=str(refused)[:200])

        with wrapped(f"could not push to {without_credentials(url)}"):
            talk(url, send)

    @staticmethod
    def bundle_head(path: Path) -> str:
        """The commit a bundle's branch points to; its pack is not read."""
        with wrapped(f"{path} is not a Git bundle"), path.open("rb") as file:
            return pick(read_references(file), str(path), None).decode()

    def take_bundle(self, path: Path) -> str:
        """Copy the pack of a bundle that is trusted, of whatever size, as it lies there; no ref is moved.

        Returns:
            The commit its branch points to.
        Raises:
            GitError: it is no bundle, or not a whole one.
        """
        with wrapped(f"{path} is not a Git bundle"), path.open("rb") as file, self._cleared_if_it_fails():
            head = pick(read_references(file), str(path), None)
            pack, index_it, drop = self._repo.object_store.add_pack()
            try:
                shutil.copyfileobj(file, pack, 1 << 20)
                index_it()
            except BaseException:
                with contextlib.suppress(FileNotFoundError):
                    drop()
                raise
            return self._commit(head.decode()).id.decode()

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
            commit.tree = self._writer.write_tree(root, files)
            commit.parents = [object_id(parent)] if parent and not orphan else []
            commit.author = commit.committer = author.encode()
            commit.author_time = commit.commit_time = int(time.time()) if when is None else when
            commit.author_timezone = commit.commit_timezone = 0
            commit.encoding = b"UTF-8"
            commit.message = message.encode()
            self._writer.add(commit)
            if branch is not None:
                self._writer.move(branch_ref(branch), commit.id)
                return commit.id.decode()
            if self.head() != parent:
                raise GitError("somebody else changed the repository meanwhile", hint="try again")
            self._writer.move(MAIN, commit.id)
            return commit.id.decode()

    def write_bundle(self, path: Path) -> None:
        """Write the branch with its whole history to a Git bundle."""
        with wrapped(f"{path} could not be written"), path.open("wb") as file:
            write_bundle(file, create_bundle_from_repo(self._repo, refs=[MAIN]))

    def _ref(self, ref: Ref) -> str | None:
        """What a ref points to, None if there is no such ref."""
        try:
            return self._repo.refs[ref].decode()
        except KeyError:
            return None
