"""An index: a Git repository of entries and publishers, read at one commit and written one commit at a time.

The snapshot verifies what it hands out: publisher files against their own signature and the client's trust, entries
against their publisher's key at the time of publishing.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from xpm_index import strict_json
from xpm_index.entries import Entry, SignedEntry, parse_entries, require_append_only
from xpm_index.errors import IndexFormatError, PackagingError, TrustError, XpmError
from xpm_index.fields import Fields
from xpm_index.git import BareRepo
from xpm_index.keys import SigningKey
from xpm_index.layout import ENTRIES, INDEX_JSON, entry_path, publisher_path
from xpm_index.names import spellings, validate_name
from xpm_index.publishers import Publisher
from xpm_index.trust import TrustAnchor

FORMAT = 1
_AUTHOR = "xpm <xpm@localhost>"


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexInfo:
    """``index.json``: ``id`` never changes, ``bin_bits`` is for the hashed bins of TUF metadata."""

    id: str
    name: str
    format: int = FORMAT
    bin_bits: int = 8

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
            bin_bits=fields.integer("bin_bits", default=8),
        )
        if info.format != FORMAT:
            raise IndexFormatError(
                f"index {info.name} has format {info.format}", hint=f"this xpm reads format {FORMAT}: update xpm"
            )
        return info


class IndexSnapshot:
    """An index at one commit."""

    def __init__(self, repo: BareRepo, commit: str, trust: TrustAnchor) -> None:
        self.repo = repo
        self.commit = commit
        self._trust = trust
        self._publishers: dict[str, Publisher] = {}
        self.info = _read_info(repo, commit)

    def names(self) -> Iterator[str]:
        """All names, in the order of the tree."""
        for path in self.repo.list_tree(self.commit, ENTRIES):
            if path.endswith(".jsonl"):
                yield path.rsplit("/", 1)[1].removesuffix(".jsonl")

    def find(self, name: str) -> str | None:
        """The spelling under which the index has ``name`` (``sql`` or ``expert-sql``), or None."""
        return next(
            (each for each in spellings(name) if self.repo.read_blob(self.commit, entry_path(each)) is not None), None
        )

    def entries(self, name: str) -> tuple[Entry, ...]:
        """Every published version of exactly ``name``, oldest first, each verified; () if there is none."""
        data = self.repo.read_blob(self.commit, entry_path(name))
        return tuple(self._verified(each) for each in parse_entries(data, name=name)) if data is not None else ()

    def publisher(self, namespace: str) -> Publisher:
        """A publisher's file, verified and accepted by the client's trust."""
        if namespace not in self._publishers:
            data = self.repo.read_blob(self.commit, publisher_path(namespace))
            if data is None:
                raise TrustError(f"the index knows no publisher {namespace}", context=f"index {self.info.name}")
            publisher = Publisher.parse(data, what=f"the publisher file of {namespace}")
            if publisher.namespace != namespace:
                raise IndexFormatError(f"the publisher file of {namespace} is of {publisher.namespace}")
            self._trust.accept(publisher)
            self._publishers[namespace] = publisher
        return self._publishers[namespace]

    def read_blob(self, path: str) -> bytes | None:
        return self.repo.read_blob(self.commit, path)

    def _verified(self, signed: SignedEntry) -> Entry:
        entry = signed.entry
        return signed.verify(self.publisher(entry.publisher).key(entry.key_id, at=entry.published_at))


def check_update(repo: BareRepo, old: str, new: str) -> None:
    """Check that the index at commit ``new`` only adds to the one accepted before, at ``old``.

    Both commits are in ``repo`` already; call this after fetching and before moving the branch.

    Raises:
        TrustError: ``new`` does not descend from ``old``, is another index, or removes or rewrites an entry.
        IndexFormatError: ``new`` is no index.
    """
    hint = "ask the index's maintainer; if it is meant so, remove the index and add it again"
    if not repo.is_ancestor(old, new):
        raise TrustError(
            "the index was rolled back or rewritten", context=f"{new[:12]} does not descend from {old[:12]}", hint=hint
        )
    before, after = (_read_info(repo, commit) for commit in (old, new))
    if before.id != after.id:
        raise TrustError("the index was replaced by another", context=f"{before.id} became {after.id}", hint=hint)
    for path in repo.changed_paths(old, new, ENTRIES):
        require_append_only(repo.read_blob(old, path) or b"", repo.read_blob(new, path), path=path)


def _read_info(repo: BareRepo, commit: str) -> IndexInfo:
    data = repo.read_blob(commit, INDEX_JSON)
    if data is None:
        raise IndexFormatError(
            f"the repository has no {INDEX_JSON}", hint="it is no index: make one with `xpm index init`"
        )
    return IndexInfo.parse(data)


class IndexWriter:
    """Makes and extends an index repository on this machine; one commit per call."""

    def __init__(self, repo: BareRepo) -> None:
        self.repo = repo

    @classmethod
    def init(cls, path: Path, *, name: str, id: str, when: int | None = None) -> "IndexWriter":
        writer = cls(BareRepo.init(path))
        info = IndexInfo(id=id, name=validate_name(name, what="index name"))
        writer.repo.commit_files(
            {INDEX_JSON: info.to_bytes()}, message=f"Start index {name}", author=_AUTHOR, when=when
        )
        return writer

    @classmethod
    def open(cls, path: Path) -> "IndexWriter":
        writer = cls(BareRepo.open(path))
        head = writer.repo.head()
        if head is None or writer.repo.read_blob(head, INDEX_JSON) is None:
            raise IndexFormatError(f"{path} is not an index", hint="make one with `xpm index init`")
        return writer

    def add_publisher(self, publisher: Publisher, key: SigningKey, *, when: int | None = None) -> str:
        """Add or replace a publisher's file, signed by ``key``."""
        path = publisher_path(publisher.namespace)
        message = f"Publisher {publisher.namespace}"
        return self.repo.commit_files({path: publisher.to_bytes(key)}, message=message, author=_AUTHOR, when=when)

    def add_entry(
        self, entry: Entry, key: SigningKey, *, blobs: Mapping[str, bytes] | None = None, when: int | None = None
    ) -> str:
        """Append an entry's line, with the archives (path in the index → bytes) that the index itself holds.

        Raises:
            PackagingError: the version is published already.
            IndexFormatError: the name is another publisher's, or a yanked version would change.
            TrustError: the index does not list the key for the publisher.
        """
        head = self.repo.head()
        assert head is not None  # an index has its first commit from the start
        data = self.repo.read_blob(head, publisher_path(entry.publisher))
        if data is None:
            raise TrustError(
                f"the index knows no publisher {entry.publisher}",
                hint=f"run `xpm index add-publisher {entry.publisher}` first",
            )
        Publisher.parse(data, what=f"the publisher file of {entry.publisher}").key(key.key_id, at=entry.published_at)
        path = entry_path(entry.name)
        before = self.repo.read_blob(head, path) or b""
        published = {each.entry.version for each in parse_entries(before, name=entry.name)} if before else set()
        if entry.version in published and entry.yanked is None:
            raise PackagingError(
                f"{entry.name} {entry.version} is published already", hint="raise the version and build again"
            )
        after = before + entry.to_line(key) + b"\n"
        parse_entries(after, name=entry.name)
        files = {**(blobs or {}), path: after}
        return self.repo.commit_files(files, message=f"{entry.name} {entry.version}", author=_AUTHOR, when=when)
