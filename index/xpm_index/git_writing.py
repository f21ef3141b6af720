"""Writing objects and refs so that they outlast a crash: objects are synced before a ref names them,
a ref moves by one rename."""

import os
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from dulwich.object_store import DiskObjectStore
from dulwich.objects import Blob, ObjectID, ShaFile, Tree
from dulwich.refs import Ref

from xpm_index.durable import sync_folder
from xpm_index.git_objects import TREE_MODE

_FILE_MODE = 0o100644
_LOCK_TRIES = 20
_LOCK_PAUSE_S = 0.1


class ObjectWriter:
    """Adds objects to the repository at ``path`` and moves its refs to them."""

    def __init__(self, store: DiskObjectStore, path: Path) -> None:
        self._store = store
        self._path = path
        self._added: set[str] = set()

    def write_tree(self, tree_id: ObjectID | None, files: Mapping[str, bytes]) -> ObjectID:
        """A copy of the tree with ``files`` (path → content) put in; returns its id."""
        old = self._store[tree_id] if tree_id else None
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
            self.add(blob)
            tree.add(head.encode(), _FILE_MODE, blob.id)
        for folder, inner in folders.items():
            existing = tree[folder.encode()][1] if folder.encode() in tree else None
            tree.add(folder.encode(), TREE_MODE, self.write_tree(existing, inner))
        self.add(tree)
        return tree.id

    def add(self, item: ShaFile) -> None:
        self._store.add_object(item)
        self._added.add(item.id[:2].decode())

    def _sync_objects(self) -> None:
        """Make the objects added last through a crash, before a ref names them."""
        for folder in sorted(self._added):
            if (self._path / "objects" / folder).is_dir():
                sync_folder(self._path / "objects" / folder)
        self._added.clear()

    def move(self, ref: Ref, commit: ObjectID) -> None:
        """Set a ref by one rename, after a lock that Git may hold on it was given time to go."""
        target = self._path / ref.decode()
        lock = target.with_name(target.name + ".lock")
        for _ in range(_LOCK_TRIES):
            if not lock.exists():
                break
            time.sleep(_LOCK_PAUSE_S)
        lock.unlink(missing_ok=True)
        target.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=self._path, prefix="xpm-ref-")
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
