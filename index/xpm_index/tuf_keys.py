"""Our Ed25519 keys in the shapes that python-tuf wants, and the keys that a maintainer has at hand."""

from collections.abc import Iterable

from securesystemslib.exceptions import UnverifiedSignatureError
from securesystemslib.signer import KEY_FOR_TYPE_AND_SCHEME, Key, SecretsHandler, Signature, Signer, SSlibKey

from xpm_index.keys import PublicKey, SigningKey, verify_bytes

_ED25519 = "ed25519"


class TufKey(SSlibKey):
    """An Ed25519 key in metadata, verified as all of ours are: OpenSSL, which python-tuf asks
    otherwise, takes any point."""

    def verify_signature(self, signature: Signature, data: bytes) -> None:
        """Raise UnverifiedSignatureError unless ``signature`` is this key's over ``data``."""
        try:
            verify_bytes(bytes.fromhex(self.keyval["public"]), data, bytes.fromhex(signature.signature))
        except Exception as error:  # a key in metadata can be anything
            raise UnverifiedSignatureError(f"{self.keyid} did not sign") from error


KEY_FOR_TYPE_AND_SCHEME[_ED25519, _ED25519] = TufKey  # the key class that securesystemslib makes when it reads metadata


def to_tuf_key(key: PublicKey) -> SSlibKey:
    """The public key under our own key id, so that a key has one id everywhere."""
    return TufKey(key.key_id, _ED25519, _ED25519, {"public": key.text.removeprefix(f"{_ED25519}:")})


class KeySigner(Signer):
    """Signs metadata with one of our private keys."""

    def __init__(self, key: SigningKey) -> None:
        self._key = key

    @property
    def public_key(self) -> Key:
        return to_tuf_key(self._key.public)

    def sign(self, payload: bytes) -> Signature:
        return Signature(self._key.key_id, self._key.sign(payload))

    @classmethod
    def from_priv_key_uri(
        cls, priv_key_uri: str, public_key: Key, secrets_handler: SecretsHandler | None = None
    ) -> Signer:
        raise NotImplementedError("our keys are files, not URIs")


class Keyring:
    """The private keys at hand, by key id."""

    def __init__(self, keys: Iterable[SigningKey] = ()) -> None:
        self._keys = {key.key_id: key for key in keys}

    def signers(self, key_ids: Iterable[str]) -> list[KeySigner]:
        """A signer for each of ``key_ids`` that is at hand, in their order."""
        return [KeySigner(self._keys[each]) for each in key_ids if each in self._keys]

    def has(self, key_ids: Iterable[str], threshold: int) -> bool:
        return len(self.signers(key_ids)) >= threshold
