"""Publisher files: a namespace and the keys that may sign for it.

A file is signed by one of its own keys (``signed_by``). Whether that key may speak for the namespace is decided by a
client's trust (``xpm_index.trust``), not here.
"""

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from xpm_index import signed_json
from xpm_index.errors import IndexFormatError, TrustError, XpmError
from xpm_index.fields import Fields
from xpm_index.keys import PublicKey, SigningKey
from xpm_index.names import validate_name

_DOMAIN = b"xpm-publisher-v1\n"
_TIME = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}Z", re.ASCII)


def parse_time(text: str) -> str:
    """RFC 3339 in UTC without fractions; such texts order as the times do."""
    try:
        if not _TIME.fullmatch(text):
            raise ValueError(text)
        datetime.fromisoformat(text)
    except ValueError as error:
        raise IndexFormatError(f"{text[:40]!r} is not a time", hint="write e.g. 2026-01-31T12:00:00Z") from error
    return text


@dataclass(frozen=True, slots=True, kw_only=True)
class PublisherKey:
    """A key and when it may sign; ``valid_until`` and ``revoked_at`` are None if open."""

    public: PublicKey
    valid_from: str
    valid_until: str | None = None
    revoked_at: str | None = None

    def may_sign_at(self, time: str) -> bool:
        after = self.valid_from <= time
        return (
            after
            and (self.valid_until is None or time < self.valid_until)
            and (self.revoked_at is None or time < self.revoked_at)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Publisher:
    namespace: str
    keys: tuple[PublisherKey, ...]
    signed_by: str
    contact: str = ""
    homepage: str = ""

    def key(self, key_id: str, *, at: str) -> PublicKey:
        """The key ``key_id`` if it could sign at time ``at``; raises TrustError otherwise."""
        for key in self.keys:
            if key.public.key_id == key_id:
                if key.may_sign_at(at):
                    return key.public
                state = "revoked" if key.revoked_at else "not valid then"
                raise TrustError(f"key {key_id} of {self.namespace} is {state}", context=f"used at {at}")
        raise TrustError(
            f"key {key_id[:40]} is not a key of {self.namespace}",
            hint="somebody else signed, or the publisher file is out of date",
        )

    def to_bytes(self, signing_key: SigningKey) -> bytes:
        """The signed file; ``signing_key`` must be one of ``keys`` and is recorded as ``signed_by``."""
        document = {
            "contact": self.contact,
            "homepage": self.homepage,
            "keys": [_key_to_dict(key) for key in self.keys],
            "namespace": self.namespace,
            "signed_by": signing_key.key_id,
        }
        return signed_json.sign(document, signing_key, domain=_DOMAIN)

    @classmethod
    def _from_fields(cls, fields: Fields) -> "Publisher":
        return cls(
            namespace=fields.parsed("namespace", validate_name),
            keys=tuple(_parse_key(each) for each in fields.objects("keys")),
            signed_by=fields.text("signed_by"),
            contact=fields.text("contact", required=False),
            homepage=fields.text("homepage", required=False),
        )

    @classmethod
    def parse(cls, data: bytes, *, what: str) -> "Publisher":
        """Parse and check the file's own signature; raises IndexFormatError or SignatureError."""
        document = signed_json.parse(data, what=what)
        try:
            publisher = cls._from_fields(Fields(document, error=IndexFormatError))
        except XpmError as error:
            raise IndexFormatError(f"{what}: {error.message}", context=error.context, hint=error.hint) from error
        if len({key.public.key_id for key in publisher.keys}) != len(publisher.keys):
            raise IndexFormatError(f"{what} lists a key twice")
        signers = [key for key in publisher.keys if key.public.key_id == publisher.signed_by]
        if not signers:
            raise IndexFormatError(f"{what} is signed by a key it does not list")
        signed_json.verify(document, signers[0].public, domain=_DOMAIN, what=what)
        return publisher


def _key_to_dict(key: PublisherKey) -> dict[str, Any]:
    document = {"key_id": key.public.key_id, "public": key.public.text, "valid_from": key.valid_from}
    optional = {"valid_until": key.valid_until, "revoked_at": key.revoked_at}
    return document | {name: value for name, value in optional.items() if value is not None}


def _parse_key(fields: Fields) -> PublisherKey:
    public = fields.parsed("public", PublicKey.parse)
    if fields.text("key_id") != public.key_id:
        raise IndexFormatError(f"{fields.at('key_id')} does not belong to the key")
    return PublisherKey(
        public=public,
        valid_from=fields.parsed("valid_from", parse_time),
        valid_until=fields.parsed("valid_until", parse_time) if fields.raw.get("valid_until") is not None else None,
        revoked_at=fields.parsed("revoked_at", parse_time) if fields.raw.get("revoked_at") is not None else None,
    )
