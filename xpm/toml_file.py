"""TOML read into the same typed fields as JSON, so that errors name the key path."""

import tomllib
from pathlib import Path
from typing import Any

import tomli_w

from xpm_index.errors import XpmError
from xpm_index.fields import Fields
from xpm_index.foreign import named


def read_toml(path: Path, *, error: type[XpmError]) -> Fields:
    """Parse a TOML file; raises ``error`` with line and column, or what else the file is, if it is malformed."""
    data = path.read_bytes()
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as problem:
        found = named(data)
        what, hint = (found.what, found.way_out) if found else ("is not UTF-8", "save it as UTF-8")
        raise error(f"{path} {what}", context=str(problem)[:200], hint=hint) from problem
    return parse_toml(text, path, error=error)


def parse_toml(text: str, path: Path, *, error: type[XpmError]) -> Fields:
    """Parse the text of the file at ``path``; raises ``error`` with line and column if it is malformed."""
    try:
        return Fields(tomllib.loads(text), error=error)
    except tomllib.TOMLDecodeError as problem:
        if (found := named(text.encode())) is not None:
            raise error(f"{path} {found.what}", context=str(problem)[:200], hint=found.way_out) from problem
        raise error(f"{path} is not valid TOML", context=str(problem)[:200]) from problem


def edit_toml(text: str, document: dict[str, Any]) -> str:
    """``text`` changed so that it says ``document``; comments, order and spacing of what stays are kept.

    Tables below the first level are written inline.
    """
    import tomlkit  # 30 ms that only a change of xpm.toml needs

    edited = tomlkit.parse(text)
    _edit(edited, document, depth=0)
    return tomlkit.dumps(edited)


def _edit(container: Any, wanted: dict[str, Any], *, depth: int) -> None:
    for key in [key for key in container if key not in wanted]:
        del container[key]
    for key, value in wanted.items():
        present = container.get(key)
        if isinstance(value, dict) and isinstance(present, dict):
            _edit(present, value, depth=depth + 1)
        elif present != value:
            container[key] = _item(value, depth)


def _item(value: Any, depth: int) -> Any:
    if not isinstance(value, dict):
        return value
    import tomlkit

    table: Any = tomlkit.inline_table() if depth else tomlkit.table()
    for key, inner in value.items():
        table[key] = _item(inner, depth + 1)
    return table


def write_toml(document: dict[str, Any]) -> bytes:
    return tomli_w.dumps(document).encode()
