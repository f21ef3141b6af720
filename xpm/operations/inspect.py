"""Looking without changing: list, info, search, verify."""

import contextlib
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

from xpm.environment import Environment
from xpm.errors import NotFoundError
from xpm.indexes import Indexes
from xpm.lockfile import LockedPackage
from xpm.operations.bring import bring
from xpm.operations.direct import folder_of
from xpm.operations.names import did_you_mean
from xpm.operations.options import DEFAULTS, Options
from xpm.project import DEFAULT_BASE, DEFAULT_BASE_LIMITATIONS
from xpm.search import Query
from xpm.trust import verify_folder, verify_package
from xpm_index.archive import MANIFEST, read_manifest
from xpm_index.digests import sha256_bytes
from xpm_index.entries import Entry
from xpm_index.errors import IntegrityError, ManifestError, SignatureError, TrustError, XpmError
from xpm_index.integrity import read_signature
from xpm_index.keys import PublicKey
from xpm_index.manifest import Manifest
from xpm_index.names import spellings
from xpm_index.publishing import quality_of

_BLOB = "blob:"
_LARGEST_LOOKED_INTO = 16_000_000  # bytes of an archive in an index that is read for its manifest alone


@dataclass(frozen=True, slots=True, kw_only=True)
class Installed:
    """A locked package and its folder, None if it is not there yet.

    ``digest`` is that of the archive that is used here, "" of an editable package.
    """

    package: LockedPackage
    folder: Path | None
    digest: str

    def manifest(self) -> Manifest:
        if self.folder is None:
            raise NotFoundError(f"{self.package.name} is locked but not in the store", hint="run `xpm sync`")
        return Manifest.parse((self.folder / MANIFEST).read_bytes())


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A search hit: ``entry`` is as ``newest_of`` has it, None if it can't be verified for ``problem``.

    ``quality`` is the share of cases, 0 to 1, that the package claims to answer rightly; None if it claims nothing.
    """

    name: str
    index: str
    rank: float
    entry: Entry | None
    problem: str = ""
    quality: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """What is published under a name; ``manifest`` is the newest version's own, None where it can't be had without fetching."""

    index: str
    entries: tuple[Entry, ...]
    manifest: Manifest | None

    @property
    def limitations(self) -> tuple[str, ...]:
        """What it can't do: by its own manifest, and by what is known of the base that comes with xpm."""
        stated = self.manifest.raw.get("limitations") if self.manifest else None
        own = [
            str(each.get("description", "") if isinstance(each, dict) else each)
            for each in (stated if isinstance(stated, list) else ())
        ]
        newest = self.entries[-1]
        is_tiny = newest.name == DEFAULT_BASE or any(each.base == DEFAULT_BASE for each in newest.archives)
        return (*own, *(DEFAULT_BASE_LIMITATIONS if is_tiny else ()))


def installed(environment: Environment) -> tuple[Installed, ...]:
    """The base and the experts of the environment, in composition order; () if nothing is locked."""
    lock = environment.lockfile()
    if lock is None:
        return ()
    found = []
    for each in lock.packages:
        own = folder_of(environment, each)
        digest = "" if own else lock.archive_of(each).digest
        found.append(Installed(package=each, folder=own or environment.store.get(digest), digest=digest))
    return tuple(found)


def yanked_here(environment: Environment) -> dict[str, str]:
    """Name → reason of what is installed and was yanked, as far as the indexes on this machine tell; nothing is fetched."""
    found = {}
    with Options(offline=True).indexes(environment, environment.project(), allow_stale=True) as indexes:
        for each in installed(environment):
            package = each.package
            if package.index not in indexes.sources or indexes.age(package.index) == timedelta.max:
                continue
            with contextlib.suppress(XpmError):
                for entry in indexes.snapshot(package.index).entries(package.name):
                    if entry.version == package.version and entry.yanked is not None:
                        found[package.name] = entry.yanked.reason
    return found


def find_installed(environment: Environment, name: str) -> Installed:
    for each in installed(environment):
        if each.package.name in spellings(name):
            return each
    alike = did_you_mean(name, [each.package.name for each in installed(environment)])
    raise NotFoundError(f"{name} is not installed here", hint=alike or f"install it with `xpm install {name}`")


def published(environment: Environment, name: str, options: Options = DEFAULTS) -> Published:
    """What the indexes have of a name, with the newest version's manifest if it is at hand; raises NotFoundError."""
    index, entries = versions_of(environment, name, options)
    with environment.locked(), options.indexes(environment, environment.project(), allow_stale=True) as indexes:
        return Published(
            index=index, entries=entries, manifest=_manifest_at_hand(environment, indexes, index, newest_of(entries))
        )


def _manifest_at_hand(environment: Environment, indexes: Indexes, index: str, entry: Entry) -> Manifest | None:
    """A published version's manifest, from the store or from an archive that the index itself holds; None if that takes fetching.

    An archive's digest is the one that the index vouches for; its signature is verified when it is installed.
    """
    for ref in entry.archives:
        if (folder := environment.store.get(ref.digest)) is not None:
            return Manifest.parse((folder / MANIFEST).read_bytes())
    for ref in entry.archives:
        paths = [source.removeprefix(_BLOB) for source in ref.sources if source.startswith(_BLOB)]
        if not paths or ref.size > _LARGEST_LOOKED_INTO:
            continue
        data = indexes.snapshot(index).read_blob(paths[0])
        if data is None or sha256_bytes(data) != ref.digest:
            continue
        with tempfile.TemporaryDirectory() as scratch:
            path = Path(scratch) / f"package.{entry.kind}"
            path.write_bytes(data)
            return read_manifest(path)
    return None


def versions_of(environment: Environment, name: str, options: Options = DEFAULTS) -> tuple[str, tuple[Entry, ...]]:
    """(index, entries oldest first) of a published name; raises NotFoundError."""
    with environment.locked(), options.indexes(environment, environment.project(), allow_stale=True) as indexes:
        index, entries = indexes.entries(name)
        hint = None if entries else did_you_mean(name, indexes.all_names())
    if not entries:
        raise NotFoundError(f"no index has {name}", hint=hint or "look for it with `xpm search`")
    return index, entries


def newest_of(entries: Sequence[Entry]) -> Entry:
    """The newest release that is not yanked; if there is none the newest pre-release, and if all are yanked the newest of them."""
    usable = [entry for entry in entries if entry.yanked is None] or entries
    return ([entry for entry in usable if not entry.version.is_prerelease] or usable)[-1]


def search(environment: Environment, query: Query, options: Options = DEFAULTS) -> list[Found]:
    """Experts and bases that match, best first; what can't be verified is found too, and says so."""
    found = []
    with environment.locked(), options.indexes(environment, environment.project(), allow_stale=True) as indexes:
        for index in indexes.sources:
            for name, rank in indexes.search(index, query):
                try:
                    entries = indexes.snapshot(index).entries(name)
                except XpmError as error:
                    found.append(Found(name=name, index=index, rank=rank, entry=None, problem=error.message))
                    continue
                if entries:
                    found.append(Found(name=name, index=index, rank=rank, entry=newest_of(entries)))
        best = sorted(found, key=lambda each: (each.rank, each.name))[: query.limit]
        return [
            replace(each, quality=_quality(environment, indexes, each.index, each.entry)) if each.entry else each
            for each in best
        ]


def _quality(environment: Environment, indexes: Indexes, index: str, entry: Entry) -> float | None:
    """What the entry says; where it says nothing, what the manifest does, if it is at hand."""
    if entry.quality is not None or entry.kind == "base":
        return entry.quality
    try:
        manifest = _manifest_at_hand(environment, indexes, index, entry)
    except XpmError:
        return None
    return quality_of(manifest) if manifest else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """The packages that verify, as ``name version``; ``repaired`` are those that did not and were fetched again."""

    verified: tuple[str, ...]
    repaired: tuple[str, ...] = ()


def verify(environment: Environment, options: Options = DEFAULTS, *, repair: bool = False) -> Checked:
    """Verify every installed package in the store against its publisher's key and what was signed.

    Args:
        repair: fetch again what does not verify.
    Raises:
        IntegrityError, SignatureError, TrustError: the first package that does not verify. What fetching raises.
    """
    lock = environment.require_lockfile()
    verified, repaired = [], []
    with environment.locked(), options.indexes(environment, environment.project(), allow_stale=True) as indexes:
        for package in lock.packages:
            if package.is_editable:
                continue
            named, ref = f"{package.name} {package.version}", lock.archive_of(package)
            try:
                _verify_stored(package, environment.store.get(ref.digest), indexes)
            except (IntegrityError, SignatureError) as error:
                if not repair:
                    error.hint = "run `xpm verify --repair`, which fetches it again"
                    raise
                bring(environment, [(package, ref)], indexes, options)
                _verify_stored(package, environment.store.get(ref.digest), indexes)
                repaired.append(named)
            verified.append(named)
    return Checked(verified=tuple(verified), repaired=tuple(repaired))


def _verify_stored(package: LockedPackage, folder: Path | None, indexes: Indexes) -> None:
    if package.source:
        key = PublicKey.parse(package.public_key)
    else:
        snapshot = indexes.snapshot(package.index)
        entry = next((e for e in snapshot.entries(package.name) if e.version == package.version), None)
        if entry is None:
            raise TrustError(f"index {package.index} does not have {package.name} {package.version}")
        key = snapshot.key_of(entry)
    if folder is None:
        raise IntegrityError(f"{package.name} {package.version} is not in the store")
    try:
        manifest = verify_folder(folder, key)
    except (ManifestError, OSError) as error:
        told = error.message if isinstance(error, ManifestError) else str(error)
        raise IntegrityError(f"{package.name} {package.version} in the store was altered", context=told) from error
    if (manifest.name, manifest.version) != (package.name, package.version):
        told = f"the store has {manifest.name} {manifest.version} in the place of {package.name} {package.version}"
        raise IntegrityError(told)


def verify_file(
    environment: Environment, path: Path, key: PublicKey | None, options: Options = DEFAULTS
) -> tuple[Manifest, str]:
    """Verify a package file with a given key, or with its publisher's from an index; (manifest, publisher).

    Raises:
        NotFoundError: there is no such file. What ``xpm.trust`` raises.
    """
    if not path.is_file():
        raise NotFoundError(f"there is no file {path}")
    if key is None:
        claim = read_signature(read_manifest(path))
        with environment.locked(), options.indexes(environment, environment.project(), allow_stale=True) as indexes:
            key = _published_key(indexes, claim.publisher, claim.key_id, claim.created_at)
    manifest, signature = verify_package(path, key)
    return manifest, signature.publisher


def _published_key(indexes: Indexes, publisher: str, key_id: str, at: str) -> PublicKey:
    for index in indexes.sources:
        snapshot = indexes.snapshot(index)
        try:
            return snapshot.publisher(publisher).key(key_id, at=at)
        except TrustError:
            continue
    raise TrustError(f"no index knows key {key_id} of {publisher}", hint="pass the key with --key ed25519:…")
