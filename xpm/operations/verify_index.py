"""A whole index inspected: its metadata, every file in it and what vouches for that, and every archive that it holds.

A client reads only what it needs, so what is wrong elsewhere stays unseen: a publisher that nobody vouches for, an
entry in a folder where no client looks, an archive that no entry names, a promise without its file.
"""

import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from xpm.home import Home
from xpm.operations.open_index import opened
from xpm.progress import Progress, Silent
from xpm.trust import verify_archive
from xpm_index.entries import ArchiveRef, Entry
from xpm_index.errors import XpmError
from xpm_index.index import IndexSnapshot
from xpm_index.layout import ARCHIVES, ENTRIES, INDEX_JSON, METADATA, PUBLISHERS, REVIEWS, entry_path, publisher_path
from xpm_index.metadata import Read, metadata_files, promised
from xpm_index.metadata_editor import RoleState
from xpm_index.tuf_keys import Keyring
from xpm_index.verified import TufFiles, find_root, newest_fingerprint

_FOLDERS = (ENTRIES, PUBLISHERS, ARCHIVES, METADATA)


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexReport:
    """What a whole index was found to be; ``problems`` is empty if everything verifies.

    ``others`` are files beside the index's own, such as a README: nothing vouches for them, and no client reads them.
    """

    num_names: int
    num_versions: int
    num_archives: int
    num_publishers: int
    fingerprint: str
    roles: tuple[RoleState, ...]
    problems: tuple[str, ...]
    others: tuple[str, ...]


def verify_index(
    home: Home, index: str, *, at: datetime | None = None, progress: Progress | None = None
) -> IndexReport:
    """Verify everything in an index, in this order:

    1. its metadata, from its newest root;
    2. that every file that the metadata promises is there and is what was promised;
    3. every publisher, every entry, every review, and every archive that the index itself holds, signature and all;
    4. that there is nothing else in its folders.

    Raises:
        StaleIndexError, TrustError, IndexFormatError: the metadata does not verify, so that nothing else can.
    """
    with opened(home, index, keys=Keyring(), progress=progress or Silent()) as target:
        repo, commit = target.writer.repo, target.writer.head
        read = repo.reader(commit)
        fingerprint = newest_fingerprint(read)
        snapshot = IndexSnapshot(repo, commit, TufFiles(read, root=find_root(read, fingerprint), now=at))  # 1
        home.make()
        with tempfile.TemporaryDirectory(dir=home.root, prefix="index-") as folder:
            inspection = _Inspection(snapshot, read, Path(folder))
            inspection.at_promises()  # 2
            inspection.at_publishers()  # 3
            inspection.at_entries()
            inspection.at_reviews()
            inspection.at_the_rest()  # 4
        return IndexReport(
            num_names=inspection.num_names,
            num_versions=inspection.num_versions,
            num_archives=len(inspection.archives),
            num_publishers=inspection.num_publishers,
            fingerprint=fingerprint,
            roles=tuple(target.writer.states()),
            problems=tuple(inspection.problems),
            others=tuple(inspection.others),
        )


class _Inspection:
    """One pass over an index. ``archives`` are the paths of those that entries name."""

    def __init__(self, snapshot: IndexSnapshot, read: Read, scratch: Path) -> None:
        self._snapshot = snapshot
        self._read = read
        self._scratch = scratch
        self._paths = [path for path, _ in snapshot.repo.regular_files(snapshot.commit)]
        self._promised = promised(read)
        self.problems: list[str] = []
        self.others: list[str] = []
        self.archives: set[str] = set()
        self.num_names = self.num_versions = self.num_publishers = 0

    def at_promises(self) -> None:
        for path in sorted(self._promised - set(self._paths)):
            self.problems.append(f"{path}: the index's metadata promises it, and it is not there")

    def at_publishers(self) -> None:
        for path, namespace in self._below(PUBLISHERS, ".json", publisher_path):
            try:
                self._snapshot.publisher(namespace)
                self.num_publishers += 1
            except XpmError as error:
                self.problems.append(f"{path}: {_described(error)}")

    def at_entries(self) -> None:
        for path, name in self._below(ENTRIES, ".jsonl", entry_path):
            try:
                entries = self._snapshot.entries(name)
            except XpmError as error:
                self.problems.append(f"{path}: {_described(error)}")
                continue
            self.num_names += 1
            self.num_versions += len(entries)
            for entry in entries:
                self._at_archives(entry)

    def at_reviews(self) -> None:
        for path in self._paths:
            if path.startswith(f"{REVIEWS}/"):
                try:
                    self._snapshot.review_file(path)
                except XpmError as error:
                    self.problems.append(f"{path}: {_described(error)}")

    def at_the_rest(self) -> None:
        known = {INDEX_JSON, *metadata_files(self._read), *self._promised, *self.archives}
        for path in self._paths:
            folder = path.partition("/")[0]
            if path in known or folder in (ENTRIES, PUBLISHERS, REVIEWS):
                continue
            if folder == ARCHIVES:
                self.problems.append(f"{path}: no entry names it")
            elif folder == METADATA:
                self.problems.append(f"{path}: it is no metadata of this index")
            else:
                self.others.append(path)

    def _below(self, folder: str, suffix: str, path_of: Callable[[str], str]) -> Iterator[tuple[str, str]]:
        """(path, name) of the files of a folder that lie where a client looks for them; the others are problems."""
        for path in self._paths:
            if not path.startswith(f"{folder}/"):
                continue
            name = path.rpartition("/")[2].removesuffix(suffix)
            if path == path_of(name):
                yield path, name
            else:
                self.problems.append(f"{path}: no client looks there; {name} belongs at {path_of(name)}")

    def _at_archives(self, entry: Entry) -> None:
        """Verify the archives of an entry that the index holds, as a client does that installs them."""
        for ref in entry.archives:
            for source in ref.sources:
                if source.startswith("blob:"):
                    path = source.removeprefix("blob:")
                    self.archives.add(path)
                    if problem := self._problem_of(path, ref, entry):
                        self.problems.append(f"{path}: {problem}")

    def _problem_of(self, path: str, ref: ArchiveRef, entry: Entry) -> str | None:
        try:
            data = self._snapshot.read_blob(path, max_bytes=ref.size)
            if data is None:
                return f"it is missing, and {entry.name} {entry.version} needs it"
            archive = self._scratch / Path(path).name
            archive.write_bytes(data)
            verified = verify_archive(archive, ref, entry, self._snapshot.key_of(entry), scratch=self._scratch)
        except XpmError as error:
            return _described(error)
        archive.unlink()
        shutil.rmtree(verified.folder)
        return None


def _described(error: XpmError) -> str:
    return f"{error.message} ({error.context})" if error.context else error.message
