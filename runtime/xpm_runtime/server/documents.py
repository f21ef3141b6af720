"""Documents that come with a request: what bears on the user's last turn is put in front of it.

Passages are compared by their words alone: vectors of hundreds of them would keep the processors from
everybody else for seconds.
"""

from collections.abc import Sequence
from dataclasses import replace

from xpm_runtime import Engine, Message, RequestError, SamplingParams
from xpm_runtime.passages.choose import Chosen, Document, choose, room_beside
from xpm_runtime.server.wish import Wish

MAX_CHARACTERS = 400_000
"""Of all documents of a request together."""


def checked(documents: Sequence[Document]) -> tuple[Document, ...]:
    """Documents as they may be shown.

    Raises:
        RequestError: one is empty or no text, or all together are too large.
    """
    if (total := sum(len(each.text) for each in documents)) > MAX_CHARACTERS:
        raise RequestError(
            f"the documents have {total:,} characters",
            context=f"all together may have {MAX_CHARACTERS:,}",
            hint="send the parts of them that matter",
        )
    for each in documents:
        if not each.text.strip():
            raise RequestError(f"the document {each.name!r} is empty")
        if "\0" in each.text:
            raise RequestError(f"the document {each.name!r} is binary", hint="make a text of it first")
    return tuple(Document(name=each.name, text=each.text.replace("\r\n", "\n")) for each in documents)


def shown_beside(
    engine: Engine, wish: Wish, prompt: Sequence[Message] | Sequence[int], sampling: SamplingParams
) -> Chosen:
    """What is shown of a wish's documents beside its prompt, as the engine gets that without them.

    Raises:
        CapacityError: there is no room for a passage. RequestError: a document can't be encoded.
    """
    context = min(engine.context, wish.context or engine.context)
    room = room_beside(engine.count_tokens(prompt), context=context, max_tokens=sampling.max_tokens)
    budget = room if wish.context_tokens is None else min(room, wish.context_tokens)
    return choose(wish.documents, wish.last_turn, budget=budget, count=engine.count_as_text)


def with_shown(prompt: Sequence[Message] | Sequence[int], shown: Chosen) -> tuple[list[Message], str]:
    """(a conversation with what is shown in front of the user's last turn, that turn as it is then)."""
    messages = [each for each in prompt if isinstance(each, Message)]
    last = max(number for number, each in enumerate(messages) if each.role == "user")
    messages[last] = replace(messages[last], content=shown.before(messages[last].content))
    return messages, messages[last].content
