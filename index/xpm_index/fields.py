"""Typed access to parsed JSON with the key path in every error (``packages[3].hashes``)."""

from collections.abc import Callable
from typing import Any, TypeVar

from xpm_index.errors import ManifestError, XpmError

T = TypeVar("T")

_NAMES = {
    dict: "an object",
    list: "an array",
    str: "a string",
    int: "a whole number",
    bool: "true or false",
    float: "a number",
}


class Fields:
    """A JSON object at a key path. Absent and null mean the same: not given."""

    def __init__(self, raw: Any, path: str = "", *, error: type[XpmError] = ManifestError) -> None:
        self.path = path
        self.error = error
        if not isinstance(raw, dict):
            raise error(f"{path or 'the document'} must be an object")
        self.raw: dict[str, Any] = raw

    def at(self, key: str) -> str:
        return f"{self.path}.{key}" if self.path else key

    def _get(self, key: str, kind: type, *, required: bool) -> Any:
        value = self.raw.get(key)
        if value is None:
            if required:
                raise self.error(f"{self.at(key)} is missing", hint=f"it must be {_NAMES[kind]}")
            return None
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not (number if kind is float else isinstance(value, kind) and not (kind is int and isinstance(value, bool))):
            raise self.error(f"{self.at(key)} must be {_NAMES[kind]}", context=f"got {str(value)[:80]!r}")
        return value

    def text(self, key: str, *, required: bool = True) -> str:
        """The string at ``key``; "" if it is optional and not given."""
        value = self._get(key, str, required=required) or ""
        if required and not value:
            raise self.error(f"{self.at(key)} must not be empty")
        return str(value)

    def integer(self, key: str, *, default: int | None = None) -> int:
        value = self._get(key, int, required=default is None)
        return int(default if value is None else value)  # type: ignore[arg-type]

    def number(self, key: str, *, default: float) -> float:
        value = self._get(key, float, required=False)
        return float(default if value is None else value)

    def object(self, key: str, *, required: bool = False) -> "Fields":
        return Fields(self._get(key, dict, required=required) or {}, self.at(key), error=self.error)

    def objects(self, key: str) -> list["Fields"]:
        items = self._get(key, list, required=False) or []
        return [Fields(item, f"{self.at(key)}[{i}]", error=self.error) for i, item in enumerate(items)]

    def strings(self, key: str) -> tuple[str, ...]:
        items = self._get(key, list, required=False) or []
        for number, item in enumerate(items):
            if not isinstance(item, str):
                raise self.error(f"{self.at(key)}[{number}] must be a string", context=f"got {str(item)[:80]!r}")
        return tuple(items)

    def parsed(self, key: str, parse: Callable[[str], T]) -> T:
        """The required string at ``key`` through ``parse``, whose error is told with the key path."""
        return self._parsed(self.text(key), self.at(key), parse)

    def each_parsed(self, key: str, parse: Callable[[str], T]) -> tuple[T, ...]:
        """The strings at ``key``, each through ``parse``, as in ``parsed``."""
        return tuple(self._parsed(text, f"{self.at(key)}[{i}]", parse) for i, text in enumerate(self.strings(key)))

    def _parsed(self, text: str, path: str, parse: Callable[[str], T]) -> T:
        try:
            return parse(text)
        except XpmError as error:
            raise self.error(f"{path}: {error.message}", context=error.context, hint=error.hint) from error
