"""What each token of a tokenizer writes, in bytes, and how text becomes tokens when nothing
in it is a control token."""

import json
import re
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, Protocol

from tokenizers import Tokenizer

from xpm_runtime.errors import ConstraintError

_BYTE = re.compile(r"<0x([0-9A-Fa-f]{2})>")
_METASPACE = "▁"
_BEFORE = "\0"  # no vocabulary has a token in which more follows it


class Vocabulary(Protocol):
    """What llguidance asks of a tokenizer: what each token writes, which end the text, and how a text is written.

    ``tokens`` are bytes by id, empty for ids that stand for no text; special tokens are named by ``special_token_ids``.
    """

    is_tokenizer_wrapper: bool
    bos_token_id: int | None
    eos_token_id: int
    eos_token_ids: list[int]
    special_token_ids: list[int]
    tokens: list[bytes]

    def __call__(self, text: str) -> list[int]: ...


class ByteVocabulary:
    """256 tokens, each a byte, and one that ends the text: for asking whether texts fit a grammar."""

    is_tokenizer_wrapper = True
    bos_token_id: int | None = None

    def __init__(self) -> None:
        self.tokens = [*(bytes([byte]) for byte in range(256)), b""]
        self.eos_token_id = 256
        self.eos_token_ids = self.special_token_ids = [256]

    def __call__(self, text: str) -> list[int]:
        return list(text.encode())


class TokenizerVocabulary:
    """The tokens of a tokenizer.

    llguidance's own reader would take what special tokens are called for these tokens: a grammar's plain
    text could end the answer.
    """

    is_tokenizer_wrapper = True
    bos_token_id: int | None = None

    def __init__(self, tokenizer: Tokenizer, vocab_size: int, eos_token_ids: Sequence[int]) -> None:
        """Raise ConstraintError if it is not known what the tokens of such a tokenizer write."""
        if not eos_token_ids:
            raise ConstraintError("answers of this base can't be constrained: no token ends them")
        self._tokenizer = tokenizer
        self._before = ids_before_a_text(tokenizer)
        added = tokenizer.get_added_tokens_decoder()
        self.eos_token_ids = list(eos_token_ids)
        self.eos_token_id = self.eos_token_ids[0]
        specials = {number for number, each in added.items() if each.special} | set(self.eos_token_ids)
        self.special_token_ids = sorted(number for number in specials if number < vocab_size)
        names = [tokenizer.id_to_token(number) or "" for number in sorted(specials)]
        self._special_start = re.compile(f"(?={'|'.join(map(re.escape, filter(None, names))) or '(?!)'}).", re.DOTALL)
        self.tokens = [b""] * vocab_size
        write = token_writer(tokenizer.decoder)
        for token, number in tokenizer.get_vocab(with_added_tokens=True).items():
            if number < vocab_size:
                self.tokens[number] = token.encode() if number in added else write(token)

    def __call__(self, text: str) -> list[int]:
        """Ids of a text as it is written behind another, cut within what reads like a special token."""
        cuts = [0, *(found.end() for found in self._special_start.finditer(text)), len(text)]
        return [each for first, last in pairwise(cuts) for each in self._encode(text[first:last])]

    def _encode(self, piece: str) -> list[int]:
        if num_before := len(self._before):
            ids = self._tokenizer.encode(_BEFORE + piece, add_special_tokens=False).ids
            if ids[:num_before] == self._before:
                return list(ids[num_before:])
        return list(self._tokenizer.encode(piece, add_special_tokens=False).ids)


def ids_before_a_text(tokenizer: Tokenizer) -> list[int]:
    """Tokens behind which a text is encoded, and its tokens are decoded, as within another text.

    SentencePiece's tokenizers put a blank before all text and take the first one away from all tokens; a grammar's text
    begins with a blank if the grammar says so, and with none else. Where there is nothing of the kind it is [].
    """
    if tokenizer.decoder is None or "ByteLevel" in tokenizer.decoder.__getstate__().decode():
        return []
    return list(tokenizer.encode(_BEFORE, add_special_tokens=False).ids)


def token_writer(decoder: Any) -> Callable[[str], bytes]:
    """From a token as the vocabulary spells it to its bytes; raises ConstraintError if a
    tokenizer's decoder is not known."""
    document = json.loads(decoder.__getstate__()) if decoder is not None else None
    parts = document.get("decoders", [document]) if document else []
    kinds = {part["type"] for part in parts}
    if "ByteLevel" in kinds:
        alphabet = _byte_level()
        return lambda token: (
            bytes(alphabet[each] for each in token) if all(each in alphabet for each in token) else token.encode()
        )
    known = {"Replace", "ByteFallback", "Fuse", "Strip", "Metaspace"}
    if not kinds or kinds - known:
        raise ConstraintError(
            "answers of this base can't be constrained: its tokenizer is of an unsupported kind",
            context=f"its decoder is {', '.join(sorted(kinds)) or 'none'}",
        )
    has_bytes = "ByteFallback" in kinds

    def write(token: str) -> bytes:
        found = _BYTE.fullmatch(token) if has_bytes else None
        return bytes([int(found[1], 16)]) if found else token.replace(_METASPACE, " ").encode()

    return write


def _byte_level() -> dict[str, int]:
    """Byte by character of a byte-level vocabulary (GPT-2's): printable ones for themselves,
    the others from U+0100 on."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(0x100 + place): byte for place, byte in enumerate(others)}
