"""Text in and out: the tokenizer, and text that grows token by token."""

import json
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

from tokenizers import Tokenizer

from xpm_runtime.chat_template import ChatTemplate
from xpm_runtime.errors import CapacityError, ConstraintError, EngineError, ModelLoadError, RequestError
from xpm_runtime.vocabulary import token_writer

SHORTER = "shorten the prompt, or load the base with a larger context"
_UNKNOWN = "\ufffd"
_MARKS = range(0xE000, 0xF8FF)


@dataclass(frozen=True, slots=True)
class Message:
    role: Literal["system", "user", "assistant"]
    content: str


class TextCodec:
    """A base's tokenizer and chat template, read from its folder.

    The template alone decides which special tokens a prompt has, and where: what reads like one in a message is text.
    """

    def __init__(self, folder: Path) -> None:
        with _wrapped(f"the tokenizer in {folder} could not be loaded", ModelLoadError):
            self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
            # What a trainer set for its batches stays in the file, and is not meant for prompts.
            self.tokenizer.no_truncation()
            self.tokenizer.no_padding()
            config = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
            self._template = ChatTemplate.read(folder, config)
            added = self.tokenizer.get_added_tokens_decoder()
        special = [each.content for each in added.values() if each.special and each.content]
        self._added = frozenset(added)
        self._special_ids = {number for number, each in added.items() if each.special}
        self._special_start = re.compile(f"(?={'|'.join(map(re.escape, special)) or '(?!)'})(.)", re.DOTALL)

    @property
    def has_chat_template(self) -> bool:
        return self._template is not None

    def bytes_of(self, token: int) -> bytes:
        """What a token writes; of a special one its name."""
        name = self.tokenizer.id_to_token(token) or ""
        if self._write is None:
            return str(self.tokenizer.decode([token], skip_special_tokens=False)).encode()
        return name.encode() if token in self._added else self._write(name)

    @cached_property
    def _write(self) -> Callable[[str], bytes] | None:
        try:
            return token_writer(self.tokenizer.decoder)
        except ConstraintError:  # an unusual decoder
            return None

    def encode(self, text: str) -> list[int]:
        """Ids of a text in which special tokens may stand.

        Raises:
            RequestError: it can't be encoded.
        """
        with _wrapped("the text can't be encoded", RequestError):
            text.encode("utf-8")  # tokenizers says of a lone surrogate only that it is no text
            return list(self.tokenizer.encode(text, add_special_tokens=False).ids)

    def count_as_text(self, text: str) -> int:
        """Tokens of a text within a message, where what reads like a special token is none.

        Raises:
            RequestError: it can't be encoded.
        """
        turns = [{"content": text}]
        mark = self._mark_special(turns)
        return len(self._encode_marked(turns[0]["content"], mark) if mark else self.encode(text))

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids, special tokens too."""
        with _wrapped("the tokens can't be decoded", RequestError):
            return str(self.tokenizer.decode(list(ids), skip_special_tokens=False))

    def encode_chat(
        self, messages: Sequence[Message], *, max_tokens: int | None = None, allow_special: bool = False
    ) -> list[int]:
        """Token ids of a conversation up to where the assistant's turn begins.

        Args:
            max_tokens: what it may come to; a text that can't be so few is refused before it is encoded.
            allow_special: whether what reads like a special token in a message is one.
        Raises:
            RequestError: the base has no chat template, the template refuses the messages, or they are no text.
            CapacityError: the text is too long.
        """
        if self._template is None:
            raise RequestError("the base has no chat template", hint="pass token ids instead of text")
        self._check_size(sum(map(_checked_size, messages)), max_tokens)
        turns = [{"role": message.role, "content": message.content} for message in messages]
        mark = "" if allow_special else self._mark_special(turns)
        text = self._template.render(turns)
        self._check_size(len(text), max_tokens)
        return self._encode_marked(text, mark) if mark else self.encode(text)

    def _check_size(self, size: int, max_tokens: int | None) -> None:
        """Raise CapacityError if so many characters can't be so few tokens."""
        if max_tokens is not None and size > max_tokens and size > max_tokens * self._longest_token:
            raise CapacityError(f"the prompt has {size} characters, a lane holds {max_tokens} tokens", hint=SHORTER)

    @cached_property
    def _longest_token(self) -> int:
        """Characters of the longest token as the vocabulary writes it, which are not fewer than
        those that it stands for."""
        return max(map(len, self.tokenizer.get_vocab()), default=1)

    def _mark_special(self, turns: list[dict[str, str]]) -> str:
        """Put a character that occurs nowhere else after the first one of what reads like a special
        token; "" if nothing does."""
        texts = [text for turn in turns for text in turn.values()]
        if not any(self._special_start.search(text) for text in texts):
            return ""
        used = {character for text in texts for character in text}
        mark = next(chr(number) for number in _MARKS if chr(number) not in used)
        for turn in turns:
            for key, text in turn.items():
                turn[key] = self._special_start.sub(rf"\1{mark}", text)
        return mark

    def _encode_marked(self, text: str, mark: str) -> list[int]:
        """Ids of a text in which marked special tokens are text, and the others special tokens."""
        ids: list[int] = []
        for number, part in enumerate(re.split(f"(.{mark})", text, flags=re.DOTALL)):
            ids += self.encode(part.replace(mark, "")) if number % 2 == 0 else self._encode_plain(part[0])
        return ids

    def _encode_plain(self, text: str) -> list[int]:
        ids = self.encode(text)
        if self._special_ids.intersection(ids):
            raise RequestError(
                f"the prompt has the special token {text!r}, which can't be written as text",
                hint="take it out, or ask for it: allow_special=True",
            )
        return ids


def _checked_size(message: Message) -> int:
    """The characters of a message; raises RequestError if its parts are no texts."""
    if not isinstance(message.content, str) or not isinstance(message.role, str):
        raise RequestError("a message's role and content are text", context=f"got {type(message.content).__name__}")
    return len(message.content)


@contextmanager
def _wrapped(message: str, kind: type[EngineError]) -> Iterator[None]:
    """Raise what tokenizers raises, bare exceptions and panics of its own, as ``kind``."""
    try:
        yield
    except EngineError:
        raise
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        raise kind(message, context=f"{type(error).__name__}: {error}"[:200]) from error


class GrowingText:
    """The text of one sequence as its tokens come, cut at the first stop string.

    Invariant: what ``take`` has handed out is never taken back. So an unfinished UTF-8 character, and an ending
    that may be the beginning of a stop string, are held back, until ``take(final=True)`` or ``finish`` says
    that nothing comes any more.
    """

    def __init__(self, codec: TextCodec, stop: Sequence[str], before: Sequence[int] = ()) -> None:
        """
        Args:
            before: tokens that the text follows, which are not part of it.
        """
        self._tokenizer = codec.tokenizer
        self.bytes_of = codec.bytes_of
        self._stop = tuple(stop)
        self._num_taken = 0
        # The tokens of the last piece of text, which a decoder may look back at, and those that came after it.
        self._context: list[int] = list(before)
        self._pending: list[int] = []
        self.text = ""
        self.is_stopped = False

    def copy(self) -> "GrowingText":
        """Another text with the same beginning."""
        other = copy(self)
        other._pending = [*self._pending]
        return other

    def append(self, token_id: int) -> None:
        self._pending.append(token_id)
        piece = self._decode_pending()
        if piece and not piece.endswith(_UNKNOWN):
            self._add(piece)

    def finish(self) -> str:
        """The whole text; a character that was left unfinished becomes U+FFFD."""
        if self._pending and not self.is_stopped and (piece := self._decode_pending()):
            self._add(piece)
        return self.text

    def take(self, *, final: bool) -> str:
        """The text that is certain and was not taken yet; all of it if ``final``."""
        if final:
            self.finish()
        end = len(self.text) if final or self.is_stopped else len(self.text) - self._num_doubtful()
        piece = self.text[self._num_taken : end]
        self._num_taken = max(self._num_taken, end)
        return piece

    def _decode_pending(self) -> str:
        """The text of what is pending.

        A decoder of byte tokens decodes each run of them as one, and makes every byte of it U+FFFD if it is not UTF-8,
        also of what was handed out before. What is pending begins a run of its own then.
        """
        known, whole = self._decode(self._context), self._decode(self._context + self._pending)
        return whole[len(known) :] if whole.startswith(known) else self._decode(self._pending)

    def _decode(self, ids: list[int]) -> str:
        with _wrapped("the tokens can't be decoded", RequestError):
            return str(self._tokenizer.decode(ids, skip_special_tokens=True)) if ids else ""

    def _add(self, piece: str) -> None:
        self._context, self._pending = self._pending, []
        self.text += piece
        found = [place for place in (self.text.find(stop, self._num_taken) for stop in self._stop) if place >= 0]
        if found:
            self.text = self.text[: min(found)]
            self.is_stopped = True

    def _num_doubtful(self) -> int:
        """The length of the longest ending that begins a stop string."""
        longest = max((len(stop) for stop in self._stop), default=1) - 1
        endings = range(min(longest, len(self.text) - self._num_taken), 0, -1)
        return next((n for n in endings if any(stop.startswith(self.text[-n:]) for stop in self._stop)), 0)
