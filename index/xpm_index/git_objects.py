"""Objects of a repository that a stranger may have made: their size is known before they are inflated, and walks end.

A pack of a few kB can hold a file of a gigabyte, and a folder that names the next one twice, forty levels deep, has
more paths than anybody can list. So every read states what it will take at most, and every walk counts the trees
and files that it comes by.
"""

import stat
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from dulwich.object_store import DiskObjectStore
from dulwich.objects import ObjectID, ShaFile, Tree, hex_to_sha

from xpm_index.errors import GitError
from xpm_index.pack_gauge import DELTAS, read_object_header, result_size

TREE_MODE = 0o040000
MAX_TREE_BYTES = 32 << 20
MAX_PATHS = 2_000_000
MAX_DEPTH = 32
_MAX_BASE_BYTES = 64 << 20
_MAX_CHAIN = 4096
_HEAD_BYTES = 64
_COMPRESSED_HEAD_BYTES = 4096  # the tables of a compressed block, which come before its first byte, have hundreds


def read_object(store: DiskObjectStore, id: ObjectID, *, max_bytes: int, what: str = "") -> ShaFile:
    """The object, hash-checked; raises GitError if it has more than ``max_bytes``, KeyError if it is not there.

    Args:
        what: names the object in errors.
    """
    size, largest = _sizes(store, id)
    if size > max_bytes or largest > max(max_bytes, _MAX_BASE_BYTES):
        raise GitError(
            f"{what or f'the object {id.decode()}'} has more than {max_bytes} bytes", context=f"{size} bytes"
        )
    return store[id]


class Walk:
    """The files below a tree, as far as ``max_paths`` trees and files together and ``MAX_DEPTH`` levels go.

    Every method raises GitError beyond that.
    """

    def __init__(self, store: DiskObjectStore, *, max_paths: int = MAX_PATHS) -> None:
        self._store = store
        self._max_paths = max_paths
        self._num_paths = 0
        self._read: dict[ObjectID, dict[str, tuple[int, ObjectID]]] = {}

    def files(self, tree: ObjectID, prefix: str) -> Iterator[tuple[str, int, ObjectID]]:
        """(path, mode, id) of everything that is no tree, in the order of the tree; ``prefix``
        ends with ``/`` or is ""."""
        yield from self._files(tree, prefix, 1)

    def changes(self, old: ObjectID | None, new: ObjectID | None, prefix: str) -> Iterator[str]:
        """The paths of the files that differ between two trees; None for a tree that is not there."""
        yield from self._changes(old, new, prefix, 1)

    def _files(self, tree: ObjectID, prefix: str, depth: int) -> Iterator[tuple[str, int, ObjectID]]:
        for name, (mode, id) in self._entries(tree, depth).items():
            if mode == TREE_MODE:
                yield from self._files(id, f"{prefix}{name}/", depth + 1)
            else:
                yield prefix + name, mode, id

    def _changes(self, old: ObjectID | None, new: ObjectID | None, prefix: str, depth: int) -> Iterator[str]:
        before = self._entries(old, depth) if old else {}
        after = self._entries(new, depth) if new else {}
        for name in dict.fromkeys((*before, *after)):
            was, now = before.get(name), after.get(name)
            if was == now:
                continue
            folders = [each[1] if each and each[0] == TREE_MODE else None for each in (was, now)]
            if any(folders):
                yield from self._changes(folders[0], folders[1], f"{prefix}{name}/", depth + 1)
            if any(each and each[0] != TREE_MODE for each in (was, now)):
                yield prefix + name

    def _entries(self, id: ObjectID, depth: int) -> dict[str, tuple[int, ObjectID]]:
        """The entries of one tree; nothing if ``id`` is of something else."""
        if depth > MAX_DEPTH:
            raise GitError(f"the repository has folders more than {MAX_DEPTH} levels deep")
        if id not in self._read:
            tree = read_object(self._store, id, max_bytes=MAX_TREE_BYTES, what="a folder of the repository")
            entries = tree.items() if isinstance(tree, Tree) else []
            self._read[id] = {each.path.decode(errors="replace"): (each.mode, each.sha) for each in entries}
        self._num_paths += 1 + len(self._read[id])
        if self._num_paths > self._max_paths:
            raise GitError(f"the repository has more than {self._max_paths:,} files and folders")
        return self._read[id]


def is_regular(mode: int) -> bool:
    """Whether a tree's entry is a file, no link and no submodule."""
    return stat.S_ISREG(mode)


def _sizes(store: DiskObjectStore, id: ObjectID) -> tuple[int, int]:
    """(size of an object, size of the largest that must be inflated for it), without inflating any."""
    size: int | None = None
    largest = 0
    for _ in range(_MAX_CHAIN):
        found = _in_a_pack(store, id)
        if found is None:
            loose = _loose_size(Path(store.path), id)
            return size if size is not None else loose, max(largest, loose)
        path, offset = found
        base: int | bytes | None = offset
        with path.open("rb") as file:
            for _ in range(_MAX_CHAIN):
                assert isinstance(base, int)
                own, base = _at(file, base)
                size = own if size is None else size
                largest = max(largest, own)
                if not isinstance(base, int):
                    break
        if base is None:
            return size or 0, largest
        if isinstance(base, bytes):
            id = ObjectID(base.hex().encode())
    raise GitError("the repository has a chain of deltas without end")


def _in_a_pack(store: DiskObjectStore, id: ObjectID) -> tuple[Path, int] | None:
    raw = hex_to_sha(id)
    for pack in store.packs:
        try:
            return Path(pack.data.path), pack.index.object_offset(raw)
        except KeyError:
            continue
    return None


def _at(pack: BinaryIO, offset: int) -> tuple[int, int | bytes | None]:
    """(the size of the object at an offset of a pack, its base: an offset, an id, or None)."""
    pack.seek(offset)
    head = pack.read(_COMPRESSED_HEAD_BYTES)
    header = read_object_header(head)
    if header is None:
        raise GitError("the repository has a damaged pack")
    if header.kind not in DELTAS:
        return header.size, None
    try:
        start = zlib.decompressobj().decompress(head[header.end :], 20)
    except zlib.error as error:
        raise GitError("the repository has a damaged pack") from error
    return result_size(start), offset - header.base if isinstance(header.base, int) else header.base


def _loose_size(root: Path, id: ObjectID) -> int:
    name = id.decode()
    try:
        with (root / name[:2] / name[2:]).open("rb") as file:
            head = zlib.decompressobj().decompress(file.read(_COMPRESSED_HEAD_BYTES), _HEAD_BYTES)
        return int(head.partition(b"\0")[0].split(b" ")[1])
    except FileNotFoundError as error:
        raise KeyError(id) from error
    except (zlib.error, ValueError, IndexError) as error:
        raise GitError("the repository has a damaged object", context=name) from error
