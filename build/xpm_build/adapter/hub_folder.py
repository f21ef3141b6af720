"""The model card of an adapter, as Hugging Face's hub keeps it: its head says what a machine wants to know."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from xpm_build.adapter.peft_files import ADAPTER_CONFIG
from xpm_build.errors import BuildError

README = "README.md"
_HEAD = re.compile(rb"---\r?\n")
_FRONT_MATTER = re.compile(r"---\r?\n(.*?)\r?\n---", re.DOTALL)
_LICENSE = re.compile(r"^license:[ \t]*[\"']?([A-Za-z0-9][\w.+-]{0,63})[\"']?[ \t]*\r?$", re.MULTILINE)
_MAX_CARD_BYTES = 1 << 20
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[\w.-]{1,96}")


def license_of(folder: Path) -> str:
    """What the head of the folder's model card states, "" if nothing."""
    card = folder / README
    if not card.is_file():
        return ""
    with card.open("rb") as file:
        return license_in(file.read(_MAX_CARD_BYTES))


def license_in(card: bytes) -> str:
    """What the head of a model card states, "" if nothing."""
    head = _FRONT_MATTER.match(card[:_MAX_CARD_BYTES].decode(errors="replace"))
    stated = _LICENSE.search(head[1]) if head else None
    return stated[1] if stated else ""


def model_card(files: Mapping[str, bytes], manifest: Mapping[str, Any]) -> bytes:
    """README.md with a head of YAML; one that has a head already stays as it is.

    Args:
        files: the adapter's, by name.
        manifest: the expert's; {} if it has none.
    """
    text = files.get(README, b"")
    if _HEAD.match(text):
        return text
    base = _config_of(files).get("base_model_name_or_path")
    head: dict[str, Any] = {}
    if isinstance(base, str) and _HUB_ID.fullmatch(base):
        head["base_model"] = base
    head |= {"library_name": "peft", "pipeline_tag": "text-generation"}
    if isinstance(manifest.get("license"), str) and manifest["license"]:
        head["license"] = manifest["license"].lower()
    head["tags"] = list(dict.fromkeys(["xpm", *_texts(manifest.get("capabilities")), *_texts(manifest.get("tags"))]))
    lines = [f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in head.items()]  # JSON is YAML
    if not text:
        text = f"# {manifest.get('name', 'An adapter')}\n\n{manifest.get('description', '')}\n".encode()
    return "\n".join(["---", *lines, "---", "", ""]).encode() + text


def _config_of(files: Mapping[str, bytes]) -> Mapping[str, Any]:
    """The adapter's configuration, {} where it has none of its own: of several each has one."""
    try:
        config = json.loads(files.get(ADAPTER_CONFIG, b"{}"))
    except (ValueError, RecursionError) as error:
        raise BuildError(f"{ADAPTER_CONFIG} is not valid JSON", context=str(error)[:200]) from error
    return config if isinstance(config, dict) else {}


def _texts(value: Any) -> list[str]:
    return [each for each in value if isinstance(each, str)] if isinstance(value, list) else []
