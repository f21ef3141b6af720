"""The text an expert is trained on is the text the runtime makes: the base's own chat template, with thinking off.

Templates run in Jinja's sandbox.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from xpm_build.errors import TrainingError
from xpm_build.rows import is_chat

ANSWER_TOKENS = 256
"""How long an answer may become while an expert is judged, unless ``decoding.max_tokens`` says otherwise."""


def load_tokenizer(base: Path) -> Any:
    """The base's tokenizer.

    Raises:
        TrainingError: the base has no chat template.
    """
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(base, local_files_only=True)
    if tokenizer.chat_template is None:
        raise TrainingError(
            f"{base} has no chat template, so nothing says how a prompt is written",
            hint="give the base one: `xpm build base FOLDER --name NAME --template chatml`, then train on NAME",
        )
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    tokenizer.backend_tokenizer.post_processor = None  # which would add special tokens to those of the template
    return tokenizer


def render(tokenizer: Any, messages: Sequence[dict[str, str]]) -> str:
    """The text of a conversation up to where the assistant's next answer begins."""
    text = tokenizer.apply_chat_template(
        list(messages), tokenize=False, add_generation_prompt=True, enable_thinking=False
    )
    return str(text)


def begin_of_answer(tokenizer: Any) -> str:
    """What the chat template writes between a user's turn and the answer, "" if that can't be told; without blanks at
    its end, which may become one token with what follows."""
    asked = [{"role": "user", "content": "a"}]
    before = str(tokenizer.apply_chat_template(asked, tokenize=False, add_generation_prompt=False))
    text = render(tokenizer, asked)
    return text[len(before) :].rstrip() if text.startswith(before) else ""


def conversation(row: dict[str, Any]) -> list[dict[str, str]]:
    """The turns before the answer that a row teaches."""
    if is_chat(row):
        return [{"role": each["role"], "content": each["content"]} for each in row["messages"][:-1]]
    return [{"role": "user", "content": row["prompt"]}]


def end_of_turn(base: Path, tokenizer: Any) -> str:
    """What the runtime stops at, and so what an answer is taught to end with."""
    path = base / "generation_config.json"
    ids = json.loads(path.read_text()).get("eos_token_id") if path.is_file() else None
    first = ids[0] if isinstance(ids, list) and ids else ids
    return str(tokenizer.convert_ids_to_tokens(first) if isinstance(first, int) else tokenizer.eos_token)
