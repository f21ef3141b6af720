"""A base's chat template: found among its files, compiled once, rendered as Transformers renders it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from xpm_runtime.errors import ModelLoadError, RequestError
from xpm_runtime.template_sandbox import Template

_FILE = "chat_template.jinja"
_SPECIAL = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
_MAX_SOURCE = 1 << 16
_LEAST_UNITS = 1 << 22
_UNITS_PER_CHARACTER = 128
_SECONDS = 5.0


class ChatTemplate:
    """``render`` may be called from several threads."""

    def __init__(self, source: str, special: Mapping[str, Any]) -> None:
        """``special`` are the texts of special tokens by their names, for the template's use.

        Raises:
            ModelLoadError: the template is malformed, or uses what is not supported.
        """
        self._special = dict(special)
        if len(source) > _MAX_SOURCE:
            raise ModelLoadError("the chat template is malformed", context=f"it has {len(source)} characters")
        try:
            self._template = Template(source, units=_LEAST_UNITS, seconds=_SECONDS)
        except Exception as error:  # Jinja's own errors, and those of Python's compiler about what Jinja made of it
            raise ModelLoadError("the chat template is malformed", context=_said(error)) from error

    @classmethod
    def read(cls, folder: Path, config: Mapping[str, Any]) -> "ChatTemplate | None":
        """The template of a base's folder, None if it has none.

        Args:
            config: the content of ``tokenizer_config.json``, whose template is used if there is no
                ``chat_template.jinja``: of several, the one named ``default``.
        """
        path = folder / _FILE
        source = path.read_text(encoding="utf-8") if path.is_file() else config.get("chat_template")
        if isinstance(source, list):
            source = {each["name"]: each["template"] for each in source}
        if isinstance(source, dict):
            source = source.get("default")
        return cls(source, _special_tokens(config)) if isinstance(source, str) else None

    def render(self, turns: Sequence[Mapping[str, str]]) -> str:
        """The text of a conversation up to where the assistant's turn begins.

        Raises:
            RequestError: the template refuses the turns, makes nothing of them, or would make too much.
        """
        size = sum(len(turn["content"]) for turn in turns)
        variables = self._special | {
            "messages": turns,
            "add_generation_prompt": True,
            "enable_thinking": False,
            "tools": None,
            "documents": None,
        }
        try:
            text = self._template.render(variables, units=_LEAST_UNITS + _UNITS_PER_CHARACTER * size, seconds=_SECONDS)
        except Exception as error:  # what an expression may raise: TypeError, RecursionError, OverflowError, …
            raise RequestError("the chat template refuses the messages", context=_said(error)) from error
        if not text:
            raise RequestError("the chat template makes nothing of the messages")
        return text


def _special_tokens(config: Mapping[str, Any]) -> dict[str, Any]:
    """The texts of special tokens, as Transformers names them for templates."""

    def text_of(token: Any) -> str:
        return str(token.get("content", "")) if isinstance(token, dict) else str(token)

    special: dict[str, Any] = {name: text_of(config[name]) for name in _SPECIAL if config.get(name)}
    if additional := config.get("additional_special_tokens"):
        special["additional_special_tokens"] = [text_of(token) for token in additional]
    return special


def _said(error: Exception) -> str:
    name = type(error).__name__
    return (str(error) if name == "TemplateError" else f"{name}: {error}")[:200]
