"""An index: a Git repository of entries and publishers, read at one commit.

A snapshot hands out only what the index's metadata vouches for (``xpm_index.verified``). ``xpm_index.index_update``
says whether one state may follow another, ``xpm_index.index_writer`` makes the next one.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial

from xpm_index import strict_json
from xpm_index.entries import Entry, parse_entries
from xpm_index.errors import IndexFormatError, TrustError, XpmError
from xpm_index.fields import Fields
from xpm_index.git import BareRepo
from xpm_index.git_reading import MAX_TEXT_BYTES
from xpm_index.keys import PublicKey
from xpm_index.layout import ENTRIES, INDEX_JSON, REVIEWS, entry_path, publisher_path, review_path
from xpm_index.metadata import Read
from xpm_index.names import spellings, validate_name
from xpm_index.publishers import Publisher
from xpm_index.reviews import ReviewFile
from xpm_index.verified import EnclosedFiles, VerifiedFiles

FORMAT = 1


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
    """An index at one commit.

    Args:
        list_files: the paths of all files below a folder, of which nothing is verified; those of the commit by default.
    """

    def __init__(
        self,
        repo: BareRepo,
        commit: str,
        files: VerifiedFiles,
        *,
        list_files: Callable[[str], Iterable[str]] | None = None,
    ) -> None:
        self.repo = repo
        self.commit = commit
        self.files = files
        self._list_files = list_files or partial(repo.list_tree, commit)
        self._publishers: dict[str, Publisher] = {}
        self.info = read_info(files.read)

    @classmethod
    def enclosed(cls, repo: BareRepo, commit: str) -> "IndexSnapshot":
        """An index that is trusted as a whole, since it came inside something trusted."""
        return cls(repo, commit, EnclosedFiles(repo.reader(commit)))

    def names(self) -> Iterator[str]:
        """All names, in the order of the tree; nothing is verified."""
        for path in self._list_files(ENTRIES):
            if path.endswith(".jsonl"):
                yield path.rsplit("/", 1)[1].removesuffix(".jsonl")

    def find(self, name: str) -> str | None:
        """The spelling under which the index has ``name`` (``sql`` or ``expert-sql``), or None."""
        return next((each for each in spellings(name) if self.files.has(entry_path(each))), None)

    def entries(self, name: str) -> tuple[Entry, ...]:
        """Every published version of exactly ``name``, oldest first; () if there is none.

        Raises:
            TrustError: the index's metadata does not vouch for them, or a key could not sign for the publisher then.
        """
        return self.entries_in(self.files.read(entry_path(name)), name)

    def entries_in(self, data: bytes | None, name: str) -> tuple[Entry, ...]:
        """The same of the file of a name, None if there is none."""
        entries = parse_entries(data, name=name) if data is not None else ()
        for entry in entries:
            self.key_of(entry)
        return entries

    def publisher(self, namespace: str) -> Publisher:
        if namespace not in self._publishers:
            data = self.files.read(publisher_path(namespace))
            if data is None:
                raise TrustError(f"the index knows no publisher {namespace}", context=f"index {self.info.name}")
            self._publishers[namespace] = parse_publisher(data, namespace)
        return self._publishers[namespace]

    def review_paths(self, name: str) -> list[str]:
        """Where the reviews of a package lie; nothing is verified."""
        return list(self._list_files(f"{REVIEWS}/{name}"))

    def review_file(self, path: str) -> ReviewFile:
        """One key's reviews.

        Raises:
            TrustError: the index's metadata does not vouch for them. IndexFormatError, SignatureError: they are
                malformed, of another package, or by another key.
        """
        found = parse_reviews(self.files.read(path), path)
        if found is None:
            raise TrustError(f"the index has no {path}")
        return found

    def reviews(self, name: str) -> tuple[ReviewFile, ...]:
        """Every key's reviews of exactly ``name``; raises what ``review_file`` raises."""
        return tuple(self.review_file(path) for path in self.review_paths(name))

    def key_of(self, entry: Entry) -> PublicKey:
        """The key that the entry's archives must be signed with; raises TrustError if it could not sign then."""
        return self.publisher(entry.publisher).key(entry.key_id, at=entry.published_at)

    def read_blob(self, path: str, *, max_bytes: int = MAX_TEXT_BYTES) -> bytes | None:
        """The bytes at ``path``, which nothing vouches for; raises GitError if they are more than ``max_bytes``."""
        return self.repo.read_blob(self.commit, path, max_bytes=max_bytes)


def read_info(read: Read) -> IndexInfo:
    data = read(INDEX_JSON)
    if data is None:
        raise IndexFormatError(
            f"the repository has no {INDEX_JSON}", hint="it is no index: make one with `xpm index init`"
        )
    return IndexInfo.parse(data)


def parse_reviews(data: bytes | None, path: str) -> ReviewFile | None:
    """The reviews that lie at a path, None if nothing does; raises IndexFormatError if they belong elsewhere."""
    if data is None:
        return None
    found = ReviewFile.parse(data, what=path)
    if review_path(found.name, found.key.key_id) != path:
        raise IndexFormatError(f"{path} is of {found.name} by the key {found.key.key_id}")
    return found


def parse_publisher(data: bytes, namespace: str) -> Publisher:
    publisher = Publisher.parse(data, what=f"the publisher file of {namespace}")
    if publisher.namespace != namespace:
        raise IndexFormatError(f"the publisher file of {namespace} is of {publisher.namespace}")
    return publisher
