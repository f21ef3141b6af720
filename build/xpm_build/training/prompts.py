"""The text an expert is trained on is the text the runtime makes: the base's own chat template, with thinking off.

A base without a template gets one by the name that the manifest gives (``prompt_template``). Templates run in Jinja's sandbox.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from xpm_build.errors import TrainingError

_CHATML = (
    "{%- for m in messages -%}{{- '<|im_start|>' + m['role'] + '\\n' + m['content'] + '<|im_end|>' + '\\n' -}}{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}"
)
TEMPLATES = {
    "chatml": _CHATML,
    "qwen3": _CHATML.removesuffix("{%- endif -%}") + "{{- '<think>\\n\\n</think>\\n\\n' -}}{%- endif -%}",
    "alpaca": (
        "{%- for m in messages -%}{%- if m['role'] == 'assistant' -%}{{- m['content'] + '\\n\\n' -}}{%- else -%}"
        "{{- '### Instruction:\\n' + m['content'] + '\\n\\n### Response:\\n' -}}{%- endif -%}{%- endfor -%}"
    ),
    "llama": (
        "{%- for m in messages -%}"
        "{{- '<|start_header_id|>' + m['role'] + '<|end_header_id|>\\n\\n' + m['content'] + '<|eot_id|>' -}}"
        "{%- endfor -%}{%- if add_generation_prompt -%}{{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' -}}{%- endif -%}"
    ),
    "gemma": (
        "{%- for m in messages -%}{{- '<start_of_turn>' + ('model' if m['role'] == 'assistant' else m['role']) + '\\n' + "
        "m['content'] + '<end_of_turn>\\n' -}}{%- endfor -%}"
        "{%- if add_generation_prompt -%}{{- '<start_of_turn>model\\n' -}}{%- endif -%}"
    ),
}


def load_tokenizer(base: Path, template: str) -> Any:
    """The base's tokenizer, with a chat template.

    Raises:
        TrainingError: the base has none and the manifest names none that is known.
    """
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(base, local_files_only=True)
    if tokenizer.chat_template is None:
        if template not in TEMPLATES:
            raise TrainingError(
                f"{base} has no chat template, and prompt_template {template!r} is none of xpm's",
                hint=f"set prompt_template of the base in the manifest to one of {', '.join(TEMPLATES)}",
            )
        tokenizer.chat_template = TEMPLATES[template]
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def render(tokenizer: Any, messages: Sequence[dict[str, str]]) -> str:
    """The text of a conversation up to where the assistant's next answer begins."""
    text = tokenizer.apply_chat_template(
        list(messages), tokenize=False, add_generation_prompt=True, enable_thinking=False
    )
    return str(text)


def conversation(row: dict[str, Any]) -> list[dict[str, str]]:
    """The turns before the answer that a row teaches."""
    if "messages" in row:
        return [{"role": each["role"], "content": each["content"]} for each in row["messages"][:-1]]
    return [{"role": "user", "content": row["prompt"]}]


def end_of_turn(base: Path, tokenizer: Any) -> str:
    """What the runtime stops at, and so what an answer is taught to end with."""
    path = base / "generation_config.json"
    ids = json.loads(path.read_text()).get("eos_token_id") if path.is_file() else None
    first = ids[0] if isinstance(ids, list) and ids else ids
    return str(tokenizer.convert_ids_to_tokens(first) if isinstance(first, int) else tokenizer.eos_token)
