"""The maintainer's side of an index: making it, its publishers and keys, accepting what publishers
propose, keeping it fresh."""

import secrets
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from xpm.errors import NotFoundError, UsageError
from xpm.home import Home
from xpm.operations.clock import now
from xpm.operations.open_index import Opened, opened
from xpm.operations.proofs import ask_again
from xpm.operations.publish import Published, entry_of_archives, keyring, load_key, put, scanned
from xpm.operations.review import Reviewed, accept_reviews
from xpm.progress import Progress, Silent
from xpm.trust import verify_package
from xpm_index.digests import sha256_bytes
from xpm_index.entries import Entry, parse_entries
from xpm_index.errors import KeyFileError, PackagingError, TrustError
from xpm_index.git import BareRepo
from xpm_index.index_writer import IndexWriter
from xpm_index.keys import PublicKey, SigningKey
from xpm_index.layout import ENTRIES, publisher_path
from xpm_index.metadata_editor import RoleKeys
from xpm_index.names import validate_name
from xpm_index.publishers import Publisher, PublisherKey
from xpm_index.tuf_keys import Keyring
from xpm_index.verified import newest_fingerprint

MAX_BIN_BITS = 14


@dataclass(frozen=True, slots=True, kw_only=True)
class NewIndex:
    """``fingerprint`` is what the maintainer publishes for users to compare."""

    path: Path
    fingerprint: str
    made_keys: tuple[str, ...]


def init_index(
    home: Home,
    path: Path,
    name: str,
    *,
    root_keys: Sequence[str] = (),
    threshold: int = 1,
    targets_key: str = "",
    online_key: str = "",
    bin_bits: int = 4,
) -> NewIndex:
    """Make a new index repository with a fresh random id; keys that are not named are made.

    Raises:
        UsageError: ``bin_bits`` is out of range. KeyFileError: a key is missing, or the threshold can't be met.
        GitError: ``path`` is not empty.
    """
    validate_name(name, what="index name")
    if not 1 <= bin_bits <= MAX_BIN_BITS:
        raise UsageError(f"--bin-bits must be 1 to {MAX_BIN_BITS}")
    if path.exists() and any(path.iterdir()):
        raise UsageError(f"{path} is not empty", hint="name a new folder")
    made: list[str] = []

    def key(wanted: str, role: str) -> SigningKey:
        if wanted:
            return load_key(home, wanted)
        fresh = SigningKey.generate()
        fresh.save(home.keys / f"{name}-{role}.json")
        made.append(f"{name}-{role}")
        return fresh

    roots = [load_key(home, each) for each in root_keys]
    if roots and not 1 <= threshold <= len(roots):
        raise KeyFileError(f"{len(roots)} root keys can't make a threshold of {threshold}")
    roots = roots or [key("", "root")]
    targets, online = key(targets_key, "targets"), key(online_key, "online")
    roles = RoleKeys(
        root=[each.public for each in roots], targets=targets.public, online=online.public, threshold=threshold
    )
    ring = Keyring([*roots, targets, online])
    writer = IndexWriter.init(path, name=name, id=secrets.token_hex(16), roles=roles, keys=ring, bin_bits=bin_bits)
    try:
        return NewIndex(path=path, fingerprint=newest_fingerprint(writer.read), made_keys=tuple(made))
    finally:
        writer.repo.close()


def add_publisher(
    home: Home,
    index: str,
    namespace: str,
    key: PublicKey,
    *,
    contact: str = "",
    homepage: str = "",
    keys: Keyring | None = None,
    progress: Progress | None = None,
    when: str | None = None,
) -> Publisher:
    """Register a publisher with a key, or one key more for a publisher that is there; signed by the targets key."""
    validate_name(namespace, what="publisher")
    with opened(home, index, keys=keys or keyring(home), progress=progress or Silent()) as target:
        if target.writer.read(publisher_path(namespace)) is None:
            first = PublisherKey(public=key, valid_from=when or now())
            publisher = Publisher(namespace=namespace, keys=(first,), contact=contact, homepage=homepage)
        else:
            publisher = target.writer.publisher(namespace).with_key(key, valid_from=when or now())
        target.writer.put_publisher(publisher)
        return publisher


def revoke(
    home: Home,
    index: str,
    namespace: str,
    key_id: str,
    *,
    keys: Keyring | None = None,
    progress: Progress | None = None,
    when: str | None = None,
) -> Publisher:
    """Revoke a publisher's key: what it signs from ``when`` on is refused, what was published before stands."""
    with opened(home, index, keys=keys or keyring(home), progress=progress or Silent()) as target:
        publisher = target.writer.publisher(namespace).without_key(key_id, at=when or now())
        target.writer.put_publisher(publisher)
        return publisher


def rotate_key(
    home: Home,
    index: str,
    role: str,
    *,
    old: str | None,
    new: PublicKey,
    keys: Keyring | None = None,
    progress: Progress | None = None,
) -> str:
    """Replace a key of ``root``, ``targets`` or ``online``; the fingerprint of the new root."""
    with opened(home, index, keys=keys or keyring(home), progress=progress or Silent()) as target:
        target.writer.rotate_key(role, old=old, new=new)
        return newest_fingerprint(target.writer.read)


def refresh(
    home: Home, index: str, *, keys: Keyring | None = None, progress: Progress | None = None
) -> tuple[str, ...]:
    """Sign anew what would expire, at least the timestamp; the roles signed.

    Where the targets key is at hand, the domains and repositories that vouch for publishers are asked again first.
    """
    progress = progress or Silent()
    with opened(home, index, keys=keys or keyring(home), progress=progress) as target:
        if target.writer.can_put_publishers():
            ask_again(target.writer, progress)
        return target.writer.refresh()


def compact(home: Home, index: str, *, keys: Keyring | None = None, progress: Progress | None = None) -> int:
    """Drop the history of an index; clients follow because a new root, which its keys must
    sign, allows it. The epoch."""
    with opened(home, index, keys=keys or keyring(home), progress=progress or Silent()) as target:
        target.force = True
        return target.writer.compact()


def accept(
    home: Home,
    index: str,
    items: Sequence[str],
    *,
    keys: Keyring | None = None,
    progress: Progress | None = None,
    when: str | None = None,
    dry_run: bool = False,
) -> list[Published | Reviewed]:
    """Put in force what a publisher or a reviewer hands in, after verifying it; of publishers with the
    keys that the index lists.

    Args:
        items: archive files (of one version), or one branch that `xpm publish` or `xpm review` made,
            or ``git+<url>@<tag>#<path>`` of an archive in the expert's own repository, which is then
            where clients fetch it from.
    Raises:
        PackagingError: the branch proposes nothing. SignatureError, TrustError: it is not by whom it says.
    """
    from xpm.operations.handed_in import archives_of

    with opened(home, index, keys=keys or keyring(home), progress=progress or Silent()) as target:
        if not target.writer.can_add_entries():
            raise KeyFileError("the index's online key is not at hand", hint="name its file with --key")
        if len(items) == 1 and (branch := target.fetch_branch(items[0]) if _is_branch(items[0]) else None):
            if reviewed := accept_reviews(target, branch, dry_run=dry_run):
                return list(reviewed)
            return [
                put(target, entry, blobs, dry_run=dry_run)
                for entry, blobs in _proposed(home, target, branch, name=items[0])
            ]
        home.make()
        with tempfile.TemporaryDirectory(dir=home.root, prefix="accept-") as folder:
            archives, sources = archives_of(items, Path(folder), progress=progress or Silent())
            entry, blobs = entry_of_archives(target, archives, sources=sources, when=when or now())
            findings = scanned(target.writer, archives, entry.publisher)
            return [replace(put(target, entry, blobs, dry_run=dry_run), findings=findings)]


def _is_branch(item: str) -> bool:
    return not Path(item).exists() and "://" not in item and not item.endswith((".expert", ".base"))


def _proposed(home: Home, target: Opened, commit: str, *, name: str) -> list[tuple[Entry, dict[str, bytes]]]:
    """The entries that a branch adds to what is in force, with the archives that the index is to hold, verified."""
    repo, head = target.writer.repo, target.writer.head
    found = []
    for path in repo.changed_paths(head, commit, ENTRIES):
        before, after = repo.read_blob(head, path) or b"", repo.read_blob(commit, path) or b""
        known = set(before.split(b"\n"))
        lines = [line for line in after.split(b"\n") if line and line not in known]
        for line in lines:
            entry_name = path.rsplit("/", 1)[1].removesuffix(".jsonl")
            (entry,) = parse_entries(line + b"\n", name=entry_name)
            found.append((entry, _held_blobs(home, target, repo, commit, entry)))
    if not found:
        raise PackagingError(f"the branch {name} proposes nothing new")
    return found


def _held_blobs(home: Home, target: Opened, repo: BareRepo, commit: str, entry: Entry) -> dict[str, bytes]:
    """The archives that a proposed entry wants the index to hold, each verified to be what the entry says."""
    key = target.writer.publisher(entry.publisher).key(entry.key_id, at=entry.published_at)
    blobs = {}
    for ref in entry.archives:
        for source in ref.sources:
            if not source.startswith("blob:"):
                continue
            path = source.removeprefix("blob:")
            data = repo.read_blob(commit, path)
            if data is None or sha256_bytes(data) != ref.digest:
                raise TrustError(f"the branch does not hold {path} as its entry says", context=ref.digest)
            home.make()
            with tempfile.TemporaryDirectory(dir=home.root, prefix="accept-") as folder:
                archive = Path(folder) / Path(path).name
                archive.write_bytes(data)
                manifest = verify_package(archive, key).manifest
                scanned(target.writer, [archive], entry.publisher)
            if (manifest.name, manifest.version) != (entry.name, entry.version):
                raise TrustError(
                    f"{path} is {manifest.name} {manifest.version}, its entry says {entry.name} {entry.version}"
                )
            blobs[path] = data
    if not blobs and entry.yanked is None:
        raise NotFoundError(
            f"{entry.name} {entry.version} is not held by the branch",
            hint="accept it by its archive or git+ URL instead",
        )
    return blobs
