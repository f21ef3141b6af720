"""Where things are in an index repository."""

import hashlib

INDEX_JSON = "index.json"
ENTRIES = "entries"
PUBLISHERS = "publishers"
ARCHIVES = "archives"
METADATA = "metadata"
REVIEWS = "reviews"


def entry_path(name: str) -> str:
    """``entries/<first two hex of sha256(name)>/<name>.jsonl``: no folder grows with the index."""
    return f"{ENTRIES}/{hashlib.sha256(name.encode()).hexdigest()[:2]}/{name}.jsonl"


def publisher_path(namespace: str) -> str:
    return f"{PUBLISHERS}/{namespace}.json"


def archive_path(name: str, filename: str) -> str:
    """Where an archive lies if the index itself holds it."""
    return f"{ARCHIVES}/{name}/{filename}"


def review_path(name: str, key_id: str) -> str:
    """Where the reviews of a package by one key lie."""
    return f"{REVIEWS}/{name}/{key_id}.json"


def metadata_path(role: str, version: int | None = None) -> str:
    """Where a role's metadata lies; only roots keep their earlier versions."""
    return f"{METADATA}/{role}.json" if version is None else f"{METADATA}/{version}.{role}.json"
