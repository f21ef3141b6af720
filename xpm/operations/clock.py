"""The present, as packages, indexes and histories write it."""

from datetime import UTC, datetime


def now() -> str:
    """RFC 3339 in UTC, whole seconds."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
