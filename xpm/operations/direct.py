"""Packages that come from where they are made, not through an index: a Git tag, a URL, a local archive, a publisher's folder.

A base comes so from a local archive only. Nothing vouches for such a package but its publisher's signature, so its key is pinned
in the lock when it is first used, and another key is refused from then on. A publisher's own folder (editable) is used where it
lies: not signed, not locked.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from xpm.environment import Environment
from xpm.errors import FetchError, NotFoundError, UsageError
from xpm.indexes import Indexes
from xpm.lockfile import LockedPackage
from xpm.operations.options import Options
from xpm.sources import ARCHIVE_SUFFIX, BASE_SUFFIX, Direct, FromArchive, FromFolder, FromGit, FromUrl
from xpm.trust import verify_pinned
from xpm_index.archive import MANIFEST, read_manifest
from xpm_index.digests import sha256_bytes
from xpm_index.entries import ArchiveRef, Entry
from xpm_index.errors import IntegrityError, SignatureError, TrustError
from xpm_index.git_files import TaggedTree, tagged
from xpm_index.integrity import read_signature
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
IN_PLACE = ".xpm"
SLOTS = "slots.safetensors"


@dataclass(frozen=True, slots=True, kw_only=True)
class DirectPackage:
    """What a source holds: its entry, as an index would have it, and the key that its archives verify with."""

    entry: Entry
    source: Direct
    key: PublicKey | None

    def locked(self) -> LockedPackage:
        entry = self.entry
        return LockedPackage(
            name=entry.name,
            version=entry.version,
            kind=entry.kind,
            index="",
            publisher=entry.publisher,
            key_id=entry.key_id,
            load_order=entry.load_order,
            requires=tuple(map(str, entry.requires)),
            archives=entry.archives,
            source=str(self.source),
            public_key=self.key.text if self.key else "",
        )


def look(
    environment: Environment,
    source: Direct,
    indexes: Indexes,
    options: Options,
    *,
    pinned: LockedPackage | None,
    key: PublicKey | None = None,
) -> DirectPackage:
    """Fetch what a source holds and verify it.

    Args:
        pinned: the package as locked before; its key must still be the publisher's.
        key: the publisher's key, if the user names it; otherwise the pinned one, one that an index lists, or the one in
            ``publisher.json`` beside the archive in its repository.
    Raises:
        TrustError: it is signed with another key than the pinned one, or nobody knows its key. SignatureError: it is not
            signed. FetchError, GitError: it can't be had. NotFoundError: there is no archive.
    """
    if isinstance(source, FromFolder):
        return _editable(environment, source)
    environment.home.downloads.mkdir(parents=True, exist_ok=True)
    offered: PublicKey | None = None
    if isinstance(source, FromGit):
        if options.offline and not source.url.startswith("file://"):
            raise FetchError(f"{source} would have to be fetched, and --offline forbids it")
        options.progress.note(f"fetching {source}")
        with tagged(source.url, source.tag) as tree:
            found = _archives_in(tree, source, environment.home.downloads)
            offered = _offered_key(tree, source)
    elif isinstance(source, FromUrl):
        if options.offline:
            raise FetchError(f"{source.url} would have to be fetched, and --offline forbids it")
        found = [(_download(source, environment.home.downloads, options), source.url)]
    else:
        path = source.locate(environment.folder)
        if not path.is_file():
            raise NotFoundError(f"there is no archive {path}")
        found = [(path, f"archive:{source.path.as_posix()}")]
    manifests = [read_manifest(path) for path, _ in found]
    first = manifests[0]
    kind = "base" if isinstance(source, FromArchive) and source.path.suffix == BASE_SUFFIX else "expert"
    if any(m.kind != kind for m in manifests):
        raise UsageError(f"{source} holds no {kind}")
    if any((m.name, m.version) != (first.name, first.version) for m in manifests):
        raise UsageError(f"{source} holds archives of different experts", hint=f"name one {ARCHIVE_SUFFIX} file")
    claim = read_signature(first)
    public = _trusted_key(first, claim.publisher, claim.key_id, pinned, key, offered, indexes, claim.created_at)
    refs = tuple(archive_ref(path, m, source=where) for (path, where), m in zip(found, manifests, strict=True))
    for (path, _), ref in zip(found, refs, strict=True):
        verify_pinned(path, ref, public)
    entry = entry_for(first, refs, publisher=claim.publisher, key_id=claim.key_id, published_at=claim.created_at)
    return DirectPackage(entry=entry, source=source, key=public)


def from_lock(environment: Environment, source: Direct, package: LockedPackage) -> DirectPackage | None:
    """The package of a source as it is locked, without fetching, if the lock is of this source and the store has it."""
    if package.source != str(source) or isinstance(source, FromFolder):
        return None
    for ref in package.archives:
        folder = environment.store.get(ref.digest)
        if folder is not None:
            manifest = Manifest.parse((folder / MANIFEST).read_bytes())
            claim = read_signature(manifest)
            entry = entry_for(
                manifest,
                package.archives,
                publisher=package.publisher,
                key_id=package.key_id,
                published_at=claim.created_at,
            )
            return DirectPackage(entry=entry, source=source, key=PublicKey.parse(package.public_key))
    return None


def folder_of(environment: Environment, package: LockedPackage) -> Path | None:
    """The folder that an editable package runs from, None if the package is not editable."""
    return compiled_in((environment.folder / package.source).resolve()) if package.is_editable else None


def compiled_in(folder: Path) -> Path:
    """Where a publisher's folder holds the compiled package: where `xpm build expert --in-place` puts it, else itself."""
    return folder / IN_PLACE if (folder / IN_PLACE / SLOTS).is_file() else folder


def _editable(environment: Environment, source: FromFolder) -> DirectPackage:
    folder = source.locate(environment.folder)
    compiled = compiled_in(folder)
    manifest = _manifest_of(compiled)
    if not (compiled / SLOTS).is_file():
        raise NotFoundError(
            f"{folder} has no {SLOTS}",
            context="an editable expert runs as it was compiled there",
            hint=f"compile it with `xpm build expert {folder} --base NAME --in-place`",
        )
    digest = "sha256:" + hashlib.sha256(str(source).encode()).hexdigest()
    refs = tuple(
        ArchiveRef(base=base.name, base_digest=base.digest, variant="", digest=digest, size=1, sources=())
        for base in manifest.bases
        if base.digest
    )
    if not refs:
        raise UsageError(
            f"{folder} does not say which base it was compiled for", hint="compile it again with --in-place"
        )
    entry = entry_for(manifest, refs, publisher="local", key_id="", published_at="2026-01-01T00:00:00Z")
    return DirectPackage(entry=entry, source=source, key=None)


def _manifest_of(folder: Path) -> Manifest:
    path = folder / MANIFEST
    if not path.is_file():
        raise NotFoundError(f"{folder} has no {MANIFEST}", hint="it is not the folder of an expert")
    return Manifest.parse(path.read_bytes())


def _archives_in(tree: TaggedTree, source: FromGit, downloads: Path) -> list[tuple[Path, str]]:
    """(file, its source as an entry has it) of every archive of the expert; fetched into ``downloads`` under its digest."""
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
    tree.fetch(paths)
    found = []
    for path in paths:
        data = b"".join(tree.chunks(path))
        target = downloads / sha256_bytes(data).removeprefix("sha256:")
        target.write_bytes(data)
        found.append((target, f"git+{source.url}#{source.tag}:{path}"))
    return found


def _offered_key(tree: TaggedTree, source: FromGit) -> PublicKey | None:
    """The first key of the publisher's file that lies beside the archives or at the top of the repository."""
    folder = source.subpath.rpartition("/")[0] if source.subpath.endswith(ARCHIVE_SUFFIX) else source.subpath
    for path in dict.fromkeys((f"{folder}/{PUBLISHER_FILE}" if folder else PUBLISHER_FILE, PUBLISHER_FILE)):
        data = tree.read(path, max_bytes=MAX_BYTES)
        if isinstance(data, bytes):
            keys = Publisher.parse(data, what=path).keys
            return keys[0].public if keys else None
    return None


def _download(source: FromUrl, downloads: Path, options: Options) -> Path:
    """An archive of unknown size, to a file named by its digest; raises IntegrityError if another digest was stated."""
    options.progress.note(f"fetching {source.url}")
    with Web() as web, web.request(source.url) as answer:
        data = answer.read(MAX_ARCHIVE_BYTES)
    digest = sha256_bytes(data)
    if source.digest and digest != source.digest:
        raise IntegrityError(
            f"{source.url} is not what was promised", context=f"expected {source.digest}, got {digest}"
        )
    path = downloads / digest.removeprefix("sha256:")
    path.write_bytes(data)
    return path


def _trusted_key(
    manifest: Manifest,
    publisher: str,
    key_id: str,
    pinned: LockedPackage | None,
    named: PublicKey | None,
    offered: PublicKey | None,
    indexes: Indexes,
    at: str,
) -> PublicKey:
    """The key that the package must verify with."""
    if pinned is not None and pinned.public_key:
        key = PublicKey.parse(pinned.public_key)
        if key_id != key.key_id and (named is None or named.key_id != key_id):
            raise TrustError(
                f"{manifest.name} {manifest.version} is signed with another key than before",
                context=f"pinned {key.key_id} of {pinned.publisher}, got {key_id[:40]} of {publisher[:64]}",
                hint="ask the publisher by another way; if the change is genuine, name the new key with --key",
            )
        return named if named is not None and named.key_id == key_id else key
    for candidate in (named, _indexed_key(indexes, publisher, key_id, at), offered):
        if candidate is not None:
            if candidate.key_id != key_id:
                raise SignatureError(
                    f"{manifest.name} {manifest.version} was signed with another key",
                    context=f"expected {candidate.key_id}, got {key_id[:40]}",
                )
            return candidate
    raise TrustError(
        f"nobody knows key {key_id[:40]} of {publisher[:64]}",
        context=f"it signed {manifest.name} {manifest.version}",
        hint="name the publisher's public key with --key ed25519:…",
    )


def _indexed_key(indexes: Indexes, publisher: str, key_id: str, at: str) -> PublicKey | None:
    for index in indexes.sources:
        try:
            return indexes.snapshot(index).publisher(publisher).key(key_id, at=at)
        except TrustError:
            continue
    return None


def pinned_in(packages: Sequence[LockedPackage], name: str) -> LockedPackage | None:
    """The package of a lock under either spelling that came directly, None if there is none."""
    return next((each for each in packages if each.name in spellings(name) and each.source), None)
