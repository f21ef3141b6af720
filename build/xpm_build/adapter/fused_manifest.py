"""What an expert that was fused of others says of itself: what its parts say together, and what it was made of."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from xpm_index.manifest import Manifest
from xpm_index.requirements import Requirement

_MAX_NAME = 64
_GRAMMAR = ("use_grammar", "grammar_type", "grammar_file")  # of one part alone: answers of another would not fit


def joined_name(parts: Sequence[Manifest]) -> str:
    """expert-json and expert-sql are expert-json-sql."""
    return ("expert-" + "-".join(each.name.removeprefix("expert-") for each in parts))[:_MAX_NAME].rstrip("-")


def fused_manifest(
    name: str, version: str, parts: Sequence[Manifest], *, base_digest: str, fusion: Mapping[str, Any]
) -> Manifest:
    """The manifest of the fused expert.

    Args:
        parts: in the order of their names.
        fusion: how it was made, which is stated under that key.
    """
    document: dict[str, Any] = {
        "schema_version": "2.0",
        "kind": "expert",
        "name": name,
        "version": version,
        "description": f"{', '.join(each.name for each in parts[:-1])} and {parts[-1].name} as one expert",
        "license": _license([each.license for each in parts]),
        "capabilities": _union(each.capabilities for each in parts),
        "tags": _union(each.tags for each in parts),
        "base_models": [{"name": parts[0].bases[0].name, "sha256": base_digest.removeprefix("sha256:")}],
        "routing": _routing(parts),
        "constraints": _constraints(parts),
        "decoding": _decoding(parts),
        "limitations": [f"{each.name}: {text}" for each in parts for text in each.raw.get("limitations") or []],
        "fusion": dict(fusion),
    }
    return Manifest({key: value for key, value in document.items() if value or key in ("description", "fusion")})


def _routing(parts: Sequence[Manifest]) -> dict[str, Any]:
    """Any part's keywords, and what every part excludes."""
    keywords = _union(each.routing.keywords for each in parts)
    excluded = set.intersection(*(set(each.routing.exclude_keywords) for each in parts)) - set(keywords)
    return {"keywords": keywords, "exclude_keywords": sorted(excluded)} if keywords else {}


def _constraints(parts: Sequence[Manifest]) -> dict[str, Any]:
    """What any part requires or can't be with, but for each other."""
    names = {each.name for each in parts}

    def others(of: Iterable[Sequence[Requirement]]) -> list[str]:
        return list(dict.fromkeys(str(each) for listed in of for each in listed if each.name.name not in names))

    found = {
        "requires": others(each.requires for each in parts),
        "incompatible_with": others(each.incompatible_with for each in parts),
    }
    return {key: value for key, value in found.items() if value}


def _decoding(parts: Sequence[Manifest]) -> dict[str, Any]:
    """What all parts state alike, and the longest of their answers."""
    stated = [each.decoding for each in parts]
    shared = {
        key: value
        for key, value in stated[0].items()
        if key not in _GRAMMAR and all(each.get(key) == value for each in stated)
    }
    longest = [each["max_tokens"] for each in stated if isinstance(each.get("max_tokens"), int)]
    return {**shared, "max_tokens": max(longest)} if longest else shared


def _union(lists: Iterable[Sequence[str]]) -> list[str]:
    return list(dict.fromkeys(each for listed in lists for each in listed))


def _license(stated: Sequence[str]) -> str:
    """All that hold, as one SPDX expression; "" if a part states none, for then nobody may pass it on."""
    if not all(stated):
        return ""
    return " AND ".join(f"({each})" if re.search(r"\sOR\s", each) else each for each in dict.fromkeys(stated))
