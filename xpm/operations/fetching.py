"""From a lock to the store: fetch archives, unpack and verify them, give them their place.

What only fetching needs is imported when it begins.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from xpm.environment import Environment
from xpm.errors import LockfileError, NotFoundError, unwritable
from xpm.lockfile import LOCK_FILE, Indexed, LockedPackage, Lockfile, Pinned
from xpm.operations.models import is_made, make_again
from xpm.operations.options import Options
from xpm.trust import Verified, verify_archive, verify_pinned
from xpm_index.entries import ArchiveRef, Entry
from xpm_index.errors import XpmError

if TYPE_CHECKING:
    from xpm.indexes import Indexes

_IF_MOVED = (
    f"either what is there changed since it was locked, or {LOCK_FILE} was edited: look at both, then install it again"
)


Archive = tuple[LockedPackage, ArchiveRef]
"""A package and which of its archives."""


def missing(environment: Environment, lock: Lockfile) -> list[Archive]:
    """What a lock names and the store does not have as it was stored."""
    return [(package, ref) for package, ref in lock.stored if not environment.store.is_intact(ref.digest)]


def fetch_and_store(
    environment: Environment,
    wanted: Sequence[Archive],
    indexes: "Indexes",
    options: Options,
    *,
    base: Archive | None = None,
) -> list[Path]:
    """Fetch archives of locked packages, unpack and verify them, then store them: they are stored only if all verified.

    What is made here is made and stored by itself: bases first, experts when the archives are there. What the store has
    already, altered or not, gives way.

    Args:
        base: what experts are made for; needed where some are wanted that are made here.
    Returns:
        The folders in the store: of bases that were made, of archives, of experts that were made.
    """
    from xpm.fetch import IF_ALTERED, Wanted, fetch_archives

    if not wanted:
        return []
    for package, ref in wanted:
        if isinstance(package.origin, Indexed):
            _entry_of(package, package.origin, indexes)  # before a wrong digest is fetched
        if environment.store.get(ref.digest) is not None and not environment.store.is_intact(ref.digest):
            options.progress.warn(f"{package} was altered in the store and is fetched again")
    made = [(package, ref) for package, ref in wanted if is_made(package)]
    folders = [make_again(environment, package, ref, options) for package, ref in made if package.kind == "base"]
    wanted = [(package, ref) for package, ref in wanted if not is_made(package)]
    asked = [
        Wanted(
            ref=_located(environment, package, ref, indexes),
            what=str(package),
            read_blob=_reader(package, ref, indexes),
            if_altered=IF_ALTERED if isinstance(package.origin, Indexed) else _IF_MOVED,
        )
        for package, ref in wanted
    ]
    archives = fetch_archives(
        asked, environment.home.downloads, progress=options.progress, offline=options.offline, jobs=options.jobs
    )
    with environment.store.scratch() as scratch:
        verified = [
            _verified(package, ref, archive, indexes, scratch)
            for (package, ref), archive in zip(wanted, archives, strict=True)
        ]
        folders += [environment.store.add(each) for each in verified]
    for archive in archives:
        archive.unlink(missing_ok=True)
    experts = [(package, ref) for package, ref in made if package.kind != "base"]
    return folders + _made_again(environment, experts, indexes, options, base)


def _made_again(
    environment: Environment, experts: Sequence[Archive], indexes: "Indexes", options: Options, base: Archive | None
) -> list[Path]:
    """Experts of adapters, made again and stored."""
    if not experts:
        return []
    from xpm.operations import adapters

    assert base is not None, "experts are made for a base"
    target = adapters.Target(environment=environment, package=base[0], ref=base[1], indexes=indexes, options=options)
    return [adapters.make_again(target, *each) for each in experts]


def _reader(package: LockedPackage, ref: ArchiveRef, indexes: "Indexes") -> Callable[[str], bytes | None]:
    """Reads the files of the package's index that are no larger than its archive must be."""
    if not isinstance(package.origin, Indexed):
        return lambda path: None
    snapshot = indexes.snapshot(package.origin.index)
    return lambda path: snapshot.read_blob(path, max_bytes=ref.size)


def _verified(package: LockedPackage, ref: ArchiveRef, archive: Path, indexes: "Indexes", scratch: Path) -> Verified:
    """Unpack an archive and verify it by its index's entry, or by the key that the lock pins;
    what is refused is removed."""
    try:
        match package.origin:
            case Pinned(key=key):
                return verify_pinned(archive, ref, key, scratch=scratch)
            case Indexed() as origin:
                entry = _entry_of(package, origin, indexes)
                return verify_archive(
                    archive, ref, entry, indexes.snapshot(origin.index).key_of(entry), scratch=scratch
                )
        raise LockfileError(f"{package} is used where it lies, and never stored")
    except XpmError:
        archive.unlink(missing_ok=True)
        raise
    except OSError as error:
        raise unwritable(f"{package.name} could not be stored", error) from error


def _located(environment: Environment, package: LockedPackage, ref: ArchiveRef, indexes: "Indexes") -> ArchiveRef:
    """The archive with the files of this project (``archive:dist/x.expert``) and of a sparse index as URLs."""
    if isinstance(package.origin, Indexed):
        return indexes.located(package.origin.index, ref)
    sources = tuple(
        (environment.folder / each.removeprefix("archive:")).resolve().as_uri() if each.startswith("archive:") else each
        for each in ref.sources
    )
    return replace(ref, sources=sources)


def _entry_of(package: LockedPackage, origin: Indexed, indexes: "Indexes") -> Entry:
    """The entry of a locked package; raises LockfileError if the lock says otherwise of it."""
    for entry in indexes.snapshot(origin.index).entries(package.name):
        if entry.version == package.version:
            if (differing := _differing(origin, entry)) is not None:
                raise LockfileError(
                    f"{package} in {LOCK_FILE} is not what index {origin.index} has",
                    context=differing,
                    hint=f"{LOCK_FILE} was edited, or merged wrongly: run `xpm lock`",
                )
            return entry
    raise NotFoundError(f"index {origin.index} has no {package}", hint=f"run `xpm index update {origin.index}`")


def _differing(locked: Indexed, entry: Entry) -> str | None:
    """What the lock and the index say differently of a version, None if nothing."""
    if (locked.publisher, locked.key_id) != (entry.publisher, entry.key_id):
        return (
            f"the lock says {locked.publisher} (key {locked.key_id}), the index {entry.publisher} (key {entry.key_id})"
        )
    for ours, theirs in zip(locked.archives, entry.archives, strict=False):
        if ours != theirs:
            return f"the lock says {ours.digest} ({ours.size} bytes), the index {theirs.digest} ({theirs.size} bytes)"
    if len(locked.archives) != len(entry.archives):
        return f"the lock has {len(locked.archives)} archives, the index {len(entry.archives)}"
    return None
