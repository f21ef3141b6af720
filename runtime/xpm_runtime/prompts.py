"""From what a caller passes as a prompt to token ids."""

import operator
from collections.abc import Sequence as Items

from xpm_runtime.errors import CapacityError, RequestError
from xpm_runtime.sequence import Prompt
from xpm_runtime.text import SHORTER, Message, TextCodec


def encode_prompt(
    prompt: Prompt, codec: TextCodec, vocab_size: int, *, max_tokens: int | None = None, allow_special: bool = False
) -> list[int]:
    """Ids of one user turn, a conversation, or ids.

    Args:
        max_tokens: what it may come to; a text that can't be so few is refused before it is encoded.
        allow_special: whether what reads like a special token in a text is one.
    Raises:
        RequestError: it is empty or mixed, or can't be encoded. CapacityError: it is too long.
    """
    if len(prompt) == 0:
        raise RequestError("the prompt is empty")
    if isinstance(prompt, str):
        prompt = [Message("user", prompt)]
    if max_tokens is not None and len(prompt) > max_tokens and not isinstance(prompt[0], Message):
        raise CapacityError(f"the prompt has {len(prompt)} tokens, a lane holds {max_tokens}", hint=SHORTER)
    messages = [item for item in prompt if isinstance(item, Message)]
    ids = [item for item in prompt if not isinstance(item, Message)]
    if messages and ids:
        raise RequestError("the prompt mixes messages and token ids")
    if messages:
        return codec.encode_chat(messages, max_tokens=max_tokens, allow_special=allow_special)
    return checked_ids(ids, vocab_size)


def asked_in(prompt: Prompt) -> str:
    """The text that is to be answered: of a conversation its last turn; "" of ids."""
    if isinstance(prompt, str):
        return prompt
    last = prompt[-1] if len(prompt) else None
    return last.content if isinstance(last, Message) else ""


def checked_ids(ids: Items[int], vocab_size: int) -> list[int]:
    """Ids of the vocabulary; what lies beyond it belongs to soft prompts and is nobody's to pass."""
    checked = []
    for item in ids:
        try:
            token_id = operator.index(item)
        except TypeError as error:
            raise RequestError(f"{item!r} is not a token id", hint="pass text, messages, or whole numbers") from error
        if not 0 <= token_id < vocab_size:
            raise RequestError(f"token id {token_id} is not in the vocabulary", context=f"it has {vocab_size} tokens")
        checked.append(token_id)
    return checked
