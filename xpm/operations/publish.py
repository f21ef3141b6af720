"""The publisher's side: keys, signing, publishing into an index, yanking."""

import tempfile
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from xpm.errors import NotFoundError, UsageError
from xpm.home import Home
from xpm.operations.clock import now
from xpm.operations.open_index import Opened, opened
from xpm.progress import Progress, Silent
from xpm.trust import verify_package
from xpm_index.archive import extract_archive, read_archive, read_manifest
from xpm_index.entries import Entry, Yanked, parse_entries
from xpm_index.errors import PackagingError, SignatureError
from xpm_index.index_writer import IndexWriter
from xpm_index.integrity import PackageSignature, read_signature
from xpm_index.keys import PublicKey, SigningKey
from xpm_index.layout import ENTRIES, entry_path
from xpm_index.manifest import Manifest
from xpm_index.names import validate_name
from xpm_index.publishing import archive_ref, entry_for, path_in_index, sign_archive
from xpm_index.requirements import Requirement
from xpm_index.tuf_keys import Keyring
from xpm_index.versions import Version

if TYPE_CHECKING:
    from xpm_build.manifest_check import Finding


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyInfo:
    name: str
    path: Path
    public: PublicKey


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """``branch`` is where the entry was proposed, None if it is in force; ``findings`` are what the rules warn of."""

    entry: Entry
    branch: str | None = None
    findings: "tuple[Finding, ...]" = ()


def new_key(home: Home, name: str) -> KeyInfo:
    """Make a key pair; raises KeyFileError if there is one of that name."""
    path = home.keys / f"{validate_name(name, what='key name')}.json"
    key = SigningKey.generate()
    key.save(path)
    return KeyInfo(name=name, path=path, public=key.public)


def list_keys(home: Home) -> list[KeyInfo]:
    return [
        KeyInfo(name=path.stem, path=path, public=SigningKey.load(path).public)
        for path in sorted(home.keys.glob("*.json"))
    ]


def load_key(home: Home, name: str) -> SigningKey:
    """A key by its name, or by the path of its file."""
    path = Path(name) if name.endswith(".json") else home.keys / f"{validate_name(name, what='key name')}.json"
    return SigningKey.load(path)


def public_key(home: Home, text: str) -> PublicKey:
    """A public key written out (``ed25519:…``), or that of a key by its name or file."""
    return PublicKey.parse(text) if text.startswith("ed25519:") else load_key(home, text).public


def keyring(home: Home, extra: Sequence[str] = ()) -> Keyring:
    """The user's keys and further ones by name or file."""
    return Keyring(
        [
            *(SigningKey.load(path) for path in sorted(home.keys.glob("*.json"))),
            *(load_key(home, each) for each in extra),
        ]
    )


def sign(archive: Path, key: SigningKey, publisher: str, *, when: str | None = None) -> Manifest:
    """Sign a package file in place; the old file stays until the signed one is complete.

    Raises:
        NotFoundError, PackagingError, ArchiveError, ManifestError; UnsoundManifest: `xpm check` would not let it pass.
    """
    if not archive.is_file():
        raise NotFoundError(f"there is no file {archive}")
    validate_name(publisher, what="publisher")
    _require_sound(read_manifest(archive), _names_in(archive), archive)
    return sign_archive(archive, key, publisher=publisher, created_at=when or now())


def publish(
    home: Home,
    index: str,
    archives: Sequence[Path],
    *,
    keys: Keyring | None = None,
    sources: Mapping[str, str] | None = None,
    progress: Progress | None = None,
    when: str | None = None,
    dry_run: bool = False,
    replay: "Callable[[Path], Sequence[Finding]] | None" = None,
) -> Published:
    """Publish one version, in one archive per base or variant, into an index.

    With the index's online keys at hand, the entry is put in force; otherwise it is proposed on a branch of its own.

    Args:
        index: the path or the URL of an index repository.
        sources: archive file name → URL; archives without one are stored in the index itself.
        replay: asks an archive what its README shows (``xpm.operations.replay``).
    Raises:
        SignatureError: an archive is unsigned, or not signed with a key that the index lists for its publisher.
        PackagingError: they are of different packages, or the version is published already.
        RefusedPackage: the rules of publishing find an error.
    """
    if not archives:
        raise UsageError("there is nothing to publish")
    for path in archives:
        if not path.is_file():
            raise NotFoundError(f"there is no file {path}")
    with opened(home, index, keys=keys or keyring(home), progress=progress or Silent()) as target:
        entry, blobs = entry_of_archives(target, archives, sources=sources, when=when or now())
        findings = scanned(target.writer, archives, entry.publisher)
        if replay is not None:
            findings += tuple(each for path in archives for each in replay(path))
        return replace(put(target, entry, blobs, dry_run=dry_run), findings=findings)


def set_yanked(
    home: Home,
    index: str,
    name: str,
    version: Version,
    yanked: Yanked | None,
    *,
    keys: Keyring | None = None,
    progress: Progress | None = None,
    dry_run: bool = False,
) -> Published:
    """Yank a version (nobody new gets it; locks that have it keep it), or take that back if ``yanked`` is None."""
    with opened(home, index, keys=keys or keyring(home), progress=progress or Silent()) as target:
        spelled = next((s for s in Requirement.parse(name).name.spellings() if target.writer.read(entry_path(s))), None)
        data = target.writer.read(entry_path(spelled)) if spelled else None
        entries = parse_entries(data, name=spelled) if data and spelled else ()
        found = next((entry for entry in entries if entry.version == version), None)
        if found is None:
            known = ", ".join(str(entry.version) for entry in entries)
            raise NotFoundError(f"the index has no {name} {version}", hint=f"it has {known}" if known else None)
        if (found.yanked is None) == (yanked is None):
            raise UsageError(f"{found.name} {version} is {'not yanked' if yanked is None else 'yanked already'}")
        return put(target, replace(found, yanked=yanked), {}, dry_run=dry_run)


def entry_of_archives(
    target: Opened, archives: Sequence[Path], *, sources: Mapping[str, str] | None, when: str
) -> tuple[Entry, dict[str, bytes]]:
    """The entry of one version and the archives that the index is to hold, all verified with its publisher's key."""
    verified = [(path, *_verified(target, path, when)) for path in archives]
    _, first, claim, _ = verified[0]
    if any((m.kind, m.name, m.version) != (first.kind, first.name, first.version) for _, m, _, _ in verified):
        raise PackagingError("the archives are of different packages or versions", hint="publish one version at a time")
    if any((each.publisher, each.key_id) != (claim.publisher, claim.key_id) for _, _, each, _ in verified):
        raise SignatureError("the archives are signed for different publishers or with different keys")
    refs, blobs = [], {}
    for path, manifest, _, digest in verified:
        url = (sources or {}).get(path.name)
        if url is None:
            blobs[path_in_index(manifest)] = path.read_bytes()
        refs.append(archive_ref(path, manifest, source=url, digest=digest))
    entry = entry_for(first, tuple(refs), publisher=claim.publisher, key_id=claim.key_id, published_at=when)
    return entry, blobs


def put(target: Opened, entry: Entry, blobs: Mapping[str, bytes], *, dry_run: bool) -> Published:
    """Put an entry in force if that is possible here, else propose it."""
    writer = target.writer
    branch = None if writer.can_add_entries() else f"publish/{entry.name}-{entry.version}"
    if dry_run:
        writer.check_entry(entry)
    elif branch is None:
        writer.add_entry(entry, blobs=blobs)
    else:
        target.propose(entry, branch, blobs)
    return Published(entry=entry, branch=branch)


def scanned(writer: IndexWriter, archives: Sequence[Path], publisher: str) -> "tuple[Finding, ...]":
    """What the rules of publishing warn of in archives that are verified already; raises RefusedPackage for errors."""
    from xpm_build.publish_scan import names_like, require_safe, scan

    findings: dict[tuple[str, str, str], Finding] = {}
    for path in archives:
        manifest = read_manifest(path)
        names = (each.rsplit("/", 1)[1].removesuffix(".jsonl") for each in writer.repo.list_tree(writer.head, ENTRIES))
        others = [each for each in names_like(manifest.name, list(names)) if _publisher_of(writer, each) != publisher]
        with tempfile.TemporaryDirectory(prefix="xpm-scan-") as folder:
            extract_archive(path, Path(folder))
            found = scan(Path(folder), manifest, others=others)
        require_safe(found, path.name)
        findings |= {(each.rule, each.where, each.what): each for each in found}
    return tuple(findings.values())


def _publisher_of(writer: IndexWriter, name: str) -> str:
    data = writer.read(entry_path(name))
    return parse_entries(data, name=name)[0].publisher if data else ""


def _verified(target: Opened, path: Path, when: str) -> tuple[Manifest, PackageSignature, str]:
    """(manifest, signature, digest) of an archive that its publisher might sign at that time, and that is sound."""
    claim = read_signature(read_manifest(path))
    key = target.writer.publisher(claim.publisher).key(claim.key_id, at=when)
    found = verify_package(path, key)
    _require_sound(found.manifest, found.signature.files, path)
    return found.manifest, found.signature, found.digest


def _names_in(archive: Path) -> list[str]:
    names = []
    for name, chunks in read_archive(archive):
        names.append(name)
        for _ in chunks:
            pass
    return names


def _require_sound(manifest: Manifest, names: Collection[str], archive: Path) -> None:
    """Refuse to sign or publish an expert with a manifest that `xpm check` finds an error in."""
    if manifest.kind == "expert":
        from xpm_build.manifest_check import manifest_findings, require_sound

        require_sound(manifest_findings(manifest.raw, names), f"the manifest of {archive.name}")
