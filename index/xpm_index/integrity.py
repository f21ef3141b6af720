"""The package's own signature, end to end from publisher to user (scheme ``xpm-ed25519-1``).

Signed bytes: the line ``xpm-expert-v1``, then ``path:sha256hex`` lines sorted by path. The manifest's own line is the
SHA-256 of its canonical JSON without ``integrity.files`` and ``integrity.signature``, so publisher, key and date are
signed with it. Older schemes hashed a manifest that then changed; they can't verify and count as unsigned.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from xpm_index import strict_json
from xpm_index.archive import MANIFEST, check_names
from xpm_index.digests import is_digest, sha256_bytes
from xpm_index.errors import ArchiveError, IntegrityError, SignatureError
from xpm_index.fields import Fields
from xpm_index.keys import PublicKey, SigningKey
from xpm_index.manifest import Manifest

SCHEME = "xpm-ed25519-1"
_DOMAIN = b"xpm-expert-v1\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class PackageSignature:
    """A package's claim: who signed what. Nothing is verified yet."""

    publisher: str
    key_id: str
    created_at: str
    files: Mapping[str, str]
    signature: str


def sign_manifest(
    manifest: Manifest, digests: Mapping[str, str], *, key: SigningKey, publisher: str, created_at: str
) -> Manifest:
    """Return the manifest with its ``integrity`` filled in.

    Args:
        digests: file name → digest of every file of the package but the manifest.
        created_at: RFC 3339, UTC.
    """
    files = {name: digest for name, digest in sorted(digests.items()) if name != MANIFEST}
    claim = {"scheme": SCHEME, "publisher": publisher, "key_id": key.key_id, "created_at": created_at}
    unsigned = manifest.with_values(integrity=None).with_values(integrity={**claim, "files": files})
    signature = key.sign(_signed_bytes(unsigned, files))
    return unsigned.with_values(integrity={**claim, "files": files, "signature": signature})


def read_signature(manifest: Manifest) -> PackageSignature:
    """The manifest's signature block; raises SignatureError that says why if the package counts as unsigned."""
    if manifest.integrity is None:
        raise SignatureError(f"{manifest.name} {manifest.version} is not signed", hint="sign it with `xpm sign`")
    fields = Fields(manifest.integrity, "integrity", error=SignatureError)
    scheme = fields.text("scheme", required=False)
    if scheme != SCHEME:
        raise SignatureError(
            f"{manifest.name} {manifest.version} counts as unsigned",
            context=f"the signature scheme {scheme[:40]!r} is unknown"
            if scheme
            else "the older packages' signatures can't be verified: they cover a manifest that changed afterwards",
            hint=f"its publisher can sign it anew ({SCHEME})",
        )
    known = {"scheme", "publisher", "key_id", "created_at", "files", "signature"}
    if extra := set(fields.raw) - known:
        raise SignatureError(f"integrity has unknown keys: {', '.join(sorted(extra))[:80]}")
    files = fields.object("files", required=True)
    try:
        check_names([MANIFEST, *files.raw])  # a name with a line break in it would sign two lines
    except ArchiveError as error:
        raise SignatureError(f"integrity.files: {error.message}", context=error.context) from error
    for name, digest in files.raw.items():
        if not is_digest(digest):
            raise SignatureError(f"integrity.files[{name[:80]!r}] is not a digest")
    return PackageSignature(
        publisher=fields.text("publisher"),
        key_id=fields.text("key_id"),
        created_at=fields.text("created_at"),
        files=files.raw,
        signature=fields.text("signature"),
    )


def verify_signature(manifest: Manifest, key: PublicKey) -> PackageSignature:
    """Verify the manifest's signature with ``key``; raises SignatureError."""
    claim = read_signature(manifest)
    if claim.key_id != key.key_id:
        raise SignatureError(
            f"{manifest.name} {manifest.version} was signed with another key",
            context=f"expected {key.key_id}, got {claim.key_id[:40]}",
        )
    key.verify(_signed_bytes(manifest, claim.files), claim.signature, what=f"{manifest.name} {manifest.version}")
    return claim


def verify_files(manifest: Manifest, manifest_bytes: bytes, digests: Mapping[str, str]) -> None:
    """Check that a package's files are exactly the signed ones and its manifest is in its one serialisation.

    Args:
        manifest_bytes: manifest.json as packed.
        digests: file name → digest of every other file found.
    Raises:
        IntegrityError: a file was altered, is missing, or is not listed.
    """
    wanted = read_signature(manifest).files
    for name in sorted(wanted.keys() | digests.keys()):
        if wanted.get(name) != digests.get(name):
            state = "is missing" if name not in digests else "is not listed" if name not in wanted else "was altered"
            raise IntegrityError(
                f"{name} of {manifest.name} {manifest.version} {state}",
                context=f"expected {wanted.get(name)}, got {digests.get(name)}",
                hint="fetch the package again; if it recurs, tell the publisher",
            )
    if manifest.to_bytes() != manifest_bytes:
        raise IntegrityError(f"the manifest of {manifest.name} {manifest.version} is not in its one serialisation")


def _signed_bytes(manifest: Manifest, files: Mapping[str, str]) -> bytes:
    own: dict[str, Any] = {
        key: value for key, value in (manifest.integrity or {}).items() if key not in ("files", "signature")
    }
    canonical = strict_json.canonical({**manifest.raw, "integrity": own})
    lines = {**files, MANIFEST: sha256_bytes(canonical)}
    return (
        _DOMAIN
        + "\n".join(f"{name}:{digest.removeprefix('sha256:')}" for name, digest in sorted(lines.items())).encode()
    )
