"""The only place where an archive becomes trusted. The store takes nothing but what is made here.

Verification, in this order, docstring and code alike:
1. the file has the size and digest of the index entry, which the index's metadata vouches for;
2. it is readable as a package, whole, and within the limits;
3. its own signature is by the key that the entry names;
4. its files are exactly the signed ones and its manifest is in its one serialisation;
5. it is the package that the entry says: kind, name, version, base and variant, and what the resolver believed of it.
"""

import hashlib
from pathlib import Path

from xpm_index.archive import MANIFEST, read_archive
from xpm_index.digests import sha256_file
from xpm_index.entries import ArchiveRef, Entry
from xpm_index.errors import ArchiveError, IntegrityError, TrustError
from xpm_index.integrity import PackageSignature, verify_files, verify_signature
from xpm_index.keys import PublicKey
from xpm_index.manifest import Manifest

_SEAL = object()


class Verified:
    """An archive file that passed every step. Only this module can make one, and it can't be copied with other values."""

    __slots__ = ("digest", "manifest", "path", "signature")

    def __init__(
        self, path: Path, digest: str, manifest: Manifest, signature: PackageSignature, *, seal: object
    ) -> None:
        if seal is not _SEAL:
            raise TypeError("only xpm.trust makes Verified values")
        self.path = path
        self.digest = digest
        self.manifest = manifest
        self.signature = signature


def verify_archive(path: Path, ref: ArchiveRef, entry: Entry, key: PublicKey) -> Verified:
    """Verify a fetched archive against its entry; see the module's steps for what is raised when."""
    size, digest = path.stat().st_size, sha256_file(path)  # 1
    if size != ref.size or digest != ref.digest:
        raise IntegrityError(
            f"the archive of {entry.name} {entry.version} was altered",
            context=f"expected {ref.digest} ({ref.size} bytes), got {digest} ({size} bytes)",
            hint="run the command again; if it recurs, tell the publisher",
        )
    manifest, signature = verify_package(path, key)  # 2, 3, 4
    base = manifest.base
    claimed = (base.digest, base.variant) if base else (manifest.bases[0].digest, "")  # 5
    if (manifest.kind, manifest.name, manifest.version) != (entry.kind, entry.name, entry.version):
        raise TrustError(
            f"the archive is {manifest.name} {manifest.version}, the index says {entry.name} {entry.version}"
        )
    if claimed != (ref.base_digest, ref.variant) or signature.publisher != entry.publisher:
        raise TrustError(
            f"the archive of {entry.name} {entry.version} is for another base or by another publisher than the index says"
        )
    if (differing := _differing(manifest, entry)) is not None:
        raise TrustError(
            f"the index says otherwise than the publisher of {entry.name} {entry.version} signed",
            context=f"{differing} differs",
            hint="tell the index's maintainer: the entry was altered, or made of another package",
        )
    return Verified(path, digest, manifest, signature, seal=_SEAL)


def verify_pinned(path: Path, ref: ArchiveRef, key: PublicKey) -> Verified:
    """Verify an archive that no index vouches for by a pinned key: steps 1 to 4, and that it is ``ref``'s base or for it."""
    size, digest = path.stat().st_size, sha256_file(path)
    if size != ref.size or digest != ref.digest:
        raise IntegrityError(f"{path.name} was altered", context=f"expected {ref.digest}, got {digest}")
    manifest, signature = verify_package(path, key)
    digest_of_base = manifest.base.digest if manifest.base else manifest.bases[0].digest
    if digest_of_base != ref.base_digest:
        raise TrustError(f"{manifest.name} {manifest.version} is not the base {ref.base} and no expert for it")
    return Verified(path, digest, manifest, signature, seal=_SEAL)


def _differing(manifest: Manifest, entry: Entry) -> str | None:
    """The first property on which the resolver went that the signed manifest does not bear out, or None."""
    signed_and_said = {
        "requires": (manifest.requires, entry.requires),
        "incompatible_with": (manifest.incompatible_with, entry.incompatible_with),
        "optional": (manifest.optional, entry.optional),
        "load_order": (manifest.load_order, entry.load_order),
        "tier": (manifest.tier, entry.tier),
        "max_chain": (manifest.max_chain, entry.max_chain),
    }
    return next((name for name, (signed, said) in signed_and_said.items() if signed != said), None)


def verify_package(path: Path, key: PublicKey) -> tuple[Manifest, PackageSignature]:
    """Steps 2 to 4 alone: what can be said of a package file without an index."""
    digests: dict[str, str] = {}
    data = b""
    for name, chunks in read_archive(path):
        hasher = hashlib.sha256()
        for chunk in chunks:
            hasher.update(chunk)
            if name == MANIFEST:
                data += chunk
        digests[name] = f"sha256:{hasher.hexdigest()}"
    if digests.pop(MANIFEST, None) is None:
        raise ArchiveError(f"{path.name} has no {MANIFEST}")
    manifest = Manifest.parse(data)
    signature = verify_signature(manifest, key)
    verify_files(manifest, data, digests)
    return manifest, signature


def verify_folder(folder: Path, key: PublicKey) -> Manifest:
    """Steps 3 and 4 for an unpacked package: that nothing in the store was altered since."""
    data = (folder / MANIFEST).read_bytes() if (folder / MANIFEST).is_file() else b""
    manifest = Manifest.parse(data)
    verify_signature(manifest, key)
    files = [path for path in folder.rglob("*") if path.is_file() and path != folder / MANIFEST]
    verify_files(manifest, data, {path.relative_to(folder).as_posix(): sha256_file(path) for path in files})
    return manifest
