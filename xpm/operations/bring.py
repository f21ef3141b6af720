"""From a lock to the store: fetch archives, verify them, unpack them.

What only fetching needs is imported when it begins.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from xpm.environment import Environment
from xpm.errors import NotFoundError
from xpm.lockfile import LOCK_FILE, LockedPackage, Lockfile
from xpm.operations.options import Options
from xpm.trust import Verified, verify_archive, verify_pinned
from xpm_index.entries import ArchiveRef, Entry
from xpm_index.errors import XpmError
from xpm_index.keys import PublicKey

if TYPE_CHECKING:
    from xpm.indexes import Indexes


def is_stored(environment: Environment, lock: Lockfile) -> bool:
    return not missing_packages(environment, lock)


def missing_packages(environment: Environment, lock: Lockfile) -> list[LockedPackage]:
    """The packages that the store does not have; a publisher's own folder is never in it."""
    return [
        package
        for package in lock.packages
        if not package.is_editable and environment.store.get(lock.archive_of(package).digest) is None
    ]


def bring(
    environment: Environment, wanted: Sequence[tuple[LockedPackage, ArchiveRef]], indexes: "Indexes", options: Options
) -> list[Path]:
    """Fetch and verify archives of locked packages, then store them: the store changes only if all of them verified."""
    from xpm.fetch import Wanted, fetch_archives

    asked = [
        Wanted(
            ref=_located(environment, ref), what=f"{package.name} {package.version}", read_blob=_blobs(package, indexes)
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
    folders = [environment.store.add(each) for each in verified]
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


def _blobs(package: LockedPackage, indexes: "Indexes") -> Callable[[str], bytes | None]:
    return indexes.snapshot(package.index).read_blob if package.index else lambda path: None


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
                raise NotFoundError(
                    f"{package.name} {package.version} in {LOCK_FILE} is not what index {package.index} has",
                    hint="run `xpm lock`",
                )
            return entry
    raise NotFoundError(
        f"index {package.index} has no {package.name} {package.version}", hint=f"run `xpm index update {package.index}`"
    )
