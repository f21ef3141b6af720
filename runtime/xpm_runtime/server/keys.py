"""Who may use the server: keys of 256 random bits, of which only hashes are kept, with scopes and
quotas, in one JSON file.

A hash without salt is enough where nobody chose the secret. The file is read again when it changes, so that a key
works, and stops working, at once.
"""

import hashlib
import hmac
import json
import os
import re
import secrets
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from xpm_runtime.errors import RequestError

SCOPES = ("infer", "admin", "metrics")
MAX_PRIORITY = 9
_PREFIX = "xpm-"
_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9._-]{0,63}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """``sha256`` is that of the secret, in hexadecimal. ``scopes``: "infer" asks for answers, "admin" also loads
    and unloads experts, "metrics" reads figures. A quota of None is no bound. What asks for more than
    ``max_priority`` gets that."""

    name: str
    sha256: str
    scopes: tuple[str, ...] = ("infer",)
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    max_priority: int = MAX_PRIORITY
    created_at: str = ""

    @property
    def shown(self) -> dict[str, Any]:
        """What may be seen of it."""
        return {name: value for name, value in asdict(self).items() if name != "sha256"}


class KeyFile:
    """The keys in a file, which need not be there."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stamp: tuple[int, int] | None = None
        self._keys: tuple[Key, ...] = ()

    def active(self) -> tuple[Key, ...]:
        """Raises RequestError if the file is there and can't be read: nobody is let in then."""
        stamp = self._stamp_now()
        if stamp != self._stamp:
            self._keys = self._read() if stamp else ()
            self._stamp = stamp
        return self._keys

    def find(self, secret: str) -> Key | None:
        """The key that a secret opens. Every key is compared, each in constant time."""
        digest = hashlib.sha256(secret.encode(errors="replace")).hexdigest()
        found = None
        for each in self.active():
            if hmac.compare_digest(each.sha256, digest):
                found = each
        return found

    def priority(self, tenant: str, wanted: int) -> int:
        """What a tenant gets who wants a priority: no more than its key may have."""
        return min([wanted, *(each.max_priority for each in self.active() if each.name == tenant)])

    def add(
        self,
        name: str,
        *,
        scopes: Sequence[str] = ("infer",),
        requests_per_minute: int | None = None,
        tokens_per_minute: int | None = None,
        max_priority: int = MAX_PRIORITY,
    ) -> tuple[str, Key]:
        """(the secret of a new key, the key). Raises RequestError if the name is taken or is none."""
        if not _NAME.fullmatch(name):
            raise RequestError(
                "a key's name is letters, digits, dots and dashes, at most 64", context=f"got {name[:80]!r}"
            )
        if any(each.name == name for each in self.active()):
            raise RequestError(f"there is a key named {name}", hint=f"`xpm serve keys revoke {name}` takes it back")
        secret = _PREFIX + secrets.token_urlsafe(32)
        key = Key(
            name=name,
            sha256=hashlib.sha256(secret.encode()).hexdigest(),
            scopes=tuple(each for each in SCOPES if each in scopes),
            requests_per_minute=requests_per_minute,
            tokens_per_minute=tokens_per_minute,
            max_priority=max_priority,
            created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        )
        self._write([*self.active(), key])
        return secret, key

    def revoke(self, name: str) -> None:
        """Raises RequestError if there is no such key."""
        kept = [each for each in self.active() if each.name != name]
        if len(kept) == len(self.active()):
            raise RequestError(f"there is no key named {name[:80]}", hint="`xpm serve keys list` lists them")
        self._write(kept)

    def _stamp_now(self) -> tuple[int, int] | None:
        try:
            found = self._path.stat()
        except FileNotFoundError:
            return None
        return found.st_mtime_ns, found.st_ino

    def _read(self) -> tuple[Key, ...]:
        try:
            document = json.loads(self._path.read_text(encoding="utf-8"))
            return tuple(Key(**{**each, "scopes": tuple(each["scopes"])}) for each in document["keys"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise RequestError(f"the keys in {self._path} can't be read", context=str(error)[:200]) from error

    def _write(self, keys: Sequence[Key]) -> None:
        """Replace the file at once; only its owner may read it."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        document = json.dumps({"keys": [asdict(each) for each in keys]}, indent=2)
        handle, name = tempfile.mkstemp(dir=self._path.parent, prefix=f".{self._path.name}-")
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(document + "\n")
        os.replace(name, self._path)
