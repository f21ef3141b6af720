"""What an environment has installed: its locked packages, and the folders that they run from."""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from xpm.environment import Environment
from xpm.errors import NotFoundError
from xpm.lockfile import Editable, Indexed, LockedPackage, Lockfile, Made
from xpm.operations.editable import compiled_in
from xpm.operations.names import not_installed
from xpm.operations.options import Options
from xpm_index.archive import MANIFEST
from xpm_index.errors import XpmError
from xpm_index.manifest import Manifest
from xpm_index.names import spellings


@dataclass(frozen=True, slots=True, kw_only=True)
class Installed:
    """A locked package and its folder, None if it is not there yet.

    ``digest`` is that of the archive that is used here, "" of an editable package.
    """

    package: LockedPackage
    folder: Path | None
    digest: str

    def manifest(self) -> Manifest:
        return Manifest.parse((self.require_folder() / MANIFEST).read_bytes())

    def require_folder(self) -> Path:
        if self.folder is None:
            raise NotFoundError(f"{self.package.name} is locked but not in the store", hint="run `xpm sync`")
        return self.folder


def installed(environment: Environment) -> tuple[Installed, ...]:
    """The base and the experts of an environment, in composition order; () if nothing is locked."""
    return packages_of(environment, environment.lockfile())


def packages_of(environment: Environment, lock: Lockfile | None) -> tuple[Installed, ...]:
    """The same of an environment whose lock was read already."""
    return tuple(_installed(environment, lock, each) for each in lock.packages) if lock else ()


def _installed(environment: Environment, lock: Lockfile, package: LockedPackage) -> Installed:
    if isinstance(package.origin, Editable):
        folder = compiled_in((environment.folder / package.origin.source).resolve())
        return Installed(package=package, folder=folder, digest="")
    digest = lock.archive_of(package).digest
    return Installed(package=package, folder=environment.store.get(digest), digest=digest)


def find_installed(environment: Environment, name: str) -> Installed:
    return find_in(installed(environment), name)


def made_here(environment: Environment, name: str) -> Installed | None:
    """The package of that name, in either spelling, if it is one that was made here; it may be missing in the store."""
    return next(
        (
            each
            for each in installed(environment)
            if each.package.name in spellings(name) and isinstance(each.package.origin, Made)
        ),
        None,
    )


def find_in(packages: Sequence[Installed], name: str) -> Installed:
    """The package of that name, in either spelling; raises NotFoundError."""
    for each in packages:
        if each.package.name in spellings(name):
            return each
    names = [each.package.name for each in packages]
    raise not_installed(name, names, otherwise=f"install it with `xpm install {name}`")


def yanked_among(environment: Environment, packages: Sequence[Installed]) -> dict[str, str]:
    """Name → reason of what was yanked, as far as the indexes on this machine tell; nothing is fetched."""
    found = {}
    with Options(offline=True).indexes(environment, environment.project(), allow_stale=True) as indexes:
        for each in packages:
            package, origin = each.package, each.package.origin
            if not isinstance(origin, Indexed) or origin.index not in indexes.sources:
                continue
            if indexes.age(origin.index) == timedelta.max:
                continue
            with contextlib.suppress(XpmError):
                for entry in indexes.snapshot(origin.index).entries(package.name):
                    if entry.version == package.version and entry.yanked is not None:
                        found[package.name] = entry.yanked.reason
    return found
