"""How a published version is shown."""

from typing import Any

from xpm_index.entries import Entry
from xpm_index.versions import Version


def marked(version: Version, is_yanked: bool) -> str:
    return f"{version} (yanked)" if is_yanked else str(version)


def entry_document(entry: Entry) -> dict[str, Any]:
    return {
        "name": entry.name,
        "version": str(entry.version),
        "kind": entry.kind,
        "description": entry.description,
        "publisher": entry.publisher,
        "published_at": entry.published_at,
        "yanked": entry.yanked.reason if entry.yanked else None,
        "requires": [str(each) for each in entry.requires],
        "capabilities": list(entry.capabilities),
        "archives": [
            {"base": a.base, "variant": a.variant, "digest": a.digest, "size": a.size} for a in entry.archives
        ],
    }
