"""Ed25519 keys and their files. The only module that imports PyNaCl."""

import base64
import hashlib
import json
import os
import re
from dataclasses import dataclass
from pathlib import Path

import nacl.bindings
import nacl.exceptions
import nacl.signing

from xpm_index import strict_json
from xpm_index.errors import KeyFileError, SignatureError, XpmError
from xpm_index.fields import Fields

_FORMAT = "xpm-key-1"
_KEY_BYTES = 32
_PUBLIC = re.compile(r"ed25519:[0-9a-f]{64}")
_SIGNATURE = re.compile(r"[0-9a-f]{128}")


def is_point(key: bytes) -> bool:
    """Whether 32 bytes are a public key that a private one can have: a point on the curve, canonical,
    of the large prime order.

    Under a point of small order, forged signatures verify for many messages.
    """
    return len(key) == _KEY_BYTES and bool(nacl.bindings.crypto_core_ed25519_is_valid_point(key))


def verify_bytes(key: bytes, message: bytes, signature: bytes) -> None:
    """Raise ValueError or CryptoError unless ``signature`` is the key's over ``message``."""
    if not is_point(key):
        raise ValueError("the key is no point that a private key can have")
    nacl.signing.VerifyKey(key).verify(message, signature)


@dataclass(frozen=True, slots=True)
class PublicKey:
    """``text`` is ``ed25519:<64 lower-case hex>``."""

    text: str

    @classmethod
    def parse(cls, text: str) -> "PublicKey":
        if not _PUBLIC.fullmatch(text):
            raise SignatureError("a public key is not of the form ed25519:<64 hex>", context=f"got {text[:80]!r}")
        if not is_point(bytes.fromhex(text[8:])):
            raise SignatureError(
                "a public key is no point that a private key can have",
                context=f"got {text}",
                hint="it was mistyped, or chosen so that signatures by nobody verify: ask for it again",
            )
        return cls(text)

    @property
    def key_id(self) -> str:
        """The first 16 hex digits of the SHA-256 of the key's 32 bytes."""
        return hashlib.sha256(bytes.fromhex(self.text[8:])).hexdigest()[:16]

    def verify(self, message: bytes, signature: str, *, what: str) -> None:
        """Raise SignatureError unless ``signature`` (128 lower-case hex) is this key's over ``message``."""
        if not _SIGNATURE.fullmatch(signature):
            raise SignatureError(f"the signature of {what} is malformed", context="expected 128 lower-case hex digits")
        try:
            verify_bytes(bytes.fromhex(self.text[8:]), message, bytes.fromhex(signature))
        except (ValueError, nacl.exceptions.CryptoError) as error:
            raise SignatureError(
                f"the signature of {what} does not verify",
                context=f"key {self.key_id}",
                hint="the content was altered after it was signed, or it was signed with another key",
            ) from error


class SigningKey:
    """A private key; never printed, never part of an error."""

    def __init__(self, key: nacl.signing.SigningKey) -> None:
        self._key = key
        self.public = PublicKey("ed25519:" + key.verify_key.encode().hex())

    @classmethod
    def generate(cls) -> "SigningKey":
        return cls(nacl.signing.SigningKey.generate())

    @property
    def key_id(self) -> str:
        return self.public.key_id

    def sign(self, message: bytes) -> str:
        """128 lower-case hex digits."""
        return self._key.sign(message).signature.hex()

    def save(self, path: Path) -> None:
        """Write the key file with mode 0600; raises KeyFileError if there is one already."""
        document = {
            "format": _FORMAT,
            "key_id": self.key_id,
            "public": self.public.text,
            "private": base64.b64encode(bytes(self._key)).decode(),
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError as error:
            raise KeyFileError(
                f"{path} exists already", hint="a key is never overwritten: choose another name"
            ) from error
        with os.fdopen(descriptor, "w") as file:
            file.write(json.dumps(document, indent=2) + "\n")

    @classmethod
    def load(cls, path: Path) -> "SigningKey":
        """Read a key file; raises KeyFileError if it is absent, malformed or contradicts itself."""
        try:
            raw = strict_json.loads(path.read_bytes(), what=path.name)
            fields = Fields(raw, error=KeyFileError)
            if fields.text("format") != _FORMAT:
                raise KeyFileError(f"{path} is not an xpm key", context=f"format {fields.text('format')[:40]!r}")
            key = cls(nacl.signing.SigningKey(base64.b64decode(fields.text("private"), validate=True)))
        except OSError as error:
            raise KeyFileError(f"no key at {path}", hint="make one with `xpm key new NAME`") from error
        except (ValueError, nacl.exceptions.CryptoError) as error:
            raise KeyFileError(f"{path} does not hold a valid private key") from error
        except XpmError as error:
            raise KeyFileError(f"{path}: {error.message}", context=error.context) from error
        if fields.text("public") != key.public.text:
            raise KeyFileError(f"{path} is damaged: its private and public keys do not belong together")
        return key
