"""An archive on its way: ``<digest>.partial`` grows and is hashed as it does, and becomes
``<digest>`` when it is right.

Every byte written is in the file at once, so a download that was cut off, by whatever, is gone on with by
the next one. Beside it ``<digest>.partial.from`` keeps what the server said of its version (never the URL
itself, which may be private).
"""

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

from xpm.errors import unwritable
from xpm_index.digests import sha256_bytes
from xpm_index.durable import sync_folder
from xpm_index.errors import IntegrityError

UNNAMED = ".unnamed"
_CHUNK_BYTES = 1 << 20
_MODE = 0o600
_MAX_NOTE_BYTES = 1 << 12


class Partial:
    """A file of ``size`` bytes in the making; close it after use (a context manager).

    Args:
        digest: what the whole file must be.
        advance: told of bytes as they come. skip: told of those that were there already, and,
            negative, of dropped ones.
    """

    def __init__(
        self, folder: Path, digest: str, size: int, *, advance: Callable[[int], None], skip: Callable[[int], None]
    ) -> None:
        self.target = folder / digest.removeprefix("sha256:")
        self.path = self.target.with_name(self.target.name + ".partial")
        self._note = self.path.with_name(self.path.name + ".from")
        self._digest, self._size = digest, size
        self._advance, self._skip = advance, skip
        self.num_bytes = 0
        self._hasher = hashlib.sha256()
        try:
            self._descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), _MODE)
            self._take_up()
        except OSError as error:
            raise unwritable(f"{self.path} could not be written", error) from error

    def __enter__(self) -> "Partial":
        return self

    def __exit__(self, *exc_info: object) -> None:
        """Leave what came for the next one, nothing if nothing came."""
        os.close(self._descriptor)
        if not self.num_bytes:
            self.path.unlink(missing_ok=True)
            self._note.unlink(missing_ok=True)

    def write(self, chunk: bytes) -> None:
        """Append; raises IntegrityError before there is more than ``size``."""
        if self.num_bytes + len(chunk) > self._size:
            raise IntegrityError(f"more than the promised {self._size} bytes came")
        rest = memoryview(chunk)
        try:
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]
        except OSError as error:
            raise unwritable(f"{self.path} could not be written", error) from error
        self._hasher.update(chunk)
        self.num_bytes += len(chunk)
        self._advance(len(chunk))

    def rewind(self) -> None:
        """Drop what is there."""
        os.ftruncate(self._descriptor, 0)
        os.lseek(self._descriptor, 0, os.SEEK_SET)
        self._skip(-self.num_bytes)
        self._hasher, self.num_bytes = hashlib.sha256(), 0

    def finish(self) -> Path:
        """Give the file its name; raises IntegrityError, and drops what came, if it is not what was promised."""
        digest = "sha256:" + self._hasher.hexdigest()
        if self.num_bytes != self._size or digest != self._digest:
            got = f"expected {self._digest} ({self._size} bytes), got {digest} ({self.num_bytes} bytes)"
            self.rewind()
            raise IntegrityError("other bytes came than were promised", context=got)
        try:
            os.fsync(self._descriptor)
            os.replace(self.path, self.target)
            self._note.unlink(missing_ok=True)
            sync_folder(self.target.parent)
        except OSError as error:
            raise unwritable(f"{self.target} could not be written", error) from error
        return self.target

    def validator(self, url: str) -> str:
        """What the server of ``url`` said of the version that the bytes here are of, "" if they are from elsewhere."""
        try:
            with self._note.open("rb") as file:
                note = json.loads(file.read(_MAX_NOTE_BYTES))
            return str(note["validator"]) if note["url"] == sha256_bytes(url.encode()) else ""
        except (OSError, ValueError, KeyError, TypeError):
            return ""

    def remember(self, url: str, validator: str) -> None:
        if len(validator) < _MAX_NOTE_BYTES // 4 and self.validator(url) != validator:
            note = {"url": sha256_bytes(url.encode()), "validator": validator}
            self._note.write_text(json.dumps(note), encoding="utf-8")

    def _take_up(self) -> None:
        """Hash what an earlier download left, if it can be a beginning."""
        if os.fstat(self._descriptor).st_size > self._size:
            os.ftruncate(self._descriptor, 0)
        while chunk := os.read(self._descriptor, _CHUNK_BYTES):
            self._hasher.update(chunk)
            self.num_bytes += len(chunk)
        self._skip(self.num_bytes)


def keep(chunks: Iterable[bytes], folder: Path) -> tuple[Path, str]:
    """Write what comes into ``folder``, hashed on its way, where no digest was promised; (file
    named by its digest, digest)."""
    hasher = hashlib.sha256()
    try:
        descriptor, temporary = tempfile.mkstemp(dir=folder, suffix=UNNAMED)
        try:
            with os.fdopen(descriptor, "wb") as file:
                for chunk in chunks:
                    hasher.update(chunk)
                    file.write(chunk)
            path = folder / hasher.hexdigest()
            os.replace(temporary, path)
        finally:
            Path(temporary).unlink(missing_ok=True)
    except OSError as error:
        raise unwritable(f"{folder} could not be written", error) from error
    return path, f"sha256:{hasher.hexdigest()}"
