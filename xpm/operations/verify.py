"""Verifying again what is installed, or a package file that somebody has."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from xpm.environment import Environment
from xpm.errors import NotFoundError
from xpm.indexes import Indexes
from xpm.lockfile import Indexed, LockedPackage, Made, Pinned
from xpm.operations.fetching import fetch_and_store
from xpm.operations.options import DEFAULTS, Options
from xpm.trust import VerifiedFile, verify_folder, verify_made, verify_package
from xpm_index.archive import read_manifest
from xpm_index.errors import IntegrityError, ManifestError, SignatureError, TrustError
from xpm_index.integrity import read_signature
from xpm_index.keys import PublicKey
from xpm_index.provenance import Provenance


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """The packages that verify, as ``name version``; ``repaired`` are those that did not and were fetched again.

    ``unsigned`` are those that nobody signed: they were made here, and are the bytes that the lock pins. ``provenance``
    is what those that say so were built of.
    """

    verified: tuple[str, ...]
    repaired: tuple[str, ...] = ()
    unsigned: tuple[str, ...] = ()
    provenance: Mapping[str, Provenance] = field(default_factory=dict)


def verify(environment: Environment, options: Options = DEFAULTS, *, repair: bool = False) -> Checked:
    """Verify every installed package in the store against its publisher's key and what was signed.

    Args:
        repair: fetch again what does not verify.
    Raises:
        IntegrityError, SignatureError, TrustError: the first package that does not verify. What fetching raises.
    """
    lock = environment.require_lockfile()
    verified, repaired, provenance = [], [], dict[str, Provenance]()
    with environment.locked(), options.indexes(environment, environment.project(), allow_stale=True) as indexes:
        for package, ref in lock.stored:
            try:
                stated = _verify_stored(package, environment.store.get(ref.digest), indexes)
            except (IntegrityError, SignatureError) as error:
                if not repair:
                    error.hint = "run `xpm verify --repair`, which fetches it again"
                    raise
                fetch_and_store(environment, [(package, ref)], indexes, options, base=lock.stored[0])
                stated = _verify_stored(package, environment.store.get(ref.digest), indexes)
                repaired.append(str(package))
            verified.append(str(package))
            if stated is not None:
                provenance[str(package)] = stated
    unsigned = tuple(str(package) for package, _ in lock.stored if isinstance(package.origin, Made))
    return Checked(verified=tuple(verified), repaired=tuple(repaired), unsigned=unsigned, provenance=provenance)


def _verify_stored(package: LockedPackage, folder: Path | None, indexes: Indexes) -> Provenance | None:
    if folder is None:
        raise IntegrityError(f"{package} is not in the store")
    if isinstance(package.origin, Made):
        verify_made(folder, package.archives[0], name=package.name)
        return None
    key = _key_of(package, indexes)
    try:
        manifest, provenance = verify_folder(folder, key)
    except (ManifestError, OSError) as error:
        raise IntegrityError(f"{package} in the store was altered", context=str(error)) from error
    if (manifest.name, manifest.version) != (package.name, package.version):
        raise IntegrityError(f"the store has {manifest.name} {manifest.version} in the place of {package}")
    return provenance


def _key_of(package: LockedPackage, indexes: Indexes) -> PublicKey:
    """The key that a stored package must be signed with."""
    if isinstance(package.origin, Pinned):
        return package.origin.key
    if not isinstance(package.origin, Indexed):
        raise TrustError(f"{package} is used where it lies: nobody signed it")
    snapshot = indexes.snapshot(package.origin.index)
    entry = next((each for each in snapshot.entries(package.name) if each.version == package.version), None)
    if entry is None:
        raise TrustError(f"index {package.origin.index} does not have {package}")
    return snapshot.key_of(entry)


def verify_file(
    environment: Environment, path: Path, key: PublicKey | None, options: Options = DEFAULTS
) -> VerifiedFile:
    """Verify a package file with a given key, or with its publisher's from an index.

    Raises:
        NotFoundError: there is no such file. What ``xpm.trust`` raises.
    """
    if not path.is_file():
        raise NotFoundError(f"there is no file {path}")
    if key is None:
        claim = read_signature(read_manifest(path))
        with environment.locked(), options.indexes(environment, environment.project(), allow_stale=True) as indexes:
            key = indexes.key_of(claim)
        if key is None:
            raise TrustError(
                f"no index knows key {claim.key_id} of {claim.publisher}", hint="pass the key with --key ed25519:…"
            )
    return verify_package(path, key)
