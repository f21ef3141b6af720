"""What an archive says of itself, where the index itself holds it: its manifest and its texts, for
display and never for trust.

The bytes are those that the entry's digest promises; who signed them is verified when they are installed.
"""

import tempfile
from collections.abc import Collection
from pathlib import Path

from xpm_index.archive import read_archive
from xpm_index.digests import sha256_bytes
from xpm_index.entries import Entry
from xpm_index.index import IndexSnapshot

_MAX_ARCHIVE_BYTES = 16_000_000
_MAX_TEXT_BYTES = 1 << 20


def held_texts(snapshot: IndexSnapshot, entry: Entry, names: Collection[str]) -> dict[str, bytes] | None:
    """The members of these names of the first archive of a version that the index holds; None if it holds none.

    An archive of more than 16 MB is passed over; so is a member of more than 1 MiB.

    Raises:
        ArchiveError: the archive can't be read. GitError: the repository can't.
    """
    for ref in entry.archives:
        if ref.path_in_index is None or ref.size > _MAX_ARCHIVE_BYTES:
            continue
        data = snapshot.read_blob(ref.path_in_index)
        if data is not None and sha256_bytes(data) == ref.digest:
            return _members(data, f"package.{entry.kind}", names)
    return None


def _members(data: bytes, file: str, names: Collection[str]) -> dict[str, bytes]:
    wanted, found = set(names), dict[str, bytes]()
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / file
        path.write_bytes(data)
        for name, chunks in read_archive(path):
            kept = bytearray()
            for chunk in chunks:
                if name in wanted and len(kept) <= _MAX_TEXT_BYTES:
                    kept += chunk
            if name in wanted and len(kept) <= _MAX_TEXT_BYTES:
                found[name] = bytes(kept)
            if wanted <= found.keys():
                break
    return found
