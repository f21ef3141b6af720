"""From a lock to the store: fetch archives, verify them, unpack them.

What only fetching needs is imported when it begins.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from xpm.environment import Environment
from xpm.errors import LockfileError, NotFoundError
from xpm.lockfile import LOCK_FILE, LockedPackage, Lockfile
from xpm.operations.options import Options
from xpm.trust import Verified, verify_archive, verify_pinned
from xpm_index.entries import ArchiveRef, Entry
from xpm_index.errors import XpmError
from xpm_index.keys import PublicKey

_IF_MOVED = (
    f"either what is there changed since it was locked, or {LOCK_FILE} was edited: look at both, then install it again"
)

if TYPE_CHECKING:
    from xpm.indexes import Indexes


def is_stored(environment: Environment, lock: Lockfile) -> bool:
    return not missing_packages(environment, lock)


def missing_packages(environment: Environment, lock: Lockfile) -> list[LockedPackage]:
    """The packages that the store does not have as they were stored; a publisher's own folder is never in it."""
    return [
        package
        for package in lock.packages
        if not package.is_editable and not environment.store.is_intact(lock.archive_of(package).digest)
    ]


def bring(
    environment: Environment, wanted: Sequence[tuple[LockedPackage, ArchiveRef]], indexes: "Indexes", options: Options
) -> list[Path]:
    """Fetch and verify archives of locked packages, then store them: the store changes only if all of them verified.

    What the store has already, altered or not, gives way.
    """
    from xpm.fetch import IF_ALTERED, Wanted, fetch_archives

    for package, ref in wanted:
        if not package.source:
            _entry_of(
                package, indexes.snapshot(package.index).entries(package.name)
            )  # before a wrong digest is fetched
        if environment.store.get(ref.digest) is not None and not environment.store.is_intact(ref.digest):
            options.progress.warn(f"{package.name} {package.version} was altered in the store and is fetched again")
    asked = [
        Wanted(
            ref=_located(environment, ref),
            what=f"{package.name} {package.version}",
            read_blob=_blobs(package, ref, indexes),
            if_altered=_IF_MOVED if package.source else IF_ALTERED,
        )
        for package, ref in wanted
    ]
    archives = fetch_archives(
        asked, environment.home.downloads, progress=options.progress, offline=options.offline, jobs=options.jobs
    )
    verified = []
    for (package, ref), archive in zip(wanted, archives, strict=True):
        try:
            verified.append(_verified(package, ref, archive, indexes))
        except XpmError:
            archive.unlink(missing_ok=True)
            raise
    folders = [environment.store.add(each, again=True) for each in verified]
    for archive in archives:
        archive.unlink(missing_ok=True)
    return folders


def _verified(package: LockedPackage, ref: ArchiveRef, archive: Path, indexes: "Indexes") -> Verified:
    """Verify a fetched archive by its index's entry, or if it came directly by the key that the lock pins."""
    if package.source:
        return verify_pinned(archive, ref, PublicKey.parse(package.public_key))
    snapshot = indexes.snapshot(package.index)
    entry = _entry_of(package, snapshot.entries(package.name))
    return verify_archive(archive, ref, entry, snapshot.key_of(entry))


def _blobs(package: LockedPackage, ref: ArchiveRef, indexes: "Indexes") -> Callable[[str], bytes | None]:
    """Reads the files of the package's index that are no larger than its archive must be."""
    if not package.index:
        return lambda path: None
    snapshot = indexes.snapshot(package.index)
    return lambda path: snapshot.read_blob(path, max_bytes=ref.size)


def _located(environment: Environment, ref: ArchiveRef) -> ArchiveRef:
    """The archive with the files of this project (``archive:dist/x.expert``) as file:// URLs."""
    sources = tuple(
        (environment.folder / each.removeprefix("archive:")).resolve().as_uri() if each.startswith("archive:") else each
        for each in ref.sources
    )
    return replace(ref, sources=sources)


def _entry_of(package: LockedPackage, entries: Sequence[Entry]) -> Entry:
    for entry in entries:
        if entry.version == package.version:
            if (entry.archives, entry.publisher, entry.key_id) != (package.archives, package.publisher, package.key_id):
                raise LockfileError(
                    f"{package.name} {package.version} in {LOCK_FILE} is not what index {package.index} has",
                    context=_differing(package, entry),
                    hint=f"{LOCK_FILE} was edited, or merged wrongly: run `xpm lock`",
                )
            return entry
    raise NotFoundError(
        f"index {package.index} has no {package.name} {package.version}", hint=f"run `xpm index update {package.index}`"
    )


def _differing(package: LockedPackage, entry: Entry) -> str:
    """What the lock and the index say differently of a version."""
    if (package.publisher, package.key_id) != (entry.publisher, entry.key_id):
        return f"the lock says {package.publisher} (key {package.key_id}), the index {entry.publisher} (key {entry.key_id})"
    for locked, published in zip(package.archives, entry.archives, strict=False):
        if locked != published:
            return f"the lock says {locked.digest} ({locked.size} bytes), the index {published.digest} ({published.size} bytes)"
    return f"the lock has {len(package.archives)} archives, the index {len(entry.archives)}"
