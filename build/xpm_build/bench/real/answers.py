"""The base alone, beside what llama.cpp says of the same file."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from xpm_build.base.quality import perplexity
from xpm_build.bench.real.peer import NUM_TOKENS, Record, digest_of
from xpm_build.bench.real.texts import PROMPTS, QUESTIONS, sample_texts
from xpm_runtime import Engine, Request, SamplingParams
from xpm_runtime.text import Message, TextCodec

NEAR = 0.5  # of logits; 8-bit activations move the difference of two by more than that at times
_MAX_PERPLEXITY_RATIO = 1.01


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One comparison: what came of it, and whether that is as it must be."""

    what: str
    result: str
    is_right: bool


def same_ids(codec: TextCodec, record: Record) -> Finding:
    texts = sample_texts()
    right = sum(digest_of(codec.encode(text)) == wanted for text, wanted in zip(texts, record.ids, strict=True))
    return Finding(what="ids of texts", result=f"{right} of {len(texts)} the same", is_right=right == len(texts))


def same_answers(engine: Engine, codec: TextCodec, record: Record) -> list[Finding]:
    """Greedy answers to all prompts; where they part, by how much the engine's two tokens lie apart."""
    near, far = list[str](), list[str]()
    for prompt, wanted in zip(PROMPTS, record.answers, strict=True):
        ids = codec.encode_chat([Message("user", prompt)])
        if (parting := parts_at(engine, ids, answer(engine, ids), wanted)) is not None:
            place, gap = parting
            (near if gap <= NEAR else far).append(f"{prompt!r} at token {place}, {gap:.2f} apart")
    same = len(PROMPTS) - len(near) - len(far)
    result = f"{same} of {len(PROMPTS)} the same, {len(near)} part at a near-tie, {len(far)} elsewhere"
    shown = [Finding(what="  near-tie", result=each, is_right=True) for each in near]
    shown += [Finding(what="  no near-tie", result=each, is_right=False) for each in far]
    return [Finding(what="greedy answers", result=result, is_right=not far), *shown]


def questions(engine: Engine, codec: TextCodec, record: Record) -> Finding:
    """How many of the easy questions are answered right, by whom."""
    ours = theirs = 0
    for (question, wanted), answered in zip(QUESTIONS, record.answered, strict=True):
        ours += _is_right(codec, answer(engine, codec.encode_chat([Message("user", question)])), wanted)
        theirs += _is_right(codec, answered, wanted)
    result = f"{ours} of {len(QUESTIONS)} right, llama.cpp {theirs}"
    return Finding(what="easy questions", result=result, is_right=ours >= theirs)


def same_perplexity(engine: Engine, rows: NDArray[np.int64], record: Record) -> Finding:
    """Of ids (sequences, tokens)."""
    ours = perplexity(np.stack([engine.logits(list(map(int, row))) for row in rows]), rows)
    theirs = record.perplexity
    result = f"{ours:.3f}, llama.cpp {theirs:.3f} ({ours / theirs - 1:+.2%}) on {rows.size} tokens"
    return Finding(what="perplexity", result=result, is_right=ours <= theirs * _MAX_PERPLEXITY_RATIO)


def answer(engine: Engine, ids: Sequence[int], *, experts: tuple[str, ...] = ()) -> list[int]:
    """The greedy tokens."""
    sampling = SamplingParams(max_tokens=NUM_TOKENS, temperature=0)
    request = Request(prompt=list(ids), experts=experts, sampling=sampling)
    return list(engine.generate_batch([request])[0].token_ids)


def parts_at(
    engine: Engine, ids: Sequence[int], got: Sequence[int], wanted: Sequence[int], *, experts: Sequence[str] = ()
) -> tuple[int, float] | None:
    """(the first token in which two answers differ, how far apart the engine's logits of the two are), or None."""
    place = next((n for n, pair in enumerate(zip(got, wanted, strict=False)) if pair[0] != pair[1]), None)
    if place is None:
        return None
    logits = engine.logits([*ids, *got[:place]], experts=experts)[-1]
    return place, abs(float(logits[got[place]] - logits[wanted[place]]))


def _is_right(codec: TextCodec, tokens: Sequence[int], wanted: str) -> bool:
    text = str(codec.tokenizer.decode(list(tokens), skip_special_tokens=True)).casefold()
    return any(each.casefold() in text for each in wanted.split("|"))
