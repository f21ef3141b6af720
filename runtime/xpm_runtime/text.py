"""Text in and out: the tokenizer, the chat template, and text that grows token by token."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import jinja2
from jinja2.sandbox import ImmutableSandboxedEnvironment
from tokenizers import Tokenizer
from tokenizers.decoders import DecodeStream

from xpm_runtime.errors import ModelLoadError, RequestError


@dataclass(frozen=True, slots=True)
class Message:
    role: Literal["system", "user", "assistant"]
    content: str


_SPECIAL = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")


class TextCodec:
    """A base's tokenizer and chat template, read from its folder.

    The template alone decides which special tokens a prompt has, and where: it is given their texts, as Transformers gives them.
    """

    def __init__(self, folder: Path) -> None:
        try:
            self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
            config = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
        except Exception as error:  # tokenizers raises bare Exception
            raise ModelLoadError(f"the tokenizer in {folder} could not be loaded", context=str(error)[:200]) from error
        template_file = folder / "chat_template.jinja"
        source = template_file.read_text(encoding="utf-8") if template_file.is_file() else config.get("chat_template")
        self._template = _compile(source) if isinstance(source, str) else None
        named = {name: config[name] for name in _SPECIAL if config.get(name)}
        self._special = {
            name: each.get("content", "") if isinstance(each, dict) else each for name, each in named.items()
        }

    def encode(self, text: str) -> list[int]:
        return list(self.tokenizer.encode(text, add_special_tokens=False).ids)

    def encode_chat(self, messages: Sequence[Message]) -> list[int]:
        """Token ids of a conversation up to where the assistant's turn begins.

        Raises:
            RequestError: the base has no chat template, or the template refuses the messages.
        """
        if self._template is None:
            raise RequestError("the base has no chat template", hint="pass token ids instead of text")
        turns = [{"role": message.role, "content": message.content} for message in messages]
        try:
            text = self._template.render(
                **self._special, messages=turns, add_generation_prompt=True, enable_thinking=False, tools=None
            )
        except jinja2.TemplateError as error:
            raise RequestError("the chat template refuses the messages", context=str(error)[:200]) from error
        return self.encode(text)


def _compile(source: str) -> jinja2.Template:
    def refuse(message: str) -> Any:
        raise jinja2.TemplateError(message)

    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    environment.globals["raise_exception"] = refuse
    environment.filters["tojson"] = lambda value, **options: json.dumps(value, ensure_ascii=False, **options)
    try:
        return environment.from_string(source)
    except jinja2.TemplateError as error:
        raise ModelLoadError("the chat template is malformed", context=str(error)[:200]) from error


class GrowingText:
    """The text of one sequence as its tokens come, cut at the first stop string.

    Invariant: what ``take`` has handed out is never taken back. So an unfinished UTF-8 character, and an ending that may be
    the beginning of a stop string, are held back.
    """

    def __init__(self, codec: TextCodec, stop: Sequence[str]) -> None:
        self._tokenizer = codec.tokenizer
        self._stream = DecodeStream(skip_special_tokens=True)
        self._stop = tuple(stop)
        self._num_taken = 0
        self.text = ""
        self.is_stopped = False

    def append(self, token_id: int) -> None:
        piece = self._stream.step(self._tokenizer, token_id)
        if not piece:
            return
        self.text += piece
        found = [place for place in (self.text.find(stop, self._num_taken) for stop in self._stop) if place >= 0]
        if found:
            self.text = self.text[: min(found)]
            self.is_stopped = True

    def take(self, *, final: bool) -> str:
        """The text that is certain and was not taken yet; all of it if ``final``."""
        end = len(self.text) if final or self.is_stopped else len(self.text) - self._num_doubtful()
        piece = self.text[self._num_taken : end]
        self._num_taken = max(self._num_taken, end)
        return piece

    def _num_doubtful(self) -> int:
        """The length of the longest ending that begins a stop string."""
        longest = max((len(stop) for stop in self._stop), default=1) - 1
        endings = range(min(longest, len(self.text) - self._num_taken), 0, -1)
        return next((n for n in endings if any(stop.startswith(self.text[-n:]) for stop in self._stop)), 0)
