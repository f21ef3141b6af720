"""The indexes of an environment on this machine: fetched copies, what they are trusted by, and how they advance.

Each index is a bare repository under the home whose branch is the last head accepted: that ref is all the state there
is, and it moves only after the new head was verified whole. Of a sparse index it has the files that were needed so far.
The embedded index comes with xpm itself, so it is replaced when xpm is.
"""

import contextlib
import hashlib
import importlib.resources
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

from xpm.errors import FetchError, NotFoundError, StoreError, UsageError
from xpm.home import Home
from xpm.progress import Progress, Silent
from xpm.project import EMBEDDED, IndexSource, Project
from xpm.search import Query, SearchCache
from xpm.sources import FromIndex
from xpm_index.archive_sources import BlobSource, parse_archive_source
from xpm_index.digests import sha256_bytes
from xpm_index.entries import ArchiveRef, Entry
from xpm_index.errors import GitError, TrustError, XpmError
from xpm_index.git import BareRepo
from xpm_index.index import IndexSnapshot
from xpm_index.index_update import check_update
from xpm_index.integrity import PackageSignature
from xpm_index.keys import PublicKey
from xpm_index.metadata import now_utc, roots
from xpm_index.sparse import SparseFiles, Trust, fetch_newest
from xpm_index.sparse_server import PREFIX, Remote
from xpm_index.verified import TufFiles, find_root, newest_fingerprint
from xpm_index.web import Web, WebError

_BUNDLE = "index.bundle"
_FETCHED = "xpm-fetched"
_SEARCH = "xpm-search.sqlite"
_WARN_BEFORE_EXPIRY = timedelta(days=7)


class Indexes:
    """The indexes of one project, by priority; close after use (a context manager).

    Args:
        offline: open no socket; an index that was never fetched is an error.
        allow_stale: read indexes whose metadata has expired.
        now: the time by which expiry is judged.
    """

    def __init__(
        self,
        home: Home,
        project: Project,
        *,
        progress: Progress | None = None,
        offline: bool = False,
        allow_stale: bool = False,
        now: Callable[[], datetime] = now_utc,
    ) -> None:
        self._home = home
        self._progress = progress or Silent()
        self._offline = offline
        self._allow_stale = allow_stale
        self._now = now
        self._wants = project.wants
        self.sources: Mapping[str, IndexSource] = {**project.indexes, EMBEDDED: IndexSource(url="")}
        self._snapshots: dict[str, IndexSnapshot] = {}
        self._newest: set[str] = set()
        self._warned: set[str] = set()
        self._web = Web()

    def __enter__(self) -> "Indexes":
        return self

    def __exit__(self, *exc_info: object) -> None:
        for name in list(self._snapshots):
            self._close(name)
        self._web.__exit__()

    def snapshot(self, name: str) -> IndexSnapshot:
        """The index as last fetched; fetched now if it never was."""
        if name not in self.sources:
            raise NotFoundError(
                f"there is no index named {name}",
                context=f"there are {', '.join(self.sources)}",
                hint="add it with `xpm index add`",
            )
        if name not in self._snapshots:
            with self._open(name) as repo:
                missing = repo.head() is None
            if missing or name == EMBEDDED:
                self.update(name)
            repo = self._open(name)
            head = repo.head()
            if head is None:
                raise StoreError(f"the copy of index {name} lost its head", hint="run the command again")
            self._snapshots[name] = self._read(name, repo, head)
        return self._snapshots[name]

    def update(self, name: str) -> bool:
        """Fetch an index and accept its head; whether it changed.

        Raises:
            TrustError: the head does not continue the one accepted before, or its root is not the trusted one.
                StaleIndexError: nothing newer came, and what is there has expired.
            GitError: it could not be fetched. FetchError: --offline.
        """
        if name == EMBEDDED:
            return self._refresh_embedded()
        source = self.sources[name]
        if self._offline:
            raise FetchError(
                f"index {name} would have to be fetched, and --offline forbids it",
                hint=f"run `xpm index update {name}` once",
            )
        if not source.fingerprint:
            raise TrustError(
                f"nobody has confirmed the root of index {name}",
                hint=f"compare its fingerprint with what its maintainer publishes: `xpm trust confirm {name}`",
            )
        self._close(name)
        with self._open(name) as repo:
            repo.clear_abandoned()
            return self._advance(name, repo)

    def update_all(self, done: Callable[[str, bool], object] = lambda name, is_new: None) -> list[XpmError]:
        """Fetch every index; the errors of those that could not be, each warned of: one that fails stops no other.

        Args:
            done: told of each that was fetched, and whether it changed.
        """
        failures = []
        for name in self.sources:
            try:
                is_new = self.update(name)
            except XpmError as error:
                self._progress.warn(f"index {name} was not updated: {error.message}")
                failures.append(error)
            else:
                done(name, is_new)
        return failures

    def refresh(self, max_age: timedelta) -> None:
        """Fetch the indexes that were not fetched for ``max_age``, and sparse ones; one that can't be
        reached is only warned of."""
        for name in self.sources:
            is_young = self.age(name) < max_age and not self.is_sparse(name)  # it costs two small requests to ask
            if name == EMBEDDED or self._offline or is_young:
                continue
            try:
                self.update(name)
            except (GitError, WebError) as error:
                if self.age(name) == timedelta.max:
                    raise
                self._progress.warn(f"index {name} is used as it was fetched last: {error.message}")

    def age(self, name: str) -> timedelta:
        """The time since an index was fetched, the greatest possible if it never was."""
        marker = self._folder(name) / _FETCHED
        return timedelta(seconds=max(0, time.time() - marker.stat().st_mtime)) if marker.exists() else timedelta.max

    def fingerprint_at(self, name: str) -> str:
        """The fingerprint of the newest root of an index at its URL, for a person to confirm; nothing is accepted."""
        if (remote := self._remote(name)) is not None:
            return newest_fingerprint(remote.roots().get)
        with self._open(name) as repo:
            commit = repo.fetch(self.sources[name].url, progress=lambda text: self._progress.note(text.strip()))
            return newest_fingerprint(repo.reader(commit))

    def trusts(self, name: str, fingerprint: str) -> bool:
        """Whether a root of an index is the one that was confirmed, or one that it handed its trust on to."""
        snapshot = self.snapshot(name)
        followed = [sha256_bytes(data) for data in roots(snapshot.repo.reader(snapshot.commit)).values()]
        return fingerprint in followed[followed.index(self.sources[name].fingerprint) :]

    def forget(self, name: str) -> None:
        """Remove the fetched copy."""
        self._close(name)
        shutil.rmtree(self._folder(name), ignore_errors=True)

    def entries(self, name: str) -> tuple[str, tuple[Entry, ...]]:
        """(index, its entries) of the one index that has ``name`` under either spelling; ("", ()) if none has.

        An expert that xpm.toml binds to an index comes from no other; an ``explicit`` index serves nothing else. The
        embedded index gives way to any other. Two others claiming a name is an error, so that nobody can take over a
        name by publishing it elsewhere.
        """
        wanted = self._wants.get(name)
        bound = wanted.index if isinstance(wanted, FromIndex) else ""
        allowed = [bound] if bound else [each for each, source in self.sources.items() if not source.explicit]
        found = [(index, spelled) for index in allowed if (spelled := self.snapshot(index).find(name))]
        claims = [index for index, _ in found if index != EMBEDDED]
        if len(claims) > 1:
            raise TrustError(
                f"{name} is in several indexes: {', '.join(claims)}",
                hint=f'say which in xpm.toml: {name} = {{ version = "*", index = "{claims[0]}" }}',
            )
        if not found:
            return "", ()
        index, spelled = found[0]
        return index, self.snapshot(index).entries(spelled)

    def warn(self, text: str) -> None:
        """Warn whoever watches, once, of something that will be a problem unless somebody acts."""
        if text not in self._warned:
            self._warned.add(text)
            self._progress.warn(text)

    def key_of(self, claim: PackageSignature) -> PublicKey | None:
        """The key of a signature, from the first index that lists it for its publisher at
        its time; None if none does."""
        for name in self.sources:
            with contextlib.suppress(TrustError):
                return self.snapshot(name).publisher(claim.publisher).key(claim.key_id, at=claim.created_at)
        return None

    def is_sparse(self, name: str) -> bool:
        return self.sources[name].url.startswith(PREFIX)

    def require_whole(self, name: str) -> None:
        """Raise UsageError if an index is sparse, for what reads every file of it."""
        if name in self.sources and self.is_sparse(name):
            raise UsageError(
                f"index {name} is sparse, and nothing of it is here but what was asked for by name",
                hint="name its Git repository instead, as a path or URL",
            )

    def located(self, name: str, ref: ArchiveRef) -> ArchiveRef:
        """An archive with the files that a sparse index itself has as URLs, since they are not held here."""
        if not self.is_sparse(name):
            return ref
        remote = Remote(self.sources[name].url, self._web)

        def located(text: str) -> str:
            source = parse_archive_source(text) if text.startswith("blob:") else None
            return remote.url_of(source.path) if isinstance(source, BlobSource) else text

        return replace(ref, sources=tuple(map(located, ref.sources)))

    def search(self, name: str, query: Query) -> list[tuple[str, float]]:
        """(package, rank) of what matches in one index, best first; nothing is verified. A
        sparse index is only warned of."""
        if self.is_sparse(name):
            self.warn(
                f"index {name} was not searched: it is sparse, and nothing of it is here but what was asked for by "
                "name; search the pages of its maintainer, or add its Git repository"
            )
            return []
        snapshot = self.snapshot(name)
        with SearchCache(self._folder(name) / _SEARCH) as cache:
            cache.follow(snapshot.repo, snapshot.commit)
            return cache.search(query)

    def all_names(self) -> list[str]:
        return sorted({name for index in self.sources for name in self.snapshot(index).names()})

    def _read(self, name: str, repo: BareRepo, commit: str) -> IndexSnapshot:
        if name == EMBEDDED:
            return IndexSnapshot.enclosed(repo, commit)
        files: TufFiles | SparseFiles
        if self.is_sparse(name):
            renew = partial(self._renew, name, repo)
            files = SparseFiles(repo, commit, self._trust(name), remote=self._remote(name), renew=renew)
        else:
            read = repo.reader(commit)
            root = find_root(read, self.sources[name].fingerprint)
            files = TufFiles(read, root=root, now=self._now(), allow_stale=self._allow_stale)
        left = files.expires - self._now()
        if left < _WARN_BEFORE_EXPIRY:
            state = "has expired" if left < timedelta() else f"expires in {left.days} days"
            self.warn(f"index {name} {state}: run `xpm index update`; if that does not help, tell its maintainer")
        listing = files.list_files if isinstance(files, SparseFiles) else None
        return IndexSnapshot(repo, commit, files, list_files=listing)

    def _advance(self, name: str, repo: BareRepo) -> bool:
        """Fetch the newest state of an index, and let its copy be at it if it may follow what was
        accepted; whether it is new."""
        source, old = self.sources[name], repo.head()
        if (remote := self._remote(name)) is not None:
            new = fetch_newest(repo, remote, self._trust(name))
        else:
            new = repo.fetch(source.url, progress=lambda text: self._progress.note(text.strip()))
        if old is None or old == new:  # what is as it was may have expired meanwhile
            self._read(name, repo, new)
        else:
            check_update(repo, old, new, fingerprint=source.fingerprint, now=self._now(), allow_stale=self._allow_stale)
        if old != new:
            repo.set_head(new)
        (self._folder(name) / _FETCHED).touch()
        self._newest.add(name)
        return old != new

    def _renew(self, name: str, repo: BareRepo) -> None:
        if name not in self._newest:
            self._advance(name, repo)

    def _remote(self, name: str) -> Remote | None:
        """The server of a sparse index, None if nothing may be fetched, or of an index in Git."""
        return Remote(self.sources[name].url, self._web) if self.is_sparse(name) and not self._offline else None

    def _trust(self, name: str) -> Trust:
        return Trust(fingerprint=self.sources[name].fingerprint, now=self._now(), allow_stale=self._allow_stale)

    def _close(self, name: str) -> None:
        if (snapshot := self._snapshots.pop(name, None)) is not None:
            if isinstance(snapshot.files, SparseFiles):
                snapshot.files.keep()
            snapshot.repo.close()

    def _folder(self, name: str) -> Path:
        """Copies are kept by URL and root, so that projects which name an index alike do not meet in one copy."""
        source = self.sources[name]
        identity = f"{source.url}\n{source.fingerprint}".encode()
        suffix = "" if name == EMBEDDED else "-" + hashlib.sha256(identity).hexdigest()[:12]
        return self._home.indexes / f"{name}{suffix}.git"

    def _open(self, name: str) -> BareRepo:
        folder = self._folder(name)
        return BareRepo.open(folder) if folder.is_dir() else BareRepo.init(folder)

    def _refresh_embedded(self) -> bool:
        """Update the copy of the embedded index to the bundle of this xpm."""
        resource = importlib.resources.files("xpm").joinpath("embedded", _BUNDLE)
        with importlib.resources.as_file(resource) as bundle:
            if not bundle.is_file():
                raise StoreError("this xpm carries no embedded index", hint="install xpm again")
            with self._open(EMBEDDED) as repo:
                old = repo.head()
                if old == repo.bundle_head(bundle):
                    return False
                new = repo.take_bundle(bundle)
                if old is not None and not repo.is_ancestor(old, new):
                    repo.close()
                    self.forget(EMBEDDED)
                    return self._refresh_embedded()
                repo.set_head(new)
        return True
