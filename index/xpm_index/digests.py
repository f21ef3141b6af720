"""SHA-256 digests, written ``sha256:<64 lower-case hex>``."""

import hashlib
import re
from pathlib import Path

from xpm_index.errors import IntegrityError

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


def sha256_bytes(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def sha256_file(path: Path) -> str:
    with path.open("rb") as file:
        return "sha256:" + hashlib.file_digest(file, "sha256").hexdigest()


def is_digest(text: object) -> bool:
    return isinstance(text, str) and _DIGEST.fullmatch(text) is not None


def parse_digest(text: object, *, what: str = "digest") -> str:
    """Return ``text`` if it is a well-formed digest, else raise IntegrityError."""
    if not isinstance(text, str) or not _DIGEST.fullmatch(text):
        raise IntegrityError(f"{what} is not of the form sha256:<64 hex>", context=f"got {str(text)[:80]!r}")
    return text
