"""TOML read into the same typed fields as JSON, so that errors name the key path."""

import tomllib
from pathlib import Path
from typing import Any

import tomli_w

from xpm_index.errors import XpmError
from xpm_index.fields import Fields


def read_toml(path: Path, *, error: type[XpmError]) -> Fields:
    """Parse a TOML file; raises ``error`` with line and column if it is malformed."""
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as problem:
        raise error(f"{path} is not UTF-8", context=str(problem)[:200]) from problem
    return parse_toml(text, path, error=error)


def parse_toml(text: str, path: Path, *, error: type[XpmError]) -> Fields:
    """Parse the text of the file at ``path``; raises ``error`` with line and column if it is malformed."""
    try:
        return Fields(tomllib.loads(text), error=error)
    except tomllib.TOMLDecodeError as problem:
        raise error(f"{path} is not valid TOML", context=str(problem)[:200]) from problem


def write_toml(document: dict[str, Any]) -> bytes:
    return tomli_w.dumps(document).encode()
