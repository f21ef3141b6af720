"""Index entries: one line per published version of a name, append-only.

Owns the line's form (docs/reference/formats/index-repository.md). A line says what is published, by whom, from
where and with which digest; it holds everything a resolver needs, so that no archive is fetched to resolve. The
index's metadata vouches for the bytes of an entry file; the archive's own signature, which must agree with the
line, vouches for what is installed.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from xpm_index import strict_json
from xpm_index.digests import parse_digest
from xpm_index.errors import IndexFormatError, TrustError, XpmError
from xpm_index.fields import Fields
from xpm_index.manifest import DEFAULT_LOAD_ORDER, DEFAULT_TIER, MAX_CHAIN, TIERS
from xpm_index.names import validate_name
from xpm_index.publishers import parse_time
from xpm_index.requirements import Requirement
from xpm_index.versions import Version

_DAMAGED = "the index is damaged, or somebody put there what does not belong: tell its maintainer"


@dataclass(frozen=True, slots=True, kw_only=True)
class Build:
    """For which base an expert was built; of a base, its own name and digest.

    ``variant`` is a base's quantisation, "" for an expert.
    """

    base: str
    base_digest: str
    variant: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveRef(Build):
    """One archive of a version; ``sources`` are tried in order: ``blob:<path in the index>``,
    ``https://…``, ``file://…``."""

    digest: str
    size: int
    sources: tuple[str, ...]

    @property
    def path_in_index(self) -> str | None:
        """Where the index itself holds it, None if it does not."""
        return next((each.removeprefix("blob:") for each in self.sources if each.startswith("blob:")), None)

    def to_dict(self) -> dict[str, Any]:
        return {
            "base": self.base,
            "base_digest": self.base_digest,
            "variant": self.variant,
            "digest": self.digest,
            "size": self.size,
            "sources": list(self.sources),
        }

    @classmethod
    def from_fields(cls, fields: Fields) -> "ArchiveRef":
        """Raises ``fields.error`` with the key path."""
        size = fields.integer("size")
        if size <= 0:
            raise fields.error(f"{fields.at('size')} must be positive")
        return cls(
            base=fields.parsed("base", validate_name),
            base_digest=fields.parsed("base_digest", parse_digest),
            variant=fields.text("variant", required=False),
            digest=fields.parsed("digest", parse_digest),
            size=size,
            sources=fields.strings("sources"),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Yanked:
    reason: str
    severity: str = ""
    replacement: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """What a resolver goes by: a version, what it was built for, and what it gets on with."""

    name: str
    version: Version
    kind: str
    archives: tuple[Build, ...]
    publisher: str = ""
    published_at: str = ""
    requires: tuple[Requirement, ...] = ()
    incompatible_with: tuple[Requirement, ...] = ()
    optional: tuple[Requirement, ...] = ()
    load_order: int = DEFAULT_LOAD_ORDER
    tier: str = DEFAULT_TIER
    max_chain: int = MAX_CHAIN
    yanked: Yanked | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry(Candidate):
    """A published version."""

    description: str
    key_id: str
    archives: tuple[ArchiveRef, ...]
    capabilities: tuple[str, ...] = ()
    keywords: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    quality: float | None = None

    def to_line(self) -> bytes:
        """The line in its one form, without its newline."""
        return strict_json.canonical(_to_dict(self))


def parse_entries(data: bytes, *, name: str) -> tuple[Entry, ...]:
    """Parse a ``.jsonl`` file of the name ``name``; a later line of the same version replaces the earlier (yanking).

    Returns:
        One entry per version, by rising version.
    Raises:
        IndexFormatError: a line is malformed, of another name, of another publisher than the first
            line, or changes anything of a version but that it is yanked.
    """
    if not data.endswith(b"\n"):
        raise IndexFormatError(f"the entry file of {name} is cut off", hint=_DAMAGED)
    newest: dict[Version, Entry] = {}
    owner = ""
    for number, line in enumerate(data.split(b"\n")[:-1], start=1):
        what = f"line {number} of the entry of {name}"
        try:
            document = strict_json.loads(line, what=what)
            entry = _from_dict(Fields(document, error=IndexFormatError))
        except XpmError as error:
            raise IndexFormatError(f"{what}: {error.message}", context=error.context, hint=_DAMAGED) from error
        if entry.name != name:
            raise IndexFormatError(f"{what} is of {entry.name}", hint=_DAMAGED)
        owner = owner or entry.publisher
        if entry.publisher != owner:
            raise IndexFormatError(f"{what} is by {entry.publisher}, but the name is {owner}'s", hint=_DAMAGED)
        previous = newest.get(entry.version)
        if previous and _lasting(previous) != _lasting(entry):
            raise IndexFormatError(f"{what} changes what {entry.version} is", hint="a version is published once")
        newest[entry.version] = entry
    return tuple(newest[version] for version in sorted(newest))


def newest_of(entries: Sequence[Entry]) -> Entry:
    """The newest release that is not yanked; if there is none the newest pre-release, and if all are
    yanked the newest of them.

    Args:
        entries: of one name, oldest first, at least one.
    """
    usable = [entry for entry in entries if entry.yanked is None] or entries
    return ([entry for entry in usable if not entry.version.is_prerelease] or usable)[-1]


def require_append_only(before: bytes, after: bytes | None, *, path: str) -> None:
    """Raise TrustError unless the entry file ``after`` (None if it is gone) begins with what it was before."""
    if after is None or not after.startswith(before):
        raise TrustError(
            f"the index {'removed' if after is None else 'rewrote'} what it had published",
            context=path,
            hint="ask the index's maintainer; if it is meant so, remove the index and add it again",
        )


def _lasting(entry: Entry) -> Entry:
    """What may never change of a published version."""
    return replace(entry, key_id="", published_at="", yanked=None)


def _to_dict(entry: Entry) -> dict[str, Any]:
    document: dict[str, Any] = {
        "name": entry.name,
        "version": str(entry.version),
        "kind": entry.kind,
        "description": entry.description,
        "publisher": entry.publisher,
        "key_id": entry.key_id,
        "published_at": entry.published_at,
        "load_order": entry.load_order,
        "tier": entry.tier,
        "max_chain": entry.max_chain,
        "tags": list(entry.tags),
        "capabilities": list(entry.capabilities),
        "keywords": list(entry.keywords),
        "requires": [str(each) for each in entry.requires],
        "incompatible_with": [str(each) for each in entry.incompatible_with],
        "optional": [str(each) for each in entry.optional],
        "archives": [each.to_dict() for each in entry.archives],
    }
    if entry.quality is not None:
        document["quality"] = entry.quality
    if entry.yanked:
        document["yanked"] = {
            "reason": entry.yanked.reason,
            "severity": entry.yanked.severity,
            "replacement": entry.yanked.replacement,
        }
    return document


def _from_dict(fields: Fields) -> Entry:
    kind = fields.text("kind")
    if kind not in ("expert", "base"):
        raise IndexFormatError(f"kind {kind[:40]!r} is unknown")
    tier = fields.text("tier", required=False) or DEFAULT_TIER
    if tier not in TIERS:
        raise IndexFormatError(f"tier {tier[:40]!r} is unknown", hint=f"it is one of {', '.join(TIERS)}")
    yanked = fields.object("yanked") if fields.raw.get("yanked") is not None else None
    return Entry(
        name=fields.parsed("name", validate_name),
        version=fields.parsed("version", Version.parse),
        kind=kind,
        description=fields.text("description", required=False),
        publisher=fields.parsed("publisher", validate_name),
        key_id=fields.text("key_id"),
        published_at=fields.parsed("published_at", parse_time),
        archives=tuple(ArchiveRef.from_fields(each) for each in fields.objects("archives")),
        requires=tuple(Requirement.parse(text) for text in fields.strings("requires")),
        incompatible_with=tuple(Requirement.parse(text) for text in fields.strings("incompatible_with")),
        capabilities=fields.strings("capabilities"),
        keywords=fields.strings("keywords"),
        optional=tuple(Requirement.parse(text) for text in fields.strings("optional")),
        load_order=fields.integer("load_order", default=DEFAULT_LOAD_ORDER),
        tier=tier,
        max_chain=fields.integer("max_chain", default=MAX_CHAIN),
        tags=fields.strings("tags"),
        quality=fields.number("quality", default=0.0) if fields.raw.get("quality") is not None else None,
        yanked=Yanked(
            reason=yanked.text("reason", required=False),
            severity=yanked.text("severity", required=False),
            replacement=yanked.text("replacement", required=False),
        )
        if yanked
        else None,
    )
