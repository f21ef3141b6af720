"""``xpm.toml``: what a project wants (docs/formats/project.md). The default environment has one too."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from xpm.errors import ProjectError
from xpm.files import write_atomically
from xpm.sources import Direct, FromArchive, FromIndex, base_archive, from_toml, to_toml
from xpm.toml_file import edit_toml, read_toml
from xpm_index.fields import Fields
from xpm_index.names import validate_name
from xpm_index.requirements import Requirement
from xpm_index.urls import holds_credentials
from xpm_index.versions import VersionRange

PROJECT_FILE = "xpm.toml"
DEFAULT_BASE = "xpm-tiny"
DEFAULT_VARIANT = "fp32"
EMBEDDED = "embedded"
EMBEDDED_EXPERTS = {f"expert-{name}": "*" for name in ("json", "neo4j", "python", "rust", "sql", "typescript")}
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

    ``indexes`` are in order of priority; the embedded one is always there, last. ``pinned`` names the one index that an
    expert may come from. ``overrides`` replace every requirement on a name, the experts' own too. ``direct`` are experts that
    come through no index. ``base_archive`` is a local archive that the base comes from, None if it comes from an index.
    """

    base: str = DEFAULT_BASE
    base_range: str = "*"
    base_archive: FromArchive | None = None
    variant: str = DEFAULT_VARIANT
    experts: Mapping[str, str] = field(default_factory=dict)
    indexes: Mapping[str, IndexSource] = field(default_factory=dict)
    pinned: Mapping[str, str] = field(default_factory=dict)
    overrides: Mapping[str, str] = field(default_factory=dict)
    direct: Mapping[str, Direct] = field(default_factory=dict)

    @property
    def sources(self) -> Mapping[str, Direct]:
        """What comes through no index, by name: experts, and the base."""
        return {**self.direct, self.base: self.base_archive} if self.base_archive is not None else self.direct

    @property
    def requirements(self) -> tuple[Requirement, ...]:
        wanted = {**self.experts, **dict.fromkeys(self.direct, "*")}
        return tuple(Requirement.parse(f"{name}@{text}") for name, text in wanted.items())

    def with_expert(self, name: str, wanted: str) -> "Project":
        return replace(self, experts={**self.experts, name: wanted})

    def with_direct(self, name: str, source: Direct) -> "Project":
        return replace(self.without_expert(name), direct={**self.direct, name: source})

    def with_base(
        self, name: str, *, wanted: str = "*", variant: str = "", archive: FromArchive | None = None
    ) -> "Project":
        return replace(self, base=name, base_range=wanted, variant=variant or self.variant, base_archive=archive)

    def without_expert(self, name: str) -> "Project":
        return replace(
            self,
            experts={key: value for key, value in self.experts.items() if key != name},
            pinned={key: value for key, value in self.pinned.items() if key != name},
            direct={key: value for key, value in self.direct.items() if key != name},
        )

    def edit(self, text: str) -> str:
        """The text of an xpm.toml changed so that it says this; the comments and the order that people gave it stay."""
        return edit_toml(text, self._document())

    def _document(self) -> dict[str, Any]:
        base: dict[str, Any] = {"name": self.base, "variant": self.variant}
        if self.base_range != "*":
            base["version"] = self.base_range
        if self.base_archive is not None:
            base["archive"] = self.base_archive.path.as_posix()
        document: dict[str, Any] = {"base": base, "experts": {}}
        for name, wanted in sorted(self.experts.items()):
            index = self.pinned.get(name)
            document["experts"][name] = {"version": wanted, "index": index} if index else wanted
        document["experts"] |= {name: to_toml(source) for name, source in sorted(self.direct.items())}
        if self.overrides:
            document["overrides"] = dict(sorted(self.overrides.items()))
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
        sources = {validate_name(name): from_toml(name, experts) for name in experts.raw}
        return cls(
            base=validate_name(base.text("name", required=False) or DEFAULT_BASE, what="base name"),
            base_range=_range(base, "version") if "version" in base.raw else "*",
            base_archive=base_archive(base),
            variant=base.text("variant", required=False) or DEFAULT_VARIANT,
            experts={
                name: each.requirement.range.text for name, each in sources.items() if isinstance(each, FromIndex)
            },
            indexes=_indexes(fields.object("indexes")),
            pinned={name: each.index for name, each in sources.items() if isinstance(each, FromIndex) and each.index},
            direct={name: each for name, each in sources.items() if not isinstance(each, FromIndex)},
            overrides={validate_name(name): _range(overrides, name) for name in overrides.raw},
        )


def _range(fields: Fields, key: str) -> str:
    return str(fields.parsed(key, VersionRange.parse))


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
