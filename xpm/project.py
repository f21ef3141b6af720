"""``xpm.toml``: what a project wants (docs/formats/project.md). The default environment has one too."""

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """A parsed xpm.toml. ``indexes`` are in order of priority; the embedded one is always there, last."""

    base: str = DEFAULT_BASE
    base_range: str = "*"
    variant: str = DEFAULT_VARIANT
    experts: Mapping[str, str] = field(default_factory=dict)
    indexes: Mapping[str, str] = field(default_factory=dict)

    @property
    def requirements(self) -> tuple[Requirement, ...]:
        return tuple(Requirement.parse(f"{name}@{wanted}") for name, wanted in self.experts.items())

    def with_expert(self, name: str, wanted: str) -> "Project":
        return replace(self, experts={**self.experts, name: wanted})

    def without_expert(self, name: str) -> "Project":
        return replace(self, experts={key: value for key, value in self.experts.items() if key != name})

    def to_bytes(self) -> bytes:
        base: dict[str, Any] = {"name": self.base, "variant": self.variant}
        if self.base_range != "*":
            base["version"] = self.base_range
        document: dict[str, Any] = {"base": base, "experts": dict(sorted(self.experts.items()))}
        if self.indexes:
            document["indexes"] = dict(self.indexes)
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
        if unknown := set(fields.raw) - {"base", "experts", "indexes"}:
            raise ProjectError(
                f"{path} has the unknown key {min(unknown)!r}", hint="known are base, experts and indexes"
            )
        base = fields.object("base")
        return cls(
            base=validate_name(base.text("name", required=False) or DEFAULT_BASE, what="base name"),
            base_range=_range(base, "version") if "version" in base.raw else "*",
            variant=base.text("variant", required=False) or DEFAULT_VARIANT,
            experts=_experts(fields.object("experts")),
            indexes=_indexes(fields.object("indexes")),
        )


def _range(fields: Fields, key: str) -> str:
    return str(fields.parsed(key, VersionRange.parse))


def _experts(fields: Fields) -> dict[str, str]:
    return {validate_name(name): _range(fields, name) for name in fields.raw}


def _indexes(fields: Fields) -> dict[str, str]:
    result = {}
    for name in fields.raw:
        url = fields.text(name)
        if without_credentials(url) != url:
            raise ProjectError(f"{fields.at(name)} holds credentials", hint="keep them in git's credential helper")
        if validate_name(name, what="index name") == EMBEDDED:
            raise ProjectError(f"{EMBEDDED} is the name of the index that comes with xpm")
        result[name] = url
    return result
