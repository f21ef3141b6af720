"""Making and extending an index, one commit at a time; the metadata that vouches for it is signed along."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path

from xpm_index.entries import Entry, parse_entries
from xpm_index.errors import GitError, IndexFormatError, PackagingError, TrustError
from xpm_index.git import BareRepo
from xpm_index.index import IndexInfo, parse_publisher, parse_reviews
from xpm_index.keys import PublicKey
from xpm_index.layout import (
    ENTRIES,
    INDEX_JSON,
    PUBLISHERS,
    REVIEWS,
    entry_path,
    metadata_path,
    publisher_path,
    review_path,
)
from xpm_index.metadata import now_utc
from xpm_index.metadata_editor import MetadataEditor, RoleKeys, RoleState
from xpm_index.names import validate_name
from xpm_index.publishers import Publisher
from xpm_index.reviews import ReviewFile
from xpm_index.tuf_keys import Keyring

_AUTHOR = "xpm <xpm@localhost>"
_VOUCHED_FOR = (INDEX_JSON, f"{ENTRIES}/", f"{PUBLISHERS}/", f"{REVIEWS}/")


class IndexWriter:
    """Makes and extends an index repository on this machine; one commit per call, its metadata signed along.

    Args:
        keys: the private keys at hand.
        now: the time of metadata and commits; the present if None.
    """

    def __init__(self, repo: BareRepo, *, keys: Keyring | None = None, now: Callable[[], datetime] = now_utc) -> None:
        self.repo = repo
        self._keys = keys or Keyring()
        self._now = now

    @classmethod
    def init(
        cls,
        path: Path,
        *,
        name: str,
        id: str,
        roles: RoleKeys | None,
        keys: Keyring | None = None,
        bin_bits: int = 4,
        now: Callable[[], datetime] = now_utc,
    ) -> "IndexWriter":
        """Make a new index; without ``roles`` one without metadata, to be enclosed in something trusted."""
        info = IndexInfo(id=id, name=validate_name(name, what="index name"), bin_bits=bin_bits)
        files = {INDEX_JSON: info.to_bytes()}
        if roles is not None:
            editor = MetadataEditor.create(roles, bin_bits=bin_bits, now=now())
            editor.set_file(INDEX_JSON, files[INDEX_JSON])
            files |= editor.sign(keys or Keyring())
        writer = cls(BareRepo.init(path), keys=keys, now=now)
        writer._write(files, f"Start index {name}")
        return writer

    @classmethod
    def open(cls, path: Path, *, keys: Keyring | None = None, now: Callable[[], datetime] = now_utc) -> "IndexWriter":
        writer = cls(BareRepo.open(path), keys=keys, now=now)
        head = writer.repo.head()
        if head is None or writer.repo.read_blob(head, INDEX_JSON) is None:
            raise IndexFormatError(f"{path} is not an index", hint="make one with `xpm index init`")
        return writer

    @property
    def head(self) -> str:
        head = self.repo.head()
        if head is None:
            raise GitError(f"the branch of {self.repo.path} could not be read", hint="look at it with `git fsck`")
        return head

    def read(self, path: str) -> bytes | None:
        return self.repo.read_blob(self.head, path)

    def publisher(self, namespace: str) -> Publisher:
        data = self.read(publisher_path(namespace))
        if data is None:
            raise TrustError(
                f"the index knows no publisher {namespace}", hint=f"run `xpm index add-publisher {namespace}` first"
            )
        return parse_publisher(data, namespace)

    def put_publisher(self, publisher: Publisher) -> str:
        """Add or replace a publisher's file; the commit."""
        path = publisher_path(publisher.namespace)
        return self._commit({path: publisher.to_bytes()}, f"Publisher {publisher.namespace}")

    def add_entry(self, entry: Entry, *, blobs: Mapping[str, bytes] | None = None) -> str:
        """Append an entry's line, with the archives (path in the index → bytes) that the index
        itself holds; the commit.

        Raises:
            PackagingError: the version is published already. IndexFormatError: the name is another publisher's, or a
                published version would change. TrustError: the index does not list the key for the publisher.
            KeyFileError: the online keys are not at hand.
        """
        return self._commit(self._with_entry(entry, blobs), f"{entry.name} {entry.version}")

    def propose_entry(self, entry: Entry, branch: str, *, blobs: Mapping[str, bytes] | None = None) -> str:
        """Like ``add_entry``, but on a branch of its own and without metadata, for the maintainer to accept."""
        return self._write(self._with_entry(entry, blobs), f"Propose {entry.name} {entry.version}", branch=branch)

    def reviews(self, name: str, key: PublicKey) -> ReviewFile:
        """What a key has said of a package; an empty file if it has said nothing."""
        path = review_path(name, key.key_id)
        return parse_reviews(self.read(path), path) or ReviewFile(name=name, key=key)

    def put_reviews(self, reviews: ReviewFile) -> str:
        """Add or replace a key's reviews of a package; the commit. Raises KeyFileError if the
        online keys are not at hand."""
        path = review_path(reviews.name, reviews.key.key_id)
        return self._commit({path: reviews.to_bytes()}, f"Review {reviews.name} by {reviews.key.key_id}")

    def propose_reviews(self, reviews: ReviewFile, branch: str) -> str:
        """Like ``put_reviews``, but on a branch of its own and without metadata, for the maintainer to accept."""
        path = review_path(reviews.name, reviews.key.key_id)
        return self._write({path: reviews.to_bytes()}, f"Propose a review of {reviews.name}", branch=branch)

    def check_entry(self, entry: Entry) -> None:
        """Raise what ``add_entry`` would raise, and change nothing."""
        self._with_entry(entry, None)

    def can_add_entries(self) -> bool:
        """Whether entries can be added here; otherwise they can be proposed."""
        return not self._has_metadata() or self._editor().can_add_entries(self._keys)

    def can_put_publishers(self) -> bool:
        """Whether publishers' files can be changed here."""
        return not self._has_metadata() or self._editor().can_vouch_for(publisher_path("any"), self._keys)

    def publishers(self) -> list[str]:
        """The namespaces of all publishers."""
        paths = self.repo.blob_ids(self.head, PUBLISHERS)
        return sorted(path.removeprefix(f"{PUBLISHERS}/").removesuffix(".json") for path in paths)

    def refresh(self) -> tuple[str, ...]:
        """Sign anew what is past half of its life, at least the timestamp; the roles signed."""
        editor = self._editor()
        due = editor.refresh(keys=self._keys)
        self._write(editor.sign(self._keys), "Refresh metadata")
        return due

    def rotate_key(self, role: str, *, old: str | None, new: PublicKey) -> str:
        editor = self._editor()
        editor.rotate(role, old=old, new=new)
        return self._write(editor.sign(self._keys), f"Rotate a key of {role}")

    def compact(self) -> int:
        """Drop the history before the present state and let clients follow; the new epoch."""
        editor = self._editor()
        epoch = editor.raise_epoch()
        self._write(editor.sign(self._keys), f"Start epoch {epoch}", orphan=True)
        return epoch

    def states(self) -> list[RoleState]:
        return self._editor().states()

    def _with_entry(self, entry: Entry, blobs: Mapping[str, bytes] | None) -> dict[str, bytes]:
        self.publisher(entry.publisher).key(entry.key_id, at=entry.published_at)
        path = entry_path(entry.name)
        before = self.read(path) or b""
        published = {each.version: each for each in parse_entries(before, name=entry.name)} if before else {}
        earlier = published.get(entry.version)
        if earlier is not None and earlier.yanked == entry.yanked:
            raise PackagingError(
                f"{entry.name} {entry.version} is published already", hint="raise the version and build again"
            )
        after = before + entry.to_line() + b"\n"
        parse_entries(after, name=entry.name)
        return {**(blobs or {}), path: after}

    def _has_metadata(self) -> bool:
        return self.read(metadata_path("root", 1)) is not None

    def _editor(self) -> MetadataEditor:
        return MetadataEditor(self.repo.reader(self.head), now=self._now())

    def _commit(self, files: Mapping[str, bytes], message: str) -> str:
        """Commit files with the metadata that vouches for them."""
        if not self._has_metadata():
            return self._write(files, message)
        editor = self._editor()
        for path, data in files.items():
            if path.startswith(_VOUCHED_FOR):
                editor.set_file(path, data)
        return self._write({**files, **editor.sign(self._keys)}, message)

    def _write(
        self, files: Mapping[str, bytes], message: str, *, branch: str | None = None, orphan: bool = False
    ) -> str:
        when = int(self._now().astimezone(UTC).timestamp())
        return self.repo.commit_files(files, message=message, author=_AUTHOR, when=when, branch=branch, orphan=orphan)
