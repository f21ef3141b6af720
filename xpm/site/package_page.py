"""What the page of one expert or base says: its entries, and of the newest version the manifest and
README that the index holds."""

from collections.abc import Sequence
from typing import Any

from xpm.site.catalogue import Catalogue, Package, texts_of
from xpm.site.figures import circles_of, claims_of, flattened
from xpm.site.graph import graph_of
from xpm.site.markdown import MAX_CHARS, examples_in
from xpm_index.entries import ArchiveRef, Entry, newest_of
from xpm_index.manifest import Manifest
from xpm_index.provenance import Provenance
from xpm_index.requirements import Requirement
from xpm_index.reviews import rating_of

_PROVENANCE = ("author", "training", "build", "source", "perf")
_MAX_ROWS, _MAX_TEXT, _MAX_NAMES, _MAX_REVIEWS = 80, 500, 200, 50


def package_document(catalogue: Catalogue, package: Package, *, card: dict[str, Any]) -> dict[str, Any]:
    """Everything that a package's page shows.

    Args:
        card: what listings show of it.
    Raises:
        XpmError: its entries can't be read.
    """
    entries = catalogue.snapshot.entries(package.name)
    newest = newest_of(entries)
    texts = texts_of(catalogue.snapshot, newest)
    dependents = catalogue.dependents.get(package.name, ())
    return {
        **card,
        "description": newest.description,
        "key_id": newest.key_id,
        "keywords": list(newest.keywords),
        "tags": list(newest.tags),
        "load_order": newest.load_order,
        "tier": newest.tier,
        "install": f"xpm {'install' if package.kind == 'expert' else 'base add'} {package.name}",
        "archives": [_archive(catalogue, each) for each in newest.archives],
        "triable_on": [each.base_digest for each in triable(newest)],
        "versions": [_version(each) for each in reversed(entries)],
        "requires": [_requirement(catalogue, each) for each in newest.requires],
        "optional": [_requirement(catalogue, each) for each in newest.optional],
        "incompatible_with": [_requirement(catalogue, each) for each in newest.incompatible_with],
        "dependents": [{"name": each, "kind": catalogue.packages[each].kind} for each in dependents[:_MAX_NAMES]],
        "num_dependents": len(dependents),
        "graph": graph_of(catalogue, package.name).to_dict(),
        "compare": catalogue.alike(package.name) if package.kind == "expert" else [],
        "keys": _keys(catalogue, package.publisher, entries),
        **_reviews(catalogue, package.name),
        "manifest_held": texts.manifest is not None,
        **_stated(texts.manifest, texts.provenance),
        "examples": [each.to_dict() for each in examples_in(texts.readme)],
        "readme": texts.readme[:MAX_CHARS],
    }


def triable(entry: Entry) -> list[ArchiveRef]:
    """The archives by which an expert can be tried on its own: the index holds them, and it
    requires no other expert."""
    if entry.kind != "expert" or entry.requires or entry.yanked:
        return []
    return [each for each in entry.archives if each.path_in_index]


def _stated(manifest: Manifest | None, provenance: Provenance | None) -> dict[str, Any]:
    """What the manifest and the provenance say beyond the entry."""
    raw = manifest.raw if manifest else {}
    metrics = manifest.quality_metrics if manifest else {}
    stated = raw.get("limitations")
    limitations = [
        str(each.get("description", "") if isinstance(each, dict) else each)[:_MAX_TEXT]
        for each in (stated if isinstance(stated, list) else ())
    ]
    told = [*(provenance.rows() if provenance else ())]
    told += [row for part in _PROVENANCE if part in raw for row in flattened(raw[part], part)]
    return {
        "license": (manifest.license if manifest else "")[:_MAX_TEXT],
        "circles": [each.to_dict() for each in circles_of(metrics)],
        "claims": claims_of(metrics),
        "limitations": limitations[:_MAX_ROWS],
        "built": provenance.told() if provenance else "",
        "provenance": [{"key": key[:_MAX_TEXT], "value": value[:_MAX_TEXT]} for key, value in told[:_MAX_ROWS]],
        "signed_at": str((manifest.integrity or {}).get("created_at", ""))[:_MAX_TEXT] if manifest else "",
    }


def _archive(catalogue: Catalogue, ref: ArchiveRef) -> dict[str, Any]:
    return {
        "base": ref.base,
        "base_here": (found := catalogue.packages.get(ref.base)) is not None and found.kind == "base",
        "variant": ref.variant,
        "size": ref.size,
        "digest": ref.digest,
        "file": next((each.rsplit("/", 1)[-1] for each in ref.sources), ""),
        "sources": list(ref.sources),
    }


def _version(entry: Entry) -> dict[str, Any]:
    yanked = entry.yanked
    return {
        "version": str(entry.version),
        "published_at": entry.published_at,
        "key_id": entry.key_id,
        "size": max((each.size for each in entry.archives), default=0),
        "yanked": {"reason": yanked.reason, "severity": yanked.severity, "replacement": yanked.replacement}
        if yanked
        else None,
    }


def _requirement(catalogue: Catalogue, requirement: Requirement) -> dict[str, Any]:
    """``name`` and ``kind`` are those of the package that is meant, the kind None if the index has none."""
    found = catalogue.find(requirement.name.name)
    return {
        "text": str(requirement),
        "name": found.name if found else requirement.name.name,
        "kind": found.kind if found else None,
    }


def _reviews(catalogue: Catalogue, name: str) -> dict[str, Any]:
    """The rating, and the reviews, the latest first."""
    files = catalogue.snapshot.reviews(name)
    rating = rating_of(files)
    reviews = [
        {
            "key_id": file.key.key_id,
            "version": str(each.version),
            "stars": each.stars,
            "text": each.text,
            "written_at": each.written_at,
            "used_with": list(each.used_with),
        }
        for file in files
        for each in file.reviews
    ]
    removed = [
        {"key_id": file.key.key_id, "version": str(each.version), "reason": each.reason, "at": each.removed_at}
        for file in files
        for each in file.removed
    ]
    reviews.sort(key=lambda each: (each["written_at"], each["key_id"]), reverse=True)
    return {
        "rating": rating.to_dict() if rating else None,
        "reviews": reviews[:_MAX_REVIEWS],
        "removed_reviews": removed[:_MAX_REVIEWS],
    }


def _keys(catalogue: Catalogue, publisher: str, entries: Sequence[Entry]) -> list[dict[str, Any]]:
    """The publisher's keys with when they may sign, and the versions that each signed."""
    found = catalogue.publishers.get(publisher)
    return [
        {
            "key_id": each.public.key_id,
            "public": each.public.text,
            "valid_from": each.valid_from,
            "valid_until": each.valid_until,
            "revoked_at": each.revoked_at,
            "versions": [str(entry.version) for entry in entries if entry.key_id == each.public.key_id],
        }
        for each in (found.keys if found else ())
    ]
