"""JSON read strictly and written canonically (RFC 8785)."""

import json
from typing import Any

import rfc8785

from xpm_index.errors import ManifestError

MAX_BYTES = 1 << 20
MAX_DEPTH = 32


def loads(data: bytes, *, what: str) -> Any:
    """Parse JSON, refusing what parsers disagree about.

    Args:
        data: UTF-8, at most 1 MiB, at most 32 levels deep.
        what: names the document in errors.
    Raises:
        ManifestError: not JSON, duplicate keys, NaN or Infinity, a lone surrogate, too large or too deep.
    """
    if len(data) > MAX_BYTES:
        raise ManifestError(f"{what} is larger than {MAX_BYTES} bytes", context=f"it has {len(data)} bytes")
    try:
        value = json.loads(data.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_refuse_constant)
        _check(value, 1)
    except RecursionError as error:
        raise ManifestError(f"{what} is nested deeper than {MAX_DEPTH} levels") from error
    except ValueError as error:
        raise ManifestError(f"{what} is not valid JSON", context=str(error)[:200]) from error
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
        keys = [key for key, _ in pairs]
        raise ValueError(f"duplicate key {next(key for key in keys if keys.count(key) > 1)!r}")
    return result


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
