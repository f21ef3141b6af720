"""What of documents a prompt is given to see: the passages that bear on it most, as many as
fit, in the documents' order.

Where something is left out stands a line with `…`. Nothing is left out, and nothing is ranked, where everything fits.
"""

from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter

from xpm_runtime.errors import CapacityError
from xpm_runtime.passages.rank import Encoder, rank
from xpm_runtime.passages.split import LEAST_TOKENS, Passage, split

PASSAGE_TOKENS = 128
MARK = "…"
ANSWER_SHARE = 4  # at most one part in so many of a context is kept free for the answer
_JOIN_TOKENS = 4  # the blank line between documents and prompt, and what a tokenizer makes of two texts that meet


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    name: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """What is kept of a document.

    ``lines`` are first and last, from 1, of what is kept, one pair for what follows without a gap. The tokens are those
    of its passages, without its name and the marks.
    """

    name: str
    num_passages: int
    num_kept: int
    num_tokens: int
    num_left_out_tokens: int
    lines: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """``text`` is what is shown, of ``num_tokens`` tokens, which are at most ``budget``."""

    text: str
    num_tokens: int
    budget: int
    documents: tuple[Kept, ...]

    def before(self, prompt: str) -> str:
        """A prompt with what is shown in front of it."""
        return f"{self.text}\n\n{prompt}"


def room_beside(num_prompt_tokens: int, *, context: int, max_tokens: int) -> int:
    """Tokens that a context holds of documents beside a prompt and its answer of at most
    ``max_tokens``; below 0 if none."""
    return context - num_prompt_tokens - min(max_tokens, context // ANSWER_SHARE) - _JOIN_TOKENS


def choose(
    documents: Sequence[Document],
    prompt: str,
    *,
    budget: int,
    count: Callable[[str], int],
    encoder: Encoder | None = None,
    passage_tokens: int = PASSAGE_TOKENS,
) -> Chosen:
    """Choose what is shown of documents, each below its name.

    Args:
        budget: tokens that it may come to.
        count: tokens of a text.
        encoder: what makes vectors of texts, beside whose likeness that of words is used; None for words alone.
        passage_tokens: of a passage at most; fewer where the budget is less than four of them.
    Raises:
        CapacityError: the budget holds no passage.
    """
    size = max(min(passage_tokens, budget // 4), LEAST_TOKENS)
    cut = [
        _Cut(number, passage, doc.text[passage.start : passage.end])
        for number, doc in enumerate(documents)
        for passage in split(doc.text, count, max_tokens=size)
    ]
    headers = [count(_header(each)) for each in documents]
    kept = list(range(len(cut)))
    if sum(each.passage.num_tokens for each in cut) + sum(headers) > budget:
        order = rank([f"{each.passage.heading}\n{each.text}" for each in cut], prompt, encoder=encoder)
        kept = _that_fit(cut, order, budget, headers, count(f"{MARK}\n"))
    while kept:
        text = _shown(documents, cut, set(kept))
        if (num_tokens := count(text)) <= budget:
            told = tuple(_told(number, doc, cut, set(kept)) for number, doc in enumerate(documents))
            return Chosen(text=text, num_tokens=num_tokens, budget=budget, documents=told)
        kept.pop()  # of the least worth: a text comes to a few tokens more than its parts at times
    raise CapacityError(
        f"{max(budget, 0)} tokens hold no passage of the documents",
        hint="shorten the prompt, ask for a shorter answer, or load the base with a larger context",
    )


@dataclass(frozen=True, slots=True)
class _Cut:
    document: int
    passage: Passage
    text: str


def _header(document: Document) -> str:
    return f"{document.name}:\n"


def _that_fit(cut: Sequence[_Cut], order: Sequence[int], budget: int, headers: Sequence[int], mark: int) -> list[int]:
    """Of places in ``cut``, best first, those that fit into the budget, each with a mark
    before it and maybe one behind."""
    kept, named = list[int](), set[int]()
    for place in order:
        each = cut[place]
        cost = each.passage.num_tokens + mark + (0 if each.document in named else headers[each.document] + mark)
        if cost <= budget:
            budget -= cost
            kept.append(place)
            named.add(each.document)
    return kept


def _shown(documents: Sequence[Document], cut: Sequence[_Cut], kept: Container[int]) -> str:
    """What is kept, in order, each document below its name, and a mark for each gap; nothing of one
    of which nothing is kept."""
    parts: list[str] = []
    for number, document in enumerate(documents):
        own = [(place in kept, each.text) for place, each in enumerate(cut) if each.document == number]
        if not any(is_kept for is_kept, _ in own):
            continue
        body = ""
        for is_kept, run in groupby(own, key=itemgetter(0)):
            body += "".join(text for _, text in run) if is_kept else f"{MARK}\n"
            body += "" if body.endswith("\n") else "\n"
        parts.append(_header(document) + body.rstrip("\n"))
    return "\n\n".join(parts)


def _told(number: int, document: Document, cut: Sequence[_Cut], kept: Container[int]) -> Kept:
    own = [(place in kept, each.passage) for place, each in enumerate(cut) if each.document == number]
    lines = []
    for is_kept, run in groupby(own, key=itemgetter(0)):
        if is_kept:
            passages = [passage for _, passage in run]
            lines.append((passages[0].first_line, passages[-1].last_line))
    return Kept(
        name=document.name,
        num_passages=len(own),
        num_kept=sum(is_kept for is_kept, _ in own),
        num_tokens=sum(passage.num_tokens for is_kept, passage in own if is_kept),
        num_left_out_tokens=sum(passage.num_tokens for is_kept, passage in own if not is_kept),
        lines=tuple(lines),
    )
