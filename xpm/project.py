"""``xpm.toml``: what a project wants (docs/formats/project.md). The default environment has one too."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from xpm.errors import ProjectError
from xpm.files import write_atomically
from xpm.toml_file import read_toml, to_toml
from xpm_index.fields import Fields
from xpm_index.git import without_credentials
from xpm_index.names import validate_name
from xpm_index.requirements import Requirement
from xpm_index.versions import VersionRange

PROJECT_FILE = "xpm.toml"
DEFAULT_BASE = "xpm-tiny"
DEFAULT_VARIANT = "fp32"
EMBEDDED = "embedded"
EMBEDDED_EXPERTS = {"expert-json": "*", "expert-sql": "*"}


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
    expert may come from. ``overrides`` replace every requirement on a name, the experts' own too.
    """

    base: str = DEFAULT_BASE
    base_range: str = "*"
    variant: str = DEFAULT_VARIANT
    experts: Mapping[str, str] = field(default_factory=dict)
    indexes: Mapping[str, IndexSource] = field(default_factory=dict)
    pinned: Mapping[str, str] = field(default_factory=dict)
    overrides: Mapping[str, str] = field(default_factory=dict)

    @property
    def requirements(self) -> tuple[Requirement, ...]:
        return tuple(Requirement.parse(f"{name}@{wanted}") for name, wanted in self.experts.items())

    def with_expert(self, name: str, wanted: str) -> "Project":
        return replace(self, experts={**self.experts, name: wanted})

    def without_expert(self, name: str) -> "Project":
        return replace(
            self,
            experts={key: value for key, value in self.experts.items() if key != name},
            pinned={key: value for key, value in self.pinned.items() if key != name},
        )

    def to_bytes(self) -> bytes:
        base: dict[str, Any] = {"name": self.base, "variant": self.variant}
        if self.base_range != "*":
            base["version"] = self.base_range
        document: dict[str, Any] = {"base": base, "experts": {}}
        for name, wanted in sorted(self.experts.items()):
            index = self.pinned.get(name)
            document["experts"][name] = {"version": wanted, "index": index} if index else wanted
        if self.overrides:
            document["overrides"] = dict(sorted(self.overrides.items()))
        if self.indexes:
            document["indexes"] = {name: _index_document(source) for name, source in self.indexes.items()}
        return to_toml(document)

    def save(self, folder: Path) -> None:
        write_atomically(folder / PROJECT_FILE, self.to_bytes())

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
        return cls(
            base=validate_name(base.text("name", required=False) or DEFAULT_BASE, what="base name"),
            base_range=_range(base, "version") if "version" in base.raw else "*",
            variant=base.text("variant", required=False) or DEFAULT_VARIANT,
            experts={validate_name(name): _wanted(experts, name) for name in experts.raw},
            indexes=_indexes(fields.object("indexes")),
            pinned={name: index for name in experts.raw if (index := _pinned_index(experts, name))},
            overrides={validate_name(name): _range(overrides, name) for name in overrides.raw},
        )


def _range(fields: Fields, key: str) -> str:
    return str(fields.parsed(key, VersionRange.parse))


def _wanted(experts: Fields, name: str) -> str:
    """The range of an expert, written as a text or as ``{version, index}``."""
    if isinstance(experts.raw[name], dict):
        return _range(experts.object(name), "version")
    return _range(experts, name)


def _pinned_index(experts: Fields, name: str) -> str:
    return experts.object(name).text("index", required=False) if isinstance(experts.raw[name], dict) else ""


def _indexes(fields: Fields) -> dict[str, IndexSource]:
    result = {}
    for name in fields.raw:
        source = fields.object(name) if isinstance(fields.raw[name], dict) else None
        url = source.text("url") if source else fields.text(name)
        if without_credentials(url) != url:
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
