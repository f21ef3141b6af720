"""The store: unpacked packages by the digest of their archive, immutable, shared by all projects of a user.

Invariant: a folder under ``sha256/`` is complete and was verified. It appears by one rename, after everything in it was
written and synced; a crash leaves nothing but a folder under ``tmp/``, which the next ``add`` clears.
"""

import os
import shutil
import stat
import tempfile
from pathlib import Path

from xpm.errors import StoreError
from xpm.trust import Verified
from xpm_index.archive import MANIFEST, extract_archive
from xpm_index.digests import parse_digest, sha256_bytes, sha256_file
from xpm_index.durable import sync_folder

_READ_ONLY = 0o444


class Store:
    def __init__(self, root: Path) -> None:
        self.root = root

    def path_of(self, digest: str) -> Path:
        hexdigits = parse_digest(digest).removeprefix("sha256:")
        return self.root / "sha256" / hexdigits[:2] / hexdigits

    def get(self, digest: str) -> Path | None:
        """The folder of a package, or None if it is not in the store."""
        path = self.path_of(digest)
        return path if path.is_dir() else None

    def digests(self) -> list[str]:
        """Every package in the store."""
        return sorted(f"sha256:{path.name}" for path in self.root.glob("sha256/??/*") if path.is_dir())

    def size_of(self, digest: str) -> int:
        """The bytes of a package's files."""
        return sum(path.stat().st_size for path in self.path_of(digest).rglob("*") if path.is_file())

    def remove(self, digest: str) -> None:
        """Take a package out; call it while holding the home's lock. It vanishes by one rename, then its files go."""
        target = self.path_of(digest)
        grave = self.root / "tmp" / f"removed-{target.name}"
        try:
            grave.parent.mkdir(parents=True, exist_ok=True)
            if grave.exists():
                shutil.rmtree(grave)
            os.replace(target, grave)
            sync_folder(target.parent)
            shutil.rmtree(grave)
        except OSError as error:
            raise StoreError(f"{target} could not be removed", context=str(error), hint="check rights") from error

    def clear_temporary(self) -> None:
        """Remove what an interrupted ``add`` or ``remove`` left."""
        shutil.rmtree(self.root / "tmp", ignore_errors=True)

    def add(self, package: Verified) -> Path:
        """Unpack a verified archive and publish it; call it while holding the home's lock.

        Raises:
            StoreError: the disk is full or can't be written; IntegrityError: the file changed after it was verified.
        """
        target = self.path_of(package.digest)
        if target.is_dir():
            return target
        temporary_root = self.root / "tmp"
        try:
            shutil.rmtree(temporary_root, ignore_errors=True)
            temporary_root.mkdir(parents=True)
            folder = Path(tempfile.mkdtemp(dir=temporary_root))
            extract_archive(package.path, folder)
            self._require_unchanged(folder, package)
            self._settle(folder)
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(folder, target)
            sync_folder(target.parent)
            sync_folder(target.parent.parent)
        except OSError as error:
            raise StoreError(
                f"{package.manifest.name} could not be stored", context=str(error), hint="check disk space and rights"
            ) from error
        finally:
            shutil.rmtree(temporary_root, ignore_errors=True)
        return target

    def _require_unchanged(self, folder: Path, package: Verified) -> None:
        """Compare what was unpacked with what was verified, in case the file was exchanged between the two."""
        found = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
        wanted = {MANIFEST: sha256_bytes(package.manifest.to_bytes()), **package.signature.files}
        if found.keys() != wanted.keys() or any(sha256_file(found[name]) != digest for name, digest in wanted.items()):
            raise StoreError(f"{package.path.name} changed while it was installed", hint="run the command again")

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
