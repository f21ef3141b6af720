"""``xpm.lock``: what was resolved, so that every machine gets the same bytes (docs/formats/lockfile.md).

Holds no credentials, no path of a machine and no time; the same resolution always gives the same bytes.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xpm.errors import LockfileError
from xpm.files import write_atomically
from xpm.project import Project
from xpm.toml_file import parse_toml, read_toml, write_toml
from xpm_index.digests import parse_digest
from xpm_index.entries import ArchiveRef
from xpm_index.fields import Fields
from xpm_index.names import validate_name
from xpm_index.versions import Version

LOCK_FILE = "xpm.lock"
FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class LockedIndex:
    """An index and the state that was resolved against: its commit, and the version of its TUF snapshot."""

    name: str
    id: str
    head: str
    snapshot: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class LockedPackage:
    """One version with all its archives (every base, every variant), so that another machine may need another one.

    What came directly, not through an index, has a ``source`` and the ``public_key`` that it is pinned to, and no ``index``.
    """

    name: str
    version: Version
    kind: str
    index: str
    publisher: str
    key_id: str
    load_order: int
    requires: tuple[str, ...]
    archives: tuple[ArchiveRef, ...]
    source: str = ""
    public_key: str = ""

    @property
    def is_editable(self) -> bool:
        """Whether it is a publisher's own folder, ``source``, used where it lies."""
        return bool(self.source) and not self.public_key


@dataclass(frozen=True, slots=True, kw_only=True)
class Lockfile:
    """``experts`` are in composition order. ``requirements`` are xpm.toml's when it was made: a difference means out of date."""

    requirements: tuple[str, ...]
    variant: str
    indexes: tuple[LockedIndex, ...]
    base: LockedPackage
    experts: tuple[LockedPackage, ...]

    @property
    def base_digest(self) -> str:
        return self.base.archives[0].base_digest

    @property
    def packages(self) -> tuple[LockedPackage, ...]:
        return (self.base, *self.experts)

    def archive_of(self, package: LockedPackage) -> ArchiveRef:
        """The archive that this lock's base and variant need of a package."""
        variant = self.variant if package.kind == "base" else ""
        for ref in package.archives:
            if ref.base_digest == self.base_digest and ref.variant == variant:
                return ref
        raise LockfileError(f"{LOCK_FILE} has no archive of {package.name} for this base", hint="run `xpm lock`")

    def to_bytes(self) -> bytes:
        document: dict[str, Any] = {
            "format": FORMAT,
            "requirements": list(self.requirements),
            "variant": self.variant,
            "index": [
                {"name": each.name, "id": each.id, "head": each.head, "snapshot": each.snapshot}
                for each in self.indexes
            ],
            "base": _to_dict(self.base),
            "expert": [_to_dict(each) for each in self.experts],
        }
        return b"# Written by xpm; do not edit. Commit it with xpm.toml.\n" + write_toml(document)

    def save(self, folder: Path) -> None:
        write_atomically(folder / LOCK_FILE, self.to_bytes())

    @classmethod
    def read(cls, folder: Path) -> "Lockfile | None":
        """Read ``folder``'s xpm.lock, None if there is none; raises LockfileError with the key path."""
        path = folder / LOCK_FILE
        if not path.is_file():
            return None
        return cls._from_fields(read_toml(path, error=LockfileError), path)

    @classmethod
    def parse(cls, text: str, path: Path) -> "Lockfile":
        """Parse a lockfile's text; ``path`` is for errors."""
        return cls._from_fields(parse_toml(text, path, error=LockfileError), path)

    @classmethod
    def _from_fields(cls, fields: Fields, path: Path) -> "Lockfile":
        if (found := fields.integer("format")) != FORMAT:
            raise LockfileError(f"{path} has format {found}", hint=f"this xpm reads format {FORMAT}: update xpm")
        return cls(
            requirements=fields.strings("requirements"),
            variant=fields.text("variant"),
            indexes=tuple(
                LockedIndex(
                    name=each.text("name"),
                    id=each.text("id"),
                    head=each.text("head"),
                    snapshot=each.integer("snapshot", default=0),
                )
                for each in fields.objects("index")
            ),
            base=_from_dict(fields.object("base", required=True)),
            experts=tuple(_from_dict(each) for each in fields.objects("expert")),
        )


def stated_requirements(project: Project) -> tuple[str, ...]:
    """The project's wishes as the lock records them, to tell whether it is out of date."""
    base = f"{project.base}@{project.base_archive or project.base_range}"
    direct = [f"{name}@{source}" for name, source in project.direct.items()]
    return (base, *sorted([*(f"{name}@{wanted}" for name, wanted in project.experts.items()), *direct]))


def require_current(lock: Lockfile, project: Project) -> None:
    """Raise LockfileError if the lock was made for other wishes than xpm.toml's."""
    if lock.requirements != stated_requirements(project) or lock.variant != project.variant:
        raise LockfileError(f"{LOCK_FILE} does not agree with xpm.toml", hint="run `xpm lock` and commit both")


def _to_dict(package: LockedPackage) -> dict[str, Any]:
    direct = {"source": package.source, "public_key": package.public_key} if package.source else {}
    return direct | {
        "name": package.name,
        "version": str(package.version),
        "kind": package.kind,
        "index": package.index,
        "publisher": package.publisher,
        "key_id": package.key_id,
        "load_order": package.load_order,
        "requires": list(package.requires),
        "archive": [
            {
                "base": ref.base,
                "base_digest": ref.base_digest,
                "variant": ref.variant,
                "digest": ref.digest,
                "size": ref.size,
                "sources": list(ref.sources),
            }
            for ref in package.archives
        ],
    }


def _from_dict(fields: Fields) -> LockedPackage:
    archives = tuple(
        ArchiveRef(
            base=each.parsed("base", validate_name),
            base_digest=each.parsed("base_digest", parse_digest),
            variant=each.text("variant", required=False),
            digest=each.parsed("digest", parse_digest),
            size=each.integer("size"),
            sources=each.strings("sources"),
        )
        for each in fields.objects("archive")
    )
    if not archives:
        raise LockfileError(f"{fields.at('archive')} must hold at least one archive")
    return LockedPackage(
        name=fields.parsed("name", validate_name),
        version=fields.parsed("version", Version.parse),
        kind=fields.text("kind"),
        index=fields.text("index", required=False),
        publisher=fields.text("publisher"),
        key_id=fields.text("key_id", required=False),
        load_order=fields.integer("load_order"),
        requires=fields.strings("requires"),
        archives=archives,
        source=fields.text("source", required=False),
        public_key=fields.text("public_key", required=False),
    )
