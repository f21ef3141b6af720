"""``xpm.toml``: what a project wants (docs/reference/formats/project.md). The default environment has one too."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from xpm.errors import ProjectError, UsageError
from xpm.files import write_atomically
from xpm.sources import Direct, FromAdapter, FromIndex, Source, base_from_toml, from_toml, to_toml
from xpm.toml_file import edit_toml, read_toml
from xpm_index.fields import Fields
from xpm_index.names import ExpertName, spellings, validate_name
from xpm_index.requirements import Requirement
from xpm_index.urls import holds_credentials
from xpm_index.versions import VersionRange

PROJECT_FILE = "xpm.toml"
DEFAULT_BASE = "xpm-tiny"
DEFAULT_VARIANT = "fp32"
EMBEDDED = "embedded"
EMBEDDED_EXPERTS = {
    name: FromIndex(requirement=Requirement.parse(name))
    for name in ("expert-json", "expert-neo4j", "expert-python", "expert-rust", "expert-sql", "expert-typescript")
}
DEFAULT_BASE_LIMITATIONS = (
    "On xpm-tiny, text beyond ASCII comes out broken: accents at times, other scripts (北京, علي) and emoji as a rule.",
)
"""What a package made for the base that comes with xpm can't do, though its manifest does not say it."""


_FINGERPRINT = re.compile(r"sha256:[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexSource:
    """Where an index is and which root it is trusted by.

    ``fingerprint`` is that of a root of it, "" if nobody has confirmed one yet. An ``explicit`` index serves only the
    experts that xpm.toml pins to it.
    """

    url: str
    fingerprint: str = ""
    explicit: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """A parsed xpm.toml.

    ``wants`` says by name where each expert comes from, and the base, unless any version of any index will do for it.
    ``indexes`` are in order of priority; the embedded one is always there, last. ``overrides`` replace every
    requirement on a name, the experts' own too.
    """

    base: str = DEFAULT_BASE
    variant: str = DEFAULT_VARIANT
    wants: Mapping[str, Source] = field(default_factory=dict)
    indexes: Mapping[str, IndexSource] = field(default_factory=dict)
    overrides: Mapping[str, VersionRange] = field(default_factory=dict)

    @property
    def base_source(self) -> Source:
        return self.wants.get(self.base) or _any_version(self.base)

    @property
    def experts(self) -> Mapping[str, Source]:
        return {name: source for name, source in self.wants.items() if name != self.base}

    @property
    def direct(self) -> Mapping[str, Direct]:
        """What comes through no index, by name: experts, and the base; without the adapters."""
        return {name: source for name, source in self.wants.items() if not isinstance(source, FromIndex | FromAdapter)}

    @property
    def adapters(self) -> Mapping[str, FromAdapter]:
        """The experts that are made here of what PEFT saved, by name."""
        return {name: source for name, source in self.wants.items() if isinstance(source, FromAdapter)}

    @property
    def requirements(self) -> tuple[Requirement, ...]:
        """What is required of the experts: what comes directly is required by its name alone."""
        return tuple(_requirement(name, source) for name, source in self.experts.items())

    @property
    def base_requirement(self) -> Requirement:
        return _requirement(self.base, self.base_source)

    def with_range(self, name: str, wanted: VersionRange) -> "Project":
        """Want a range of an expert from an index, from the one that it is bound to if it is."""
        known = self.wants.get(name)
        index = known.index if isinstance(known, FromIndex) else ""
        return self.with_expert(name, FromIndex(requirement=Requirement(ExpertName.parse(name), wanted), index=index))

    def with_expert(self, name: str, source: Source) -> "Project":
        """Raises UsageError if the base has that name."""
        if name == self.base:
            raise UsageError(
                f"{name} is the base here, not an expert", hint=f"for a version of it, `xpm base add {name}@…`"
            )
        return replace(self, wants={**self.wants, name: source})

    def with_base(self, name: str, source: Source, *, variant: str = "") -> "Project":
        wants = dict(self.experts) if source == _any_version(name) else {**self.experts, name: source}
        return replace(self, base=name, variant=variant or self.variant, wants=wants)

    def without_expert(self, name: str) -> "Project":
        """The project without an expert, whichever of its spellings is meant."""
        gone = set(spellings(name)) - {self.base}
        return replace(self, wants={key: source for key, source in self.wants.items() if key not in gone})

    def edit(self, text: str) -> str:
        """The text of an xpm.toml changed so that it says this; the comments and the order that people gave it stay."""
        return edit_toml(text, self._document())

    def _document(self) -> dict[str, Any]:
        base: dict[str, Any] = {"name": self.base, "variant": self.variant}
        match to_toml(self.base_source):
            case str(wanted) if wanted != "*":
                base["version"] = wanted
            case dict(direct):
                base |= direct
        document: dict[str, Any] = {"base": base}
        ordered = sorted(self.experts.items(), key=lambda each: (not isinstance(each[1], FromIndex), each[0]))
        document["experts"] = {name: to_toml(source) for name, source in ordered}
        if self.overrides:
            document["overrides"] = {name: str(wanted) for name, wanted in sorted(self.overrides.items())}
        if self.indexes:
            document["indexes"] = {name: _index_document(source) for name, source in self.indexes.items()}
        return document

    def save(self, folder: Path) -> None:
        path = folder / PROJECT_FILE
        write_atomically(path, self.edit(path.read_text(encoding="utf-8") if path.is_file() else "").encode())

    @classmethod
    def read(cls, folder: Path) -> "Project":
        """Read ``folder``'s xpm.toml, the defaults if there is none; raises ProjectError with the key path."""
        path = folder / PROJECT_FILE
        if not path.is_file():
            return cls()
        fields = read_toml(path, error=ProjectError)
        if unknown := set(fields.raw) - {"base", "experts", "indexes", "overrides"}:
            raise ProjectError(
                f"{path} has the unknown key {min(unknown)!r}", hint="known are base, experts, indexes and overrides"
            )
        base, experts, overrides = (fields.object(key) for key in ("base", "experts", "overrides"))
        name = validate_name(base.text("name", required=False) or DEFAULT_BASE, what="base name")
        wants = {validate_name(each): from_toml(each, experts) for each in experts.raw}
        if name in wants:
            raise ProjectError(f"experts.{name} in {path} is the base", hint="its version stands in [base]")
        project = cls(
            base=name,
            variant=base.text("variant", required=False) or DEFAULT_VARIANT,
            wants=wants,
            indexes=_indexes(fields.object("indexes")),
            overrides={validate_name(each): overrides.parsed(each, VersionRange.parse) for each in overrides.raw},
        )
        return project.with_base(name, base_from_toml(name, base))


def _any_version(name: str) -> FromIndex:
    return FromIndex(requirement=Requirement(ExpertName.parse(name)))


def _requirement(name: str, source: Source) -> Requirement:
    return source.requirement if isinstance(source, FromIndex) else Requirement(ExpertName.parse(name))


def _indexes(fields: Fields) -> dict[str, IndexSource]:
    result = {}
    for name in fields.raw:
        source = fields.object(name) if isinstance(fields.raw[name], dict) else None
        url = source.text("url") if source else fields.text(name)
        if holds_credentials(url):
            raise ProjectError(f"{fields.at(name)} holds credentials", hint="keep them in git's credential helper")
        if validate_name(name, what="index name") == EMBEDDED:
            raise ProjectError(f"{EMBEDDED} is the name of the index that comes with xpm")
        fingerprint = source.text("fingerprint", required=False) if source else ""
        if fingerprint and not _FINGERPRINT.fullmatch(fingerprint):
            raise ProjectError(f"{fields.at(name)}.fingerprint is not of the form sha256:<64 hex>")
        explicit = bool(source and source.raw.get("explicit") is True)
        result[name] = IndexSource(url=url, fingerprint=fingerprint, explicit=explicit)
    return result


def _index_document(source: IndexSource) -> dict[str, Any]:
    document: dict[str, Any] = {"url": source.url}
    if source.fingerprint:
        document["fingerprint"] = source.fingerprint
    return document | ({"explicit": True} if source.explicit else {})
