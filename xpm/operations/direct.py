"""Packages that come from where they are made, not through an index: a Git tag, a URL, a local
archive, a publisher's folder.

A base comes so from a local archive only. Nothing vouches for such a package but its publisher's signature, so its key
is pinned in the lock when it is first used, and another key is refused from then on. A publisher's own folder
(editable) is used where it
lies: not signed, not locked.
"""

from dataclasses import dataclass
from pathlib import Path

from xpm.environment import Environment
from xpm.errors import FetchError, NotFoundError, UsageError
from xpm.indexes import Indexes
from xpm.lockfile import Editable, LockedPackage, Lockfile, Made, Pinned
from xpm.operations.editable import candidate_in
from xpm.operations.models import Report, made_candidate, make_base
from xpm.operations.options import Options
from xpm.partial import keep
from xpm.sources import ARCHIVE_SUFFIX, BASE_SUFFIX, Direct, FromArchive, FromFolder, FromGit, FromModel, FromUrl
from xpm.trust import verify_package
from xpm_index.archive import MANIFEST, read_manifest
from xpm_index.entries import ArchiveRef, Candidate
from xpm_index.errors import IntegrityError, SignatureError, TrustError
from xpm_index.git_files import TaggedTree, tagged
from xpm_index.integrity import PackageSignature, read_signature
from xpm_index.keys import PublicKey
from xpm_index.manifest import Manifest
from xpm_index.names import spellings
from xpm_index.publishers import Publisher
from xpm_index.publishing import archive_ref, entry_for
from xpm_index.strict_json import MAX_BYTES
from xpm_index.web import Web

PUBLISHER_FILE = "publisher.json"
MAX_ARCHIVE_BYTES = 1 << 30
MAX_ARCHIVES = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Described:
    """What a source holds: as the resolver goes by it, and as it is to be locked."""

    candidate: Candidate
    locked: LockedPackage


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """An archive here, and where an entry would say that it can be had; ``offered`` is a key that lay beside it."""

    path: Path
    where: str
    offered: PublicKey | None = None


def describe(
    environment: Environment,
    source: Direct,
    indexes: Indexes,
    options: Options,
    *,
    previous: Lockfile | None,
    key: PublicKey | None = None,
) -> Described:
    """Fetch what a source holds and verify it.

    Args:
        previous: the lock before; the key that is pinned there for this source must still be the publisher's.
        key: the publisher's key, if the user names it; otherwise the pinned one, one that an index lists, or the one in
            ``publisher.json`` beside the archive in its repository.
    Raises:
        TrustError: it is signed with another key than the pinned one, or nobody knows its key. SignatureError: it is
            not signed. FetchError, GitError: it can't be had. NotFoundError: there is no archive.
    """
    if isinstance(source, FromFolder):
        candidate = candidate_in(source.locate(environment.folder), source)
        locked = LockedPackage.of(candidate, Editable(source=str(source)))
        return Described(candidate=candidate, locked=locked)
    if isinstance(source, FromModel):
        project = environment.project()
        return made(environment, source, options, name=project.base, variant=project.variant)
    found = _fetched(environment, source, options)
    manifests = [read_manifest(each.path) for each in found]
    first = manifests[0]
    kind = "base" if isinstance(source, FromArchive) and source.path.suffix == BASE_SUFFIX else "expert"
    if any(m.kind != kind for m in manifests):
        raise UsageError(f"{source} holds no {kind}")
    if any((m.name, m.version) != (first.name, first.version) for m in manifests):
        raise UsageError(f"{source} holds archives of different experts", hint=f"name one {ARCHIVE_SUFFIX} file")
    claim = read_signature(first)
    trusted = _trusted_key(first, claim, _pinned_for(source, previous), key, found[0].offered, indexes)
    refs = []
    for each in found:
        checked = verify_package(each.path, trusted)
        refs.append(archive_ref(each.path, checked.manifest, source=each.where, digest=checked.digest))
    return _described(source, first, tuple(refs), trusted, claim)


def described_by(environment: Environment, source: Direct, previous: Lockfile | None, name: str) -> Described | None:
    """What a source holds as it is locked, without fetching, if the lock is of this source and the store has it."""
    package = next((each for each in previous.packages if each.name in spellings(name)), None) if previous else None
    if package is not None and isinstance(package.origin, Made) and package.origin.source == str(source):
        return Described(candidate=made_candidate(package), locked=package)
    if package is None or not isinstance(package.origin, Pinned) or package.origin.source != str(source):
        return None
    for ref in package.archives:
        if (folder := environment.store.get(ref.digest)) is not None:
            manifest = Manifest.parse((folder / MANIFEST).read_bytes())
            return _described(source, manifest, package.archives, package.origin.key, read_signature(manifest))
    return None


def made(
    environment: Environment,
    source: FromModel,
    options: Options,
    *,
    name: str,
    variant: str,
    checked: Report | None = None,
) -> Described:
    """A base that is made of a model, here and now; ``checked`` as ``make_base`` has it."""
    locked = make_base(environment, source, options, name=name, variant=variant, checked=checked)
    return Described(candidate=made_candidate(locked), locked=locked)


def _described(
    source: Direct, manifest: Manifest, refs: tuple[ArchiveRef, ...], key: PublicKey, claim: PackageSignature
) -> Described:
    entry = entry_for(manifest, refs, publisher=claim.publisher, key_id=claim.key_id, published_at=claim.created_at)
    origin = Pinned(source=str(source), publisher=claim.publisher, key=key, archives=refs)
    return Described(candidate=entry, locked=LockedPackage.of(entry, origin))


def _fetched(environment: Environment, source: FromGit | FromUrl | FromArchive, options: Options) -> list[_Found]:
    """Every archive of a source, as a file here that is named by its digest if it had to be fetched."""
    if isinstance(source, FromArchive):
        path = source.locate(environment.folder)
        if not path.is_file():
            raise NotFoundError(f"there is no archive {path}")
        return [_Found(path=path, where=f"archive:{source.path.as_posix()}")]
    if options.offline and not source.url.startswith("file://"):
        what = source if isinstance(source, FromGit) else source.url
        raise FetchError(f"{what} would have to be fetched, and --offline forbids it")
    downloads = environment.home.downloads
    downloads.mkdir(parents=True, exist_ok=True)
    if isinstance(source, FromUrl):
        options.progress.note(f"fetching {source.url}")
        return [_Found(path=_download(source, downloads), where=source.url)]
    options.progress.note(f"fetching {source}")
    with tagged(source.url, source.tag) as tree:
        paths = _archives_in(tree, source)
        tree.fetch(paths)
        offered = _offered_key(tree, source)
        return [
            _Found(
                path=keep(tree.chunks(path), downloads)[0],
                where=f"git+{source.url}#{source.tag}:{path}",
                offered=offered,
            )
            for path in paths
        ]


def _archives_in(tree: TaggedTree, source: FromGit) -> list[str]:
    """The paths of every archive of the expert."""
    if source.subpath.endswith(ARCHIVE_SUFFIX):
        paths = [source.subpath]
    else:
        inside = f"{source.subpath}/" if source.subpath else ""
        paths = [
            path
            for path in tree.paths(source.subpath)
            if path.endswith(ARCHIVE_SUFFIX) and path.removeprefix(inside).removeprefix("dist/").count("/") == 0
        ]
    if not paths:
        known = sorted({path.rpartition("/")[0] or "." for path in tree.paths() if path.endswith(ARCHIVE_SUFFIX)})
        hint = (
            f"it has archives in {', '.join(known)}"
            if known
            else "its publisher commits the archives that `xpm build` makes"
        )
        raise NotFoundError(f"{source} has no {ARCHIVE_SUFFIX} file", hint=hint)
    if len(paths) > MAX_ARCHIVES:
        raise FetchError(
            f"{source} has {len(paths)} {ARCHIVE_SUFFIX} files",
            context=f"an expert has one for each of its bases, at most {MAX_ARCHIVES}",
            hint=f"name one: #path/to/file{ARCHIVE_SUFFIX}",
        )
    return paths


def _offered_key(tree: TaggedTree, source: FromGit) -> PublicKey | None:
    """The first key of the publisher's file that lies beside the archives or at the top of the repository."""
    folder = source.subpath.rpartition("/")[0] if source.subpath.endswith(ARCHIVE_SUFFIX) else source.subpath
    for path in dict.fromkeys((f"{folder}/{PUBLISHER_FILE}" if folder else PUBLISHER_FILE, PUBLISHER_FILE)):
        data = tree.read(path, max_bytes=MAX_BYTES)
        if isinstance(data, bytes):
            keys = Publisher.parse(data, what=path).keys
            return keys[0].public if keys else None
    return None


def _download(source: FromUrl, downloads: Path) -> Path:
    """An archive of unknown size; raises IntegrityError if another digest was stated."""
    with Web() as web, web.request(source.url) as answer:
        path, digest = keep(answer.chunks(max_bytes=MAX_ARCHIVE_BYTES), downloads)
    if source.digest and digest != source.digest:
        path.unlink()
        raise IntegrityError(
            f"{source.url} is not what was promised", context=f"expected {source.digest}, got {digest}"
        )
    return path


def _pinned_for(source: Direct, previous: Lockfile | None) -> Pinned | None:
    """What the lock has of this source, whichever version of it."""
    place = str(source).partition("@")[0]
    origins = [each.origin for each in previous.packages] if previous else []
    return next((each for each in origins if isinstance(each, Pinned) and each.source.partition("@")[0] == place), None)


def _trusted_key(
    manifest: Manifest,
    claim: PackageSignature,
    pinned: Pinned | None,
    named: PublicKey | None,
    offered: PublicKey | None,
    indexes: Indexes,
) -> PublicKey:
    """The key that the package must verify with."""
    if pinned is not None and claim.key_id == pinned.key.key_id:
        return named if named is not None and named.key_id == claim.key_id else pinned.key
    if pinned is not None and (named is None or named.key_id != claim.key_id):
        raise TrustError(
            f"{manifest.name} {manifest.version} is signed with another key than before",
            context=f"pinned {pinned.key.key_id} of {pinned.publisher}, got {claim.key_id[:40]} of "
            f"{claim.publisher[:64]}",
            hint="ask the publisher by another way; if the change is genuine, name the new key with --key",
        )
    for candidate in (named, indexes.key_of(claim), offered):
        if candidate is not None:
            if candidate.key_id != claim.key_id:
                raise SignatureError(
                    f"{manifest.name} {manifest.version} was signed with another key",
                    context=f"expected {candidate.key_id}, got {claim.key_id[:40]}",
                )
            return candidate
    raise TrustError(
        f"nobody knows key {claim.key_id[:40]} of {claim.publisher[:64]}",
        context=f"it signed {manifest.name} {manifest.version}",
        hint="name the publisher's public key with --key ed25519:…",
    )
