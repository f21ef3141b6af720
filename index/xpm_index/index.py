"""An index: a Git repository of entries and publishers, read at one commit and written one commit at a time.

The snapshot hands out only what the index's metadata vouches for (``xpm_index.verified``); the writer keeps that metadata.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from xpm_index import strict_json
from xpm_index.entries import Entry, parse_entries, require_append_only
from xpm_index.errors import GitError, IndexFormatError, PackagingError, TrustError, XpmError
from xpm_index.fields import Fields
from xpm_index.git import MAX_TEXT_BYTES, BareRepo
from xpm_index.keys import PublicKey
from xpm_index.layout import ENTRIES, INDEX_JSON, METADATA, PUBLISHERS, entry_path, metadata_path, publisher_path
from xpm_index.metadata import BINS, MetadataEditor, Read, RoleKeys, RoleState, epoch_of, now_utc, roots, targets_in
from xpm_index.names import spellings, validate_name
from xpm_index.publishers import Publisher
from xpm_index.tuf_keys import Keyring
from xpm_index.verified import EnclosedFiles, TufFiles, VerifiedFiles, find_root, require_same_roots

FORMAT = 1
_MAX_AHEAD = 5000
_AUTHOR = "xpm <xpm@localhost>"
_VOUCHED_FOR = (INDEX_JSON, f"{ENTRIES}/", f"{PUBLISHERS}/")


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexInfo:
    """``index.json``: ``id`` never changes, ``bin_bits`` is for the hashed bins of TUF metadata."""

    id: str
    name: str
    format: int = FORMAT
    bin_bits: int = 4

    def to_bytes(self) -> bytes:
        return strict_json.canonical(
            {"bin_bits": self.bin_bits, "format": self.format, "id": self.id, "name": self.name}
        )

    @classmethod
    def parse(cls, data: bytes) -> "IndexInfo":
        try:
            fields = Fields(strict_json.loads(data, what=INDEX_JSON), error=IndexFormatError)
        except XpmError as error:
            raise IndexFormatError(error.message, context=error.context) from error
        info = cls(
            id=fields.text("id"),
            name=fields.parsed("name", validate_name),
            format=fields.integer("format"),
            bin_bits=fields.integer("bin_bits", default=4),
        )
        if info.format != FORMAT:
            raise IndexFormatError(
                f"index {info.name} has format {info.format}", hint=f"this xpm reads format {FORMAT}: update xpm"
            )
        return info


class IndexSnapshot:
    """An index at one commit."""

    def __init__(self, repo: BareRepo, commit: str, files: VerifiedFiles) -> None:
        self.repo = repo
        self.commit = commit
        self.files = files
        self._publishers: dict[str, Publisher] = {}
        self.info = _read_info(files.read)

    @classmethod
    def enclosed(cls, repo: BareRepo, commit: str) -> "IndexSnapshot":
        """An index that is trusted as a whole, since it came inside something trusted."""
        return cls(repo, commit, EnclosedFiles(repo.reader(commit)))

    def names(self) -> Iterator[str]:
        """All names, in the order of the tree; nothing is verified."""
        for path in self.repo.list_tree(self.commit, ENTRIES):
            if path.endswith(".jsonl"):
                yield path.rsplit("/", 1)[1].removesuffix(".jsonl")

    def find(self, name: str) -> str | None:
        """The spelling under which the index has ``name`` (``sql`` or ``expert-sql``), or None."""
        return next((each for each in spellings(name) if self.read_blob(entry_path(each)) is not None), None)

    def entries(self, name: str) -> tuple[Entry, ...]:
        """Every published version of exactly ``name``, oldest first; () if there is none.

        Raises:
            TrustError: the index's metadata does not vouch for them, or a key could not sign for the publisher then.
        """
        data = self.files.read(entry_path(name))
        entries = parse_entries(data, name=name) if data is not None else ()
        for entry in entries:
            self.key_of(entry)
        return entries

    def publisher(self, namespace: str) -> Publisher:
        if namespace not in self._publishers:
            data = self.files.read(publisher_path(namespace))
            if data is None:
                raise TrustError(f"the index knows no publisher {namespace}", context=f"index {self.info.name}")
            self._publishers[namespace] = _parse_publisher(data, namespace)
        return self._publishers[namespace]

    def key_of(self, entry: Entry) -> PublicKey:
        """The key that the entry's archives must be signed with; raises TrustError if it could not sign then."""
        return self.publisher(entry.publisher).key(entry.key_id, at=entry.published_at)

    def read_blob(self, path: str, *, max_bytes: int = MAX_TEXT_BYTES) -> bytes | None:
        """The bytes at ``path``, which nothing vouches for; raises GitError if they are more than ``max_bytes``."""
        return self.repo.read_blob(self.commit, path, max_bytes=max_bytes)


def check_update(
    repo: BareRepo, old: str, new: str, *, fingerprint: str, now: datetime | None = None, allow_stale: bool = False
) -> None:
    """Check that the index at commit ``new`` continues the one accepted before, at ``old``.

    Both commits are in ``repo`` already; call this after fetching and before moving the branch. In this order:
    1. no root of the old state is altered, and the metadata of the new one verifies and is no older;
    2. it is the same index by its id;
    3. the new commit descends from the old one, unless a newer root raised the epoch;
    4. the files that changed are vouched for and well formed, entries were only added to, and by keys that might.

    Raises:
        TrustError: one of these does not hold. IndexFormatError: ``new`` is no index.
    """
    changed = {top: list(repo.changed_paths(old, new, top)) for top in (METADATA, ENTRIES, PUBLISHERS)}
    before, after = (
        _reader_of(repo, commit, [path for paths in changed.values() for path in paths]) for commit in (old, new)
    )
    require_same_roots(roots(before), roots(after))  # 1
    known = TufFiles(before, root=find_root(before, fingerprint), allow_stale=True)
    trusted = before(metadata_path("root", known.root.version)) or b""
    files = TufFiles(after, root=trusted, earlier=before, now=now, allow_stale=allow_stale)
    ids = _read_info(before).id, _read_info(files.read).id  # 2
    hint = "ask the index's maintainer; if it is meant so, remove the index and add it again"
    if ids[0] != ids[1]:
        raise TrustError("the index was replaced by another", context=f"{ids[0]} became {ids[1]}", hint=hint)
    newer_epoch = epoch_of(files.root) > epoch_of(known.root)  # 3
    if not newer_epoch and not repo.is_ancestor(old, new):
        told = f"{new[:12]} does not descend from {old[:12]}"
        raise TrustError("the index was rolled back or rewritten", context=told, hint=hint)
    fresh = TufFiles(after, root=trusted, now=now, allow_stale=allow_stale)  # 4: as it will be read from now on
    _require_bins(before, after, changed[METADATA], fresh)
    snapshot = IndexSnapshot(repo, new, fresh)
    for path in changed[ENTRIES]:
        require_append_only(before(path) or b"", fresh.read(path), path=path)
        snapshot.entries(path.rsplit("/", 1)[1].removesuffix(".jsonl"))
    for path in changed[PUBLISHERS]:
        snapshot.publisher(path.rsplit("/", 1)[1].removesuffix(".json"))


def _reader_of(repo: BareRepo, commit: str, paths: Sequence[str]) -> Read:
    """Reads a commit, with ``paths`` read ahead together if they are not too many to hold."""
    ahead = dict(repo.read_blobs(commit, paths)) if len(paths) <= _MAX_AHEAD else {}
    read = repo.reader(commit)
    return lambda path: ahead[path] if path in ahead else read(path)


def _require_bins(before: Read, after: Read, changed: Sequence[str], files: TufFiles) -> None:
    """Raise TrustError unless what delegates to entries verifies, and still vouches for every name that it vouched for."""
    for path in changed:
        if path == metadata_path(ENTRIES):
            files.vouches_for(entry_path("any"))
        elif path.startswith(f"{METADATA}/{BINS}-"):
            was, now = targets_in(before(path), path), targets_in(after(path), path)
            if any(not files.vouches_for(target) for target in sorted(now)[:1]) or was - now:
                raise TrustError(
                    f"the index no longer vouches for {', '.join(sorted(was - now)[:3])}",
                    context=path,
                    hint="ask the index's maintainer; if it is meant so, remove the index and add it again",
                )


def _read_info(read: Read) -> IndexInfo:
    data = read(INDEX_JSON)
    if data is None:
        raise IndexFormatError(
            f"the repository has no {INDEX_JSON}", hint="it is no index: make one with `xpm index init`"
        )
    return IndexInfo.parse(data)


def _parse_publisher(data: bytes, namespace: str) -> Publisher:
    publisher = Publisher.parse(data, what=f"the publisher file of {namespace}")
    if publisher.namespace != namespace:
        raise IndexFormatError(f"the publisher file of {namespace} is of {publisher.namespace}")
    return publisher


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
        return _parse_publisher(data, namespace)

    def put_publisher(self, publisher: Publisher) -> str:
        """Add or replace a publisher's file; the commit."""
        path = publisher_path(publisher.namespace)
        return self._commit({path: publisher.to_bytes()}, f"Publisher {publisher.namespace}")

    def add_entry(self, entry: Entry, *, blobs: Mapping[str, bytes] | None = None) -> str:
        """Append an entry's line, with the archives (path in the index → bytes) that the index itself holds; the commit.

        Raises:
            PackagingError: the version is published already. IndexFormatError: the name is another publisher's, or a
                published version would change. TrustError: the index does not list the key for the publisher.
            KeyFileError: the online keys are not at hand.
        """
        return self._commit(self._with_entry(entry, blobs), f"{entry.name} {entry.version}")

    def propose_entry(self, entry: Entry, branch: str, *, blobs: Mapping[str, bytes] | None = None) -> str:
        """Like ``add_entry``, but on a branch of its own and without metadata, for the maintainer to accept."""
        return self._write(self._with_entry(entry, blobs), f"Propose {entry.name} {entry.version}", branch=branch)

    def check_entry(self, entry: Entry) -> None:
        """Raise what ``add_entry`` would raise, and change nothing."""
        self._with_entry(entry, None)

    def can_add_entries(self) -> bool:
        """Whether entries can be added here; otherwise they can be proposed."""
        return not self._has_metadata() or self._editor().can_add_entries(self._keys)

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
