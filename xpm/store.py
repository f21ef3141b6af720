"""The store: unpacked packages by the digest of their archive, immutable, shared by all projects of a user.

Invariant: a folder under ``sha256/`` is complete and was verified. It appears by one rename, after everything in it was
written, verified and synced; a crash leaves nothing but a folder under ``tmp/``, which the next ``scratch`` clears.

``records/`` keeps the size and time of every file when it was stored. What no longer agrees with that was altered
since, by a person, a program that went wrong or a disk, and ``is_intact`` sees it without reading the files.
"""

import contextlib
import json
import os
import shutil
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path

from xpm.errors import StoreError, unwritable
from xpm.files import write_atomically
from xpm.trust import Verified
from xpm_index.archive import MANIFEST
from xpm_index.digests import parse_digest, sha256_bytes, sha256_file
from xpm_index.durable import sync_folder
from xpm_index.errors import XpmError
from xpm_index.integrity import read_signature
from xpm_index.manifest import Manifest

_READ_ONLY = 0o444

Record = Mapping[str, list[int]]
"""Path in the package → [size in bytes, time of the last change in ns]."""


class Store:
    def __init__(self, root: Path) -> None:
        self.root = root

    @property
    def _temporary(self) -> Path:
        return self.root / "tmp"

    def path_of(self, digest: str) -> Path:
        hexdigits = parse_digest(digest).removeprefix("sha256:")
        return self.root / "sha256" / hexdigits[:2] / hexdigits

    def get(self, digest: str) -> Path | None:
        """The folder of a package, or None if it is not in the store."""
        path = self.path_of(digest)
        return path if path.is_dir() else None

    def is_intact(self, digest: str) -> bool:
        """Whether a package is in the store and nothing in it was altered, as far as sizes and times tell.

        Where they do not agree with the record, or there is none, the files are read and compared with what was signed.
        If they are right the record is made anew: they were only copied, or touched.
        """
        folder = self.path_of(digest)
        if not folder.is_dir():
            return False
        found = _record_of(folder)
        if found is not None and found == self._recorded(folder):
            return True
        if found is None or not _is_as_signed(folder):
            return False
        with contextlib.suppress(OSError):  # somebody else's store, that only can be read: it is compared each time
            for path in folder.rglob("*"):
                if path.is_file():
                    path.chmod(_READ_ONLY)
            self._save_record(folder)
        return True

    def digests(self) -> list[str]:
        """Every package in the store."""
        return sorted(f"sha256:{path.name}" for path in self.root.glob("sha256/??/*") if path.is_dir())

    def size_of(self, digest: str) -> int:
        """The bytes of a package's files."""
        return sum(path.stat().st_size for path in self.path_of(digest).rglob("*") if path.is_file())

    def remove(self, digest: str) -> None:
        """Take a package out; call it while holding the home's lock. It vanishes by one rename, then its files go."""
        target = self.path_of(digest)
        try:
            self._bury(target)
        except OSError as error:
            raise StoreError(f"{target} could not be removed", context=str(error), hint="check rights") from error

    def clear_temporary(self) -> None:
        """Remove what was being unpacked or removed, by this command or one that was cut off."""
        shutil.rmtree(self._temporary, ignore_errors=True)

    @contextlib.contextmanager
    def scratch(self) -> Iterator[Path]:
        """An empty folder beside the packages, to unpack in; call it while holding the home's
        lock. It is gone afterwards."""
        self.clear_temporary()
        try:
            self._temporary.mkdir(parents=True)
        except OSError as error:
            raise unwritable(f"{self._temporary} could not be made", error) from error
        try:
            yield self._temporary
        finally:
            self.clear_temporary()

    def add(self, package: Verified) -> Path:
        """Give a package its place, instead of what may be there; call it while holding the home's lock.

        Raises:
            DiskFullError, StoreError: it can't be written.
        """
        target = self.path_of(package.digest)
        try:
            self._settle(package.folder)
            target.parent.mkdir(parents=True, exist_ok=True)
            if target.is_dir():
                self._bury(target)
            self._save_record(package.folder, target)  # before the folder: without one it says nothing
            os.replace(package.folder, target)
            sync_folder(target.parent)
            sync_folder(target.parent.parent)
        except OSError as error:
            raise unwritable(f"{package.manifest.name} could not be stored", error) from error
        return target

    def _bury(self, target: Path) -> None:
        grave = self._temporary / f"removed-{target.name}"
        grave.parent.mkdir(parents=True, exist_ok=True)
        if grave.exists():
            shutil.rmtree(grave)
        os.replace(target, grave)
        self._record_path(target).unlink(missing_ok=True)
        sync_folder(target.parent)
        shutil.rmtree(grave)

    def _recorded(self, folder: Path) -> Record | None:
        try:
            record = json.loads(self._record_path(folder).read_bytes())
        except (OSError, ValueError):
            return None
        return record if isinstance(record, dict) else None

    def _save_record(self, folder: Path, target: Path | None = None) -> None:
        """Keep the record of ``folder``, which will be at ``target``."""
        data = json.dumps(_record_of(folder), sort_keys=True).encode()
        write_atomically(self._record_path(target or folder), data)

    def _record_path(self, folder: Path) -> Path:
        return self.root / "records" / f"{folder.name}.json"

    def _settle(self, folder: Path) -> None:
        """Sync every file, make it read-only, and sync the folders."""
        for path in sorted(folder.rglob("*"), reverse=True):
            if path.is_dir():
                sync_folder(path)
                continue
            with path.open("rb+") as file:
                os.fsync(file.fileno())
            path.chmod(_READ_ONLY)
        folder.chmod(stat.S_IRWXU | stat.S_IRGRP | stat.S_IXGRP | stat.S_IROTH | stat.S_IXOTH)
        sync_folder(folder)


def _record_of(folder: Path) -> Record | None:
    """The record of a folder as it is; None if there is something in it that is neither a file nor a folder."""
    record = {}
    for path in folder.rglob("*"):
        state = path.lstat()
        if stat.S_ISDIR(state.st_mode):
            continue
        if not stat.S_ISREG(state.st_mode):
            return None
        record[path.relative_to(folder).as_posix()] = [state.st_size, state.st_mtime_ns]
    return record


def _is_as_signed(folder: Path) -> bool:
    """Whether the files are those that the manifest lists; whether the manifest is the publisher's is not looked at."""
    try:
        manifest = Manifest.parse((folder / MANIFEST).read_bytes())
        listed = read_signature(manifest).files
    except (OSError, XpmError):
        return False
    return _holds(folder, {MANIFEST: sha256_bytes(manifest.to_bytes()), **listed})


def _holds(folder: Path, wanted: Mapping[str, str]) -> bool:
    """Whether a folder has exactly these files (path → digest)."""
    found = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    return found.keys() == wanted.keys() and all(sha256_file(found[name]) == each for name, each in wanted.items())
