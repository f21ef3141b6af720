"""The only place where an archive becomes trusted. The store takes nothing but what is made here.

An archive is read once: hashed, unpacked into a folder that nobody looks at yet, and its files hashed on their way
there. What is judged then are those bytes, in this order, docstring and code alike:
1. the file has the size and digest of the index entry, which the index's metadata vouches for;
2. it is readable as a package, whole, and within the limits;
3. its own signature is by the key that the entry names;
4. its files are exactly the signed ones and its manifest is in its one serialisation; where it says what it was
   built of, the same key signed that, of these files;
5. it is the package that the entry says: kind, name, version, base and variant, and what the resolver believed of it.
"""

import hashlib
import tempfile
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from xpm_index.archive import BASE_LIMITS, EXPERT_LIMITS, MANIFEST, read_archive
from xpm_index.digests import sha256_bytes, sha256_file
from xpm_index.entries import ArchiveRef, Entry
from xpm_index.errors import ArchiveError, IntegrityError, TrustError
from xpm_index.integrity import PackageSignature, verify_files, verify_signature
from xpm_index.keys import PublicKey
from xpm_index.manifest import Manifest
from xpm_index.packed_stream import Limits
from xpm_index.provenance import PROVENANCE, Provenance, verify_provenance
from xpm_index.strict_json import MAX_BYTES

_SEAL = object()
_DOCUMENTS = (MANIFEST, PROVENANCE)


class Verified:
    """An unpacked package that passed every step. Only this module can make one, and it can't be
    copied with other values.

    ``folder`` is where it was unpacked, ``digest`` that of its archive.
    """

    __slots__ = ("digest", "folder", "manifest")

    def __init__(self, folder: Path, digest: str, manifest: Manifest, *, seal: object) -> None:
        if seal is not _SEAL:
            raise TypeError("only xpm.trust makes Verified values")
        self.folder = folder
        self.digest = digest
        self.manifest = manifest


def verify_archive(path: Path, ref: ArchiveRef, entry: Entry, key: PublicKey, *, scratch: Path) -> Verified:
    """Unpack an archive into a new folder in ``scratch`` and verify it against its entry.

    Whoever made ``scratch`` removes it: of what is refused the folder holds rubbish. See the module's steps for what is
    raised when. OSError: it can't be written.
    """
    manifest, signature, folder = _unpacked(path, ref, key, scratch, what=f"{entry.name} {entry.version}")  # 1, 2, 3, 4
    base = manifest.base
    claimed = (base.digest, base.variant) if base else (manifest.bases[0].digest, "")  # 5
    if (manifest.kind, manifest.name, manifest.version) != (entry.kind, entry.name, entry.version):
        raise TrustError(
            f"the archive is {manifest.name} {manifest.version}, the index says {entry.name} {entry.version}"
        )
    if claimed != (ref.base_digest, ref.variant) or signature.publisher != entry.publisher:
        raise TrustError(
            f"the archive of {entry.name} {entry.version} is for another base or by another publisher than the index "
            "says"
        )
    if (differing := _differing(manifest, entry)) is not None:
        raise TrustError(
            f"the index says otherwise than the publisher of {entry.name} {entry.version} signed",
            context=f"{differing} differs",
            hint="tell the index's maintainer: the entry was altered, or made of another package",
        )
    return Verified(folder, ref.digest, manifest, seal=_SEAL)


def verify_pinned(path: Path, ref: ArchiveRef, key: PublicKey, *, scratch: Path) -> Verified:
    """The same for an archive that no index vouches for, by a pinned key: steps 1 to 4, and that it is
    ``ref``'s base or for it."""
    manifest, _, folder = _unpacked(path, ref, key, scratch, what=path.name)
    digest_of_base = manifest.base.digest if manifest.base else manifest.bases[0].digest
    if digest_of_base != ref.base_digest:
        raise TrustError(f"{manifest.name} {manifest.version} is not the base {ref.base} and no expert for it")
    return Verified(folder, ref.digest, manifest, seal=_SEAL)


def verify_made(folder: Path, ref: ArchiveRef, *, name: str) -> Verified:
    """What was made here, in a folder that goes into the store: nobody signed it, so its bytes must be the locked ones.

    Raises:
        IntegrityError: they are others. TrustError: it is another base, or an expert for another one.
    """
    if (digest := made_digest(folder)) != ref.digest:
        again = f"`xpm base add` {name} again" if ref.variant else f"`xpm update {name}` makes it anew"
        raise IntegrityError(
            f"{name} came out otherwise than it is locked",
            context=f"expected {ref.digest}, got {digest}",
            hint=f"another version of xpm, or a processor that rounds otherwise, made it: {again}",
        )
    manifest = Manifest.parse((folder / MANIFEST).read_bytes())
    base = manifest.base
    claimed = (base.digest, base.variant) if base else (manifest.bases[0].digest, "")
    if manifest.name != name or claimed != (ref.base_digest, ref.variant):
        what = "the base that is locked" if base else "for the base that is locked"
        raise TrustError(f"{manifest.name} is not {what}", context=f"expected {ref.base_digest}")
    return Verified(folder, ref.digest, manifest, seal=_SEAL)


def made_digest(folder: Path) -> str:
    """What identifies a folder that was made here: the digest of its files' names and digests."""
    files = {path.relative_to(folder).as_posix(): sha256_file(path) for path in folder.rglob("*") if path.is_file()}
    return sha256_bytes("".join(f"{name}\0{files[name]}\n" for name in sorted(files)).encode())


def _unpacked(
    path: Path, ref: ArchiveRef, key: PublicKey, scratch: Path, *, what: str
) -> tuple[Manifest, PackageSignature, Path]:
    """Steps 1 to 4, in one pass over the file; (manifest, signature, the folder)."""
    folder = Path(tempfile.mkdtemp(dir=scratch))
    try:
        found = _read(path, folder, BASE_LIMITS if ref.variant else EXPERT_LIMITS)  # 2
    except ArchiveError:
        _require_promised(path.stat().st_size, sha256_file(path), ref, what)  # 1 comes first, of what can't be read too
        raise
    _require_promised(path.stat().st_size, found.digest, ref, what)  # 1
    verified = found.verified(path, key)  # 3, 4
    return verified.manifest, verified.signature, folder


def _require_promised(size: int, digest: str, ref: ArchiveRef, what: str) -> None:
    if size != ref.size or digest != ref.digest:
        raise IntegrityError(
            f"the archive of {what} was altered",
            context=f"expected {ref.digest} ({ref.size} bytes), got {digest} ({size} bytes)",
            hint="run the command again; if it recurs, tell the publisher",
        )


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


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifiedFile:
    """A package file that verifies. ``digest`` is the file's; ``provenance`` is None where it does not
    say what it was built of."""

    manifest: Manifest
    signature: PackageSignature
    digest: str
    provenance: Provenance | None


def verify_package(path: Path, key: PublicKey) -> VerifiedFile:
    """Steps 2 to 4 alone, what can be said of a package file without an index."""
    return _read(path, None).verified(path, key)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Contents:
    """What one pass over an archive found: its digest, the bytes of the documents, the digests of all
    members but the manifest."""

    digest: str
    documents: dict[str, bytes]
    digests: dict[str, str]

    def verified(self, path: Path, key: PublicKey) -> VerifiedFile:
        """Steps 3 and 4."""
        if MANIFEST not in self.documents:
            raise ArchiveError(f"{path.name} has no {MANIFEST}")
        manifest, signature, provenance = _verified(self.documents, self.digests, key)
        return VerifiedFile(manifest=manifest, signature=signature, digest=self.digest, provenance=provenance)


def _verified(
    documents: Mapping[str, bytes], digests: Mapping[str, str], key: PublicKey
) -> tuple[Manifest, PackageSignature, Provenance | None]:
    """Steps 3 and 4."""
    manifest = Manifest.parse(documents[MANIFEST])
    signature = verify_signature(manifest, key)
    verify_files(manifest, documents[MANIFEST], digests)
    stated = documents.get(PROVENANCE)
    return manifest, signature, None if stated is None else verify_provenance(stated, manifest, digests, key)


def _read(path: Path, into: Path | None, limits: Limits | None = None) -> _Contents:
    """Step 2: read an archive to its end; its members are written into the empty folder ``into`` if that is given."""
    packed, digests, documents = hashlib.sha256(), dict[str, str](), dict[str, bytes]()
    for name, chunks in read_archive(path, limits, seen=packed.update):
        hasher, kept = hashlib.sha256(), bytearray()
        with _created(into / name) if into else nullcontext() as file:
            for chunk in chunks:
                hasher.update(chunk)
                if file:
                    file.write(chunk)
                if name in _DOCUMENTS and len(kept) <= MAX_BYTES:  # what is larger is refused when it is parsed
                    kept += chunk
        if name in _DOCUMENTS:
            documents[name] = bytes(kept)
        if name != MANIFEST:
            digests[name] = f"sha256:{hasher.hexdigest()}"
    return _Contents(digest=f"sha256:{packed.hexdigest()}", documents=documents, digests=digests)


def _created(path: Path) -> BinaryIO:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.open("xb")


def verify_folder(folder: Path, key: PublicKey) -> tuple[Manifest, Provenance | None]:
    """Steps 3 and 4 for an unpacked package: that nothing in the store was altered since."""
    documents = {name: (folder / name).read_bytes() for name in _DOCUMENTS if (folder / name).is_file()}
    files = [path for path in folder.rglob("*") if path.is_file() and path != folder / MANIFEST]
    digests = {path.relative_to(folder).as_posix(): sha256_file(path) for path in files}
    manifest, _, provenance = _verified({MANIFEST: b"", **documents}, digests, key)
    return manifest, provenance
