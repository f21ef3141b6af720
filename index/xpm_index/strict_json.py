"""JSON read strictly and written canonically (RFC 8785)."""

import json
from typing import Any

import rfc8785

from xpm_index.errors import ManifestError
from xpm_index.foreign import named

MAX_BYTES = 1 << 20
MAX_DEPTH = 32
COMMENT = "_"


def loads(data: bytes, *, what: str, comments: bool = False) -> Any:
    """Parse JSON, refusing what parsers disagree about.

    Args:
        data: UTF-8, at most 1 MiB, at most 32 levels deep.
        what: names the document in errors.
        comments: let keys that begin with ``_`` be repeated in an object, as people write several comments.
    Raises:
        ManifestError: not JSON, duplicate keys, NaN or Infinity, a lone surrogate, too large or too deep.
    """
    if len(data) > MAX_BYTES:
        raise ManifestError(f"{what} is larger than {MAX_BYTES} bytes", context=f"it has {len(data)} bytes")
    try:
        value = json.loads(
            data.decode("utf-8"),
            object_pairs_hook=_unique_but_comments if comments else _unique,
            parse_constant=_refuse_constant,
        )
        _check(value, 1)
    except RecursionError as error:
        raise ManifestError(f"{what} is nested deeper than {MAX_DEPTH} levels") from error
    except ValueError as error:
        reason = str(error)[:200]
        if (found := named(data)) is not None:
            raise ManifestError(f"{what} {found.what}", context=reason, hint=found.way_out) from error
        raise ManifestError(f"{what} is not valid JSON", context=reason) from error
    return value


def canonical(value: Any) -> bytes:
    """RFC 8785 bytes of ``value``; raises ManifestError for what it can't express (an integer over 2**53)."""
    try:
        return rfc8785.dumps(value)
    except (rfc8785.CanonicalizationError, ValueError) as error:
        raise ManifestError("a value cannot be written as canonical JSON", context=str(error)[:200]) from error


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError(f"duplicate key {_first_repeated(pairs)!r}")
    return result


def _unique_but_comments(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Of a comment that is repeated the last stays."""
    repeated = _first_repeated([pair for pair in pairs if not pair[0].startswith(COMMENT)])
    if repeated is not None:
        raise ValueError(f"duplicate key {repeated!r}")
    return dict(pairs)


def _first_repeated(pairs: list[tuple[str, Any]]) -> str | None:
    seen: set[str] = set()
    for key, _ in pairs:
        if key in seen:
            return key
        seen.add(key)
    return None


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _check(value: Any, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise ValueError(f"nested deeper than {MAX_DEPTH} levels")
    if isinstance(value, dict):
        for key, each in value.items():
            key.encode("utf-8")
            _check(each, depth + 1)
    elif isinstance(value, list):
        for each in value:
            _check(each, depth + 1)
    elif isinstance(value, str):
        value.encode("utf-8")
    elif isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        raise ValueError("a number is out of range")
