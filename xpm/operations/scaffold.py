"""A new expert's folder: what a publisher starts from."""

import json
from pathlib import Path

from xpm.errors import UsageError
from xpm.files import write_atomically
from xpm_index.names import validate_name

_README = """# {name}

What it does, in one sentence.

## Use

    xpm install {name}
    xpm run --expert {name} "…"

## What it can't do

State it here and under `limitations` in manifest.json.
"""
_ATTRIBUTES = "*.safetensors filter=lfs diff=lfs merge=lfs -text\n*.expert filter=lfs diff=lfs merge=lfs -text\n"


def new_expert(folder: Path, *, base: str, license: str) -> list[Path]:
    """Scaffold a folder named like its expert; the files made.

    Raises:
        UsageError: the folder is not empty. InvalidName: its name is no name for an expert.
    """
    name = validate_name(folder.resolve().name)
    validate_name(base, what="base name")
    if folder.exists() and any(folder.iterdir()):
        raise UsageError(f"{folder} is not empty", hint="name a new folder")
    manifest = {
        "schema_version": "2.0",
        "name": name,
        "version": "0.1.0",
        "description": "",
        "license": license,
        "base_models": [{"name": base}],
        "capabilities": [],
        "tags": [],
        "routing": {"keywords": []},
        "constraints": {"load_order": 5, "requires": [], "incompatible_with": []},
        "limitations": [],
    }
    files = {
        "manifest.json": json.dumps(manifest, indent=2, ensure_ascii=False) + "\n",
        "README.md": _README.format(name=name),
        ".gitattributes": _ATTRIBUTES,
        ".gitignore": ".xpm/\n",
    }
    for path, text in files.items():
        write_atomically(folder / path, text.encode())
    return [folder / path for path in files]
