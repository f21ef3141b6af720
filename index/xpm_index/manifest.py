"""The manifest of a package: a lossless document with typed views on what xpm reads.

Owns the meaning of manifest fields (docs/reference/formats/expert.md). Unknown keys, comments and key order are
kept. Schema 1.0 (one ``base_model``) and 2.0 (``base_models``) read alike. Invariant: a packaged manifest's
bytes equal ``to_bytes()``.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from xpm_index import strict_json
from xpm_index.errors import InvalidName, ManifestError, XpmError
from xpm_index.fields import Fields
from xpm_index.names import validate_name
from xpm_index.requirements import Requirement
from xpm_index.versions import Version

DEFAULT_LOAD_ORDER = 5
MAX_CHAIN = 10
TIERS = ("format", "language", "tech", "domain", "task")
DEFAULT_TIER = "domain"
_HEX = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseRef:
    """A base an expert was made for. ``digest`` is None if the manifest leaves it unspecified (empty)."""

    name: str
    digest: str | None
    prompt_template: str
    adapter_types: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Routing:
    keywords: tuple[str, ...]
    exclude_keywords: tuple[str, ...]
    router_hint: str
    priority: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SoftPrompt:
    name: str
    path: str
    num_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseInfo:
    """What a base package says of itself."""

    digest: str
    variant: str
    architecture: str


class Manifest:
    """A parsed manifest. Construction validates; the raw document is never altered."""

    def __init__(self, raw: dict[str, Any]) -> None:
        self.raw = raw
        fields = Fields(raw)
        self.kind = fields.text("kind", required=False) or "expert"
        if self.kind not in ("expert", "base"):
            raise ManifestError(f"kind {self.kind!r} is unknown", hint='it is "expert" or "base"')
        self.name = fields.parsed("name", validate_name)
        self.version = fields.parsed("version", Version.parse)
        self.schema_version = _schema_version(fields)
        self.description = fields.text("description", required=False)
        self.license = fields.text("license", required=False)
        self.author = fields.text("author", required=False)
        self.capabilities = fields.strings("capabilities")
        self.tags = fields.strings("tags")
        self.bases = _bases(fields) if self.kind == "expert" else ()
        self.base = _base_info(fields) if self.kind == "base" else None
        constraints = fields.object("constraints")
        self.load_order = _bounded(constraints, "load_order", DEFAULT_LOAD_ORDER, 1, 10)
        self.max_chain = _bounded(constraints, "max_chain", MAX_CHAIN, 1, 10)
        self.requires = _requirements(constraints, "requires") + _dependencies(fields, optional=False)
        self.optional = _requirements(constraints, "optional") + _dependencies(fields, optional=True)
        self.tier = _tier(fields)
        self.incompatible_with = _requirements(constraints, "incompatible_with")
        routing = fields.object("routing")
        self.routing = Routing(
            keywords=routing.strings("keywords"),
            exclude_keywords=routing.strings("exclude_keywords"),
            router_hint=routing.text("router_hint", required=False),
            priority=routing.number("priority", default=0.5),
        )
        self.soft_prompts = tuple(_soft_prompt(each) for each in fields.objects("soft_prompts"))
        self.decoding = _decoding(fields)
        self.quality_metrics: dict[str, Any] = fields.object("quality_metrics").raw
        self.integrity: dict[str, Any] | None = fields.object("integrity").raw or None

    @classmethod
    def parse(cls, data: bytes) -> "Manifest":
        """Parse manifest.json; raises ManifestError with the key path. Of a comment (``_…``) that
        is repeated the last stays."""
        raw = strict_json.loads(data, what="manifest.json", comments=True)
        if not isinstance(raw, dict):
            raise ManifestError("manifest.json must hold an object")
        return cls(raw)

    def to_bytes(self) -> bytes:
        """The one serialisation a package may hold: two spaces of indent, key order kept, UTF-8, final newline."""
        return (json.dumps(self.raw, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()

    def with_values(self, **replacements: Any) -> "Manifest":
        """A copy with top-level keys replaced or added; a value of None removes the key."""
        merged = {**self.raw, **replacements}
        return Manifest({key: value for key, value in merged.items() if not (key in replacements and value is None)})


def _schema_version(fields: Fields) -> str:
    stated = fields.text("schema_version", required=False)
    if stated not in ("", "1.0", "2.0"):
        raise ManifestError(f"schema_version {stated[:40]!r} is unknown", hint='it is "1.0" or "2.0"')
    return stated or ("1.0" if fields.raw.get("base_model") is not None else "2.0")


def _soft_prompt(fields: Fields) -> SoftPrompt:
    return SoftPrompt(
        name=fields.text("name"),
        path=fields.text("path"),
        num_tokens=fields.integer("tokens", default=fields.integer("length", default=0)),
    )


def _bases(fields: Fields) -> tuple[BaseRef, ...]:
    single, several = fields.raw.get("base_model"), fields.raw.get("base_models")
    if (single is None) == (several is None):
        problem = (
            "both base_model and base_models are given"
            if single is not None
            else "neither base_model nor base_models is given"
        )
        raise ManifestError(problem, hint="schema 2.0 has base_models (an array), schema 1.0 base_model")
    if single is not None:
        return (_base(fields.object("base_model"), fields.objects("adapters")),)
    bases = tuple(_base(each, each.objects("adapters")) for each in fields.objects("base_models"))
    if not bases:
        raise ManifestError("base_models must name at least one base")
    return bases


def _base(fields: Fields, adapters: list[Fields]) -> BaseRef:
    digest = fields.text("sha256", required=False).removeprefix("sha256:").lower()
    if digest and not _HEX.fullmatch(digest):
        raise ManifestError(f"{fields.at('sha256')} must be 64 hex digits or empty", context=f"got {digest[:80]!r}")
    return BaseRef(
        name=base_name(fields.text("name")),
        digest=f"sha256:{digest}" if digest else None,
        prompt_template=fields.text("prompt_template", required=False) or "chatml",
        adapter_types=tuple(adapter.text("type", required=False) for adapter in adapters),
    )


def base_name(text: str) -> str:
    """The base a manifest means: the last component of a path or repository id, in the form names have.

    ``F:/models/Qwen3-0.6B`` and ``Qwen/Qwen3-0.6B`` are both ``qwen3-0-6b``.
    """
    last = re.split(r"[\\/]", text.rstrip("\\/"))[-1]
    slug = re.sub(r"[^a-z0-9]+", "-", last.lower()).strip("-")
    try:
        return validate_name(slug, what="base name")
    except InvalidName as error:
        raise ManifestError(f"{text[:80]!r} does not name a base") from error


def _base_info(fields: Fields) -> BaseInfo:
    base = fields.object("base", required=True)
    digest = base.text("digest")
    if not digest.startswith("sha256:") or not _HEX.fullmatch(digest[7:]):
        raise ManifestError(f"{base.at('digest')} must be sha256:<64 hex>", context=f"got {digest[:80]!r}")
    return BaseInfo(digest=digest, variant=base.text("variant"), architecture=base.text("architecture"))


def _bounded(fields: Fields, key: str, default: int, low: int, high: int) -> int:
    value = fields.integer(key, default=default)
    if not low <= value <= high:
        raise ManifestError(f"{fields.at(key)} must be {low} to {high}", context=f"got {value}")
    return value


def _requirements(fields: Fields, key: str) -> tuple[Requirement, ...]:
    result = []
    for number, text in enumerate(fields.strings(key)):
        try:
            result.append(Requirement.parse(text))
        except XpmError as error:
            raise ManifestError(
                f"{fields.at(key)}[{number}]: {error.message}", hint="write e.g. expert-sql@>=1.0,<2"
            ) from error
    return tuple(result)


def _dependencies(fields: Fields, *, optional: bool) -> tuple[Requirement, ...]:
    """The top-level ``dependencies`` of the older documents, the optional or the other ones."""
    result = []
    for each in fields.objects("dependencies"):
        if (each.raw.get("optional") is True) is not optional:
            continue
        version = each.text("version", required=False)

        def parse(name: str, version: str = version) -> Requirement:
            return Requirement.parse(f"{name}@{version}")

        result.append(each.parsed("name", parse))
    return tuple(result)


def _tier(fields: Fields) -> str:
    """``constraints.tier``, else the first tag that names one."""
    stated = fields.object("constraints").text("tier", required=False)
    if stated and stated not in TIERS:
        raise ManifestError(f"constraints.tier {stated[:40]!r} is unknown", hint=f"it is one of {', '.join(TIERS)}")
    return stated or next((tag for tag in fields.strings("tags") if tag in TIERS), DEFAULT_TIER)


def _decoding(fields: Fields) -> Mapping[str, Any]:
    """``decoding``, or where the older documents keep it, ``training.decoding``."""
    return fields.object("decoding").raw or fields.object("training").object("decoding").raw
