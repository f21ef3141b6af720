"""Handing in an archive over HTTP: what a publisher's key signs, once for all requests of an
upload, and how it is sent.

The digest in it says what the bytes will be: nobody else can send others in its name, and whoever
repeats it sends the same.
Protocol: docs/reference/formats/upload.md.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from xpm_index.digests import parse_digest
from xpm_index.errors import SignatureError, XpmError
from xpm_index.keys import PublicKey, SigningKey
from xpm_index.names import validate_name
from xpm_index.publishers import parse_time

CHUNK_BYTES = 4 << 20
MAX_CHUNK_BYTES = 8 << 20
OFFSET, SIGNATURE = "upload-offset", "xpm-signature"
KINDS = ("expert", "base")
MAX_ARCHIVES = 8  # of one version
_DOMAIN = "xpm-upload-v1"
_VALID_FOR = timedelta(hours=24)
_AHEAD = timedelta(minutes=5)
_KEY_ID = re.compile(r"[0-9a-f]{16}")


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadClaim:
    """Who hands in which bytes to which index: ``index_id`` is that of its index.json, ``at`` when it was signed.

    ``beside`` are the digests of the version's other archives, sorted: nothing is staged until all of them are there.
    """

    index_id: str
    digest: str
    size: int
    kind: str
    publisher: str
    key_id: str
    at: str
    beside: tuple[str, ...] = ()

    def signed_bytes(self) -> bytes:
        who = (self.publisher, self.key_id, self.at)
        fields = (self.index_id, self.digest, str(self.size), self.kind, *who, *self.beside)
        return "\n".join((_DOMAIN, *fields)).encode()

    def headers(self, key: SigningKey) -> dict[str, str]:
        """What is sent with every request of the upload."""
        return {
            "xpm-size": str(self.size),
            "xpm-kind": self.kind,
            "xpm-publisher": self.publisher,
            "xpm-key-id": self.key_id,
            "xpm-time": self.at,
            **({"xpm-beside": ",".join(self.beside)} if self.beside else {}),
            SIGNATURE: key.sign(self.signed_bytes()),
        }

    @classmethod
    def parse(cls, headers: Mapping[str, str], *, index_id: str, digest: str) -> "UploadClaim":
        """Raises SignatureError if a header is missing or malformed; nothing is verified."""
        size, kind, key_id = (headers.get(f"xpm-{name}", "") for name in ("size", "kind", "key-id"))
        try:
            if not (size.isascii() and size.isdigit() and 0 < len(size) < 16 and int(size) > 0):
                raise SignatureError("xpm-size is no number of bytes")
            if kind not in KINDS or not _KEY_ID.fullmatch(key_id):
                raise SignatureError("xpm-kind or xpm-key-id is malformed")
            return cls(
                index_id=index_id,
                digest=parse_digest(digest),
                size=int(size),
                kind=kind,
                publisher=validate_name(headers.get("xpm-publisher", ""), what="publisher"),
                key_id=key_id,
                at=parse_time(headers.get("xpm-time", "")),
                beside=_beside(headers.get("xpm-beside", ""), digest),
            )
        except XpmError as error:
            raise SignatureError(f"the upload is not signed as it should be: {error.message}") from error

    def verify(self, key: PublicKey, signature: str, *, now: datetime) -> None:
        """Raise SignatureError unless the key signed this, within a day before ``now``."""
        signed = datetime.fromisoformat(self.at)
        if not now - _VALID_FOR <= signed <= now + _AHEAD:
            raise SignatureError(
                "the upload was signed at another time", context=self.at, hint="look at the clock; try again"
            )
        key.verify(self.signed_bytes(), signature, what="the upload")


def _beside(text: str, digest: str) -> tuple[str, ...]:
    digests = tuple(parse_digest(each) for each in text.split(",")) if text else ()
    if digests != tuple(sorted(set(digests) - {digest})) or len(digests) >= MAX_ARCHIVES:
        raise SignatureError(f"xpm-beside is not a sorted list of fewer than {MAX_ARCHIVES} other archives")
    return digests
