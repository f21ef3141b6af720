"""``xpm.lock``: what was resolved, so that every machine gets the same bytes (docs/reference/formats/lockfile.md).

Holds no credentials, no path of a machine and no time; the same resolution always gives the same bytes.
"""

from dataclasses import dataclass
from itertools import starmap
from pathlib import Path
from typing import Any

from xpm.errors import LockfileError
from xpm.files import write_atomically
from xpm.project import Project
from xpm.sources import FromIndex, Source
from xpm.toml_file import parse_toml, read_toml, write_toml
from xpm_index.digests import parse_digest
from xpm_index.entries import ArchiveRef, Candidate, Entry
from xpm_index.fields import Fields
from xpm_index.keys import PublicKey
from xpm_index.names import validate_name
from xpm_index.requirements import Requirement
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
class Indexed:
    """From an index, which vouches for the publisher's key."""

    index: str
    publisher: str
    key_id: str
    archives: tuple[ArchiveRef, ...]

    @classmethod
    def of(cls, index: str, entry: Entry) -> "Indexed":
        return cls(index=index, publisher=entry.publisher, key_id=entry.key_id, archives=entry.archives)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pinned:
    """From a source of its own, by this key and no other; ``source`` is written as on a command line."""

    source: str
    publisher: str
    key: PublicKey
    archives: tuple[ArchiveRef, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Editable:
    """A publisher's own folder, used where it lies: it may change, nobody signed it, and the store never has it."""

    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """What is made here, and signed by nobody: of what, by which version of the tool, and what comes of it.

    A base of a model, or an expert of an adapter for the one base of its ``archives``. ``made_of`` is the digest of the
    source's files; ``revision`` the commit of a hub's, "" of local files.
    """

    source: str
    revision: str
    made_of: str
    tool: str
    archives: tuple[ArchiveRef, ...]


Origin = Indexed | Pinned | Editable | Made


@dataclass(frozen=True, slots=True, kw_only=True)
class LockedPackage:
    """One version and where it comes from, with all its archives, so that another machine may need another one."""

    name: str
    version: Version
    kind: str
    load_order: int
    requires: tuple[Requirement, ...]
    origin: Origin

    @classmethod
    def of(cls, chosen: Candidate, origin: Origin) -> "LockedPackage":
        return cls(
            name=chosen.name,
            version=chosen.version,
            kind=chosen.kind,
            load_order=chosen.load_order,
            requires=chosen.requires,
            origin=origin,
        )

    @property
    def archives(self) -> tuple[ArchiveRef, ...]:
        """One for every base and variant; () of an editable package."""
        return () if isinstance(self.origin, Editable) else self.origin.archives

    def __str__(self) -> str:
        return f"{self.name} {self.version}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Lockfile:
    """``experts`` are in composition order. ``requirements`` are xpm.toml's when it was made: a
    difference means out of date."""

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

    @property
    def stored(self) -> tuple[tuple[LockedPackage, ArchiveRef], ...]:
        """What belongs into the store, each with the archive that is needed here."""
        packages = [each for each in self.packages if not isinstance(each.origin, Editable)]
        return tuple((each, self.archive_of(each)) for each in packages)

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
        base = _from_dict(fields.object("base", required=True))
        if not base.archives:
            raise LockfileError(f"base of {path} has no archive", hint="only an expert can be editable: run `xpm lock`")
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
            base=base,
            experts=tuple(_from_dict(each) for each in fields.objects("expert")),
        )


def stated_requirements(project: Project) -> tuple[str, ...]:
    """The project's wishes as the lock records them, to tell whether it is out of date."""
    return _stated(project.base, project.base_source), *sorted(starmap(_stated, project.experts.items()))


def _stated(name: str, source: Source) -> str:
    return f"{name}@{source.requirement.range if isinstance(source, FromIndex) else source}"


def require_current(lock: Lockfile, project: Project) -> None:
    """Raise LockfileError if the lock was made for other wishes than xpm.toml's."""
    if lock.requirements != stated_requirements(project) or lock.variant != project.variant:
        raise LockfileError(f"{LOCK_FILE} does not agree with xpm.toml", hint="run `xpm lock` and commit both")


def _to_dict(package: LockedPackage) -> dict[str, Any]:
    document: dict[str, Any] = {"name": package.name, "version": str(package.version), "kind": package.kind}
    ending: dict[str, Any] = {"load_order": package.load_order, "requires": [str(each) for each in package.requires]}
    match package.origin:
        case Indexed(index=index, publisher=publisher, key_id=key_id, archives=archives):
            document |= {"index": index, "publisher": publisher, "key_id": key_id}
        case Pinned(source=source, publisher=publisher, key=key, archives=archives):
            document = {"source": source, "public_key": key.text} | document
            document |= {"index": "", "publisher": publisher, "key_id": key.key_id}
        case Editable(source=source):
            return {"source": source} | document | ending
        case Made(source=source, revision=revision, made_of=made_of, tool=tool, archives=archives):
            made = {"source": source, "signed": False, "made_of": made_of, "revision": revision, "tool": tool}
            document = made | document
    return document | ending | {"archive": [each.to_dict() for each in archives]}


def _from_dict(fields: Fields) -> LockedPackage:
    return LockedPackage(
        name=fields.parsed("name", validate_name),
        version=fields.parsed("version", Version.parse),
        kind=fields.text("kind"),
        load_order=fields.integer("load_order"),
        requires=fields.each_parsed("requires", Requirement.parse),
        origin=_origin(fields),
    )


def _origin(fields: Fields) -> Origin:
    """With a key it is pinned to it, made here if it says of what, with a source alone editable;
    older locks say more of that."""
    source, is_pinned = fields.text("source", required=False), bool(fields.text("public_key", required=False))
    is_made = "made_of" in fields.raw
    if source and not is_pinned and not is_made:
        return Editable(source=source)
    archives = tuple(ArchiveRef.from_fields(each) for each in fields.objects("archive"))
    if not archives:
        raise LockfileError(f"{fields.at('archive')} must hold at least one archive")
    if is_made:
        return Made(
            source=source,
            revision=fields.text("revision", required=False),
            made_of=fields.parsed("made_of", parse_digest),
            tool=fields.text("tool"),
            archives=archives,
        )
    publisher = fields.text("publisher")
    if is_pinned:
        key = fields.parsed("public_key", PublicKey.parse)
        return Pinned(source=fields.text("source"), publisher=publisher, key=key, archives=archives)
    key_id, index = fields.text("key_id", required=False), fields.text("index", required=False)
    return Indexed(index=index, publisher=publisher, key_id=key_id, archives=archives)
