"""What of a base is about text: its tokenizer, its chat template, and the tokens that end an answer,
as the runtime takes them."""

import json
import shutil
from pathlib import Path
from typing import Any

from xpm_build.base.chat_templates import CHAT_TEMPLATE
from xpm_build.errors import BuildError
from xpm_runtime.errors import EngineError
from xpm_runtime.text import Message, TextCodec

TOKENIZER = "tokenizer.json"
GENERATION_CONFIG = "generation_config.json"
TEXT_FILES = ("config.json", GENERATION_CONFIG, TOKENIZER, "tokenizer_config.json", CHAT_TEMPLATE)


def copy_text_files(source: Path, out: Path) -> None:
    """Copy a base's files about text, the tokenizer without what a trainer set for its batches."""
    for name in TEXT_FILES:
        if (source / name).is_file():
            shutil.copyfile(source / name, out / name)
    settings = _read(out / TOKENIZER) if (out / TOKENIZER).is_file() else {}
    if batching := {key: None for key in ("truncation", "padding") if settings.get(key) is not None}:
        (out / TOKENIZER).write_text(json.dumps(settings | batching, ensure_ascii=False), encoding="utf-8")


def end_token_ids(source: Path, config: Any) -> list[int]:
    """The tokens that end an answer: those of config.json, then those that generation_config.json adds.

    Raises:
        BuildError: one is no token id.
    """
    listed = [("config.json", getattr(config, "eos_token_id", None))]
    if (source / GENERATION_CONFIG).is_file():
        listed.append((GENERATION_CONFIG, _read(source / GENERATION_CONFIG).get("eos_token_id")))
    ids: dict[int, None] = {}
    for name, value in listed:
        for each in value if isinstance(value, list) else [value] if value is not None else []:
            if not isinstance(each, int) or isinstance(each, bool) or each < 0:
                raise BuildError(f"{source / name}: eos_token_id {each!r} is not a token id")
            ids[each] = None
    return list(ids)


def has_chat_template(folder: Path) -> bool:
    """Whether a base has a chat template, by itself or as the default one of several; raises
    BuildError if it can't be read."""
    return _codec(folder).has_chat_template


def check_chat_template(folder: Path) -> None:
    """Have the base's chat template, if there is one, write a user's turn.

    Raises:
        BuildError: it can't.
    """
    codec = _codec(folder)
    if codec.has_chat_template:
        try:
            codec.encode_chat([Message("user", "Hello")])
        except EngineError as error:
            raise _refused(folder, error) from error


def _codec(folder: Path) -> TextCodec:
    try:
        return TextCodec(folder)
    except EngineError as error:
        raise _refused(folder, error) from error


def _refused(folder: Path, error: EngineError) -> BuildError:
    return BuildError(
        f"{folder}: {error.message}", context=error.context, hint="try it with Transformers: apply_chat_template"
    )


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise BuildError(f"{path} could not be read", context=str(error)[:200]) from error
    if not isinstance(content, dict):
        raise BuildError(f"{path} must hold an object")
    return content
