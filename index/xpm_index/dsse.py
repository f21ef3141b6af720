"""Signed statements: in-toto's Statement v1 in an envelope of DSSE v1, read strictly.

Owns the form of both and what is signed in them; knows neither keys nor what a statement is about. Nothing here is
verified: who reads an envelope has its payload verified before he believes a word of it.
"""

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from xpm_index import strict_json
from xpm_index.errors import AttestationError, ManifestError
from xpm_index.fields import Fields

PAYLOAD_TYPE = "application/vnd.in-toto+json"
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """``signatures`` are (key id, signature); a key id is a hint that nobody signed, "" if there is none."""

    payload: bytes
    signatures: tuple[tuple[str, bytes], ...] = ()

    def signed_bytes(self) -> bytes:
        """What a signature is over: DSSE's encoding of the payload and its type."""
        return b"DSSEv1 %d %s %d %s" % (len(PAYLOAD_TYPE), PAYLOAD_TYPE.encode(), len(self.payload), self.payload)

    def to_dict(self) -> dict[str, Any]:
        return {
            "payload": base64.b64encode(self.payload).decode(),
            "payloadType": PAYLOAD_TYPE,
            "signatures": [
                {"keyid": key_id, "sig": base64.b64encode(signature).decode()} for key_id, signature in self.signatures
            ],
        }

    def statement(self, *, what: str) -> Fields:
        """The payload as a statement; raises AttestationError if it is none."""
        fields = _fields(self.payload, what)
        if (kind := fields.text("_type")) != STATEMENT_TYPE:
            raise AttestationError(f"{what} is no in-toto statement v1", context=f"its _type is {kind[:80]!r}")
        return fields

    @classmethod
    def of_statement(cls, subjects: Sequence[Mapping[str, Any]], predicate_type: str, predicate: Any) -> "Envelope":
        """An envelope that nobody signed yet; the same statement always has the same bytes."""
        document = {
            "_type": STATEMENT_TYPE,
            "subject": list(subjects),
            "predicateType": predicate_type,
            "predicate": predicate,
        }
        return cls(payload=strict_json.canonical(document))

    @classmethod
    def parse(cls, data: bytes, *, what: str) -> "Envelope":
        """Raises AttestationError if ``data`` is no envelope of a statement."""
        return cls.from_fields(_fields(data, what), what=what)

    @classmethod
    def from_fields(cls, fields: Fields, *, what: str) -> "Envelope":
        """The same of an envelope within another document."""
        if (kind := fields.text("payloadType")) != PAYLOAD_TYPE:
            raise AttestationError(
                f"{what} holds no in-toto statement", context=f"{fields.at('payloadType')} is {kind[:80]!r}"
            )
        return cls(
            payload=_base64(fields, "payload"),
            signatures=tuple(
                (each.text("keyid", required=False), _base64(each, "sig")) for each in fields.objects("signatures")
            ),
        )


def line(document: Mapping[str, Any]) -> bytes:
    """One document of a file of JSON lines."""
    return json.dumps(document, separators=(",", ":"), sort_keys=True).encode() + b"\n"


def _fields(data: bytes, what: str) -> Fields:
    try:
        document = strict_json.loads(data, what=what)
    except ManifestError as error:
        raise AttestationError(error.message, context=error.context, hint=error.hint) from error
    return Fields(document, what, error=AttestationError)


def _base64(fields: Fields, key: str) -> bytes:
    try:
        return base64.b64decode(fields.text(key), validate=True)
    except (binascii.Error, ValueError) as error:
        raise AttestationError(f"{fields.at(key)} is no base64", context=str(error)) from error
