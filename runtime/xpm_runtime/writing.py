"""From a row of logits to what a sequence writes: the next token, what must follow it, and what is told of both."""

from collections.abc import Sequence as Items

import numpy as np
from numpy.typing import NDArray

from xpm_runtime.forms.form import Logits, RowLogits
from xpm_runtime.logprobs import TokenReport, report
from xpm_runtime.sequence import FinishReason, Sequence

_NOTHING: NDArray[np.int64] = np.zeros(0, np.int64)


class Writer:
    """For sequences of one base, whose answers end with one of ``eos_token_ids``, in lanes of ``capacity`` tokens."""

    def __init__(self, eos_token_ids: Items[int], capacity: int) -> None:
        self._eos_token_ids = eos_token_ids
        self._capacity = capacity

    def draw(self, sequence: Sequence, logits: RowLogits, row: int) -> int:
        """The next token, drawn of those that are allowed.

        Where the likeliest is asked for, or it is dear to tell all that is allowed, it is first drawn freely: if it is
        allowed, it would have been drawn. (With top-k, top-p or min-p, which look at what is left, that is so nearly.)
        """
        sampler, guide = sequence.sampler, sequence.guide
        seen, written = _NOTHING, _NOTHING
        if sampler.looks_back:
            seen, written = sequence.seen, np.array(sequence.token_ids, np.int64)
        if guide is None or sampler.is_greedy or guide.is_dear:
            token = logits.greedy(row) if sampler.is_greedy else sampler.choose(logits[row], seen, None, written)
            if guide is None or guide.allows(token, is_end=token in self._eos_token_ids):
                return token
        return sampler.choose(logits[row], seen, guide.allowed(), written)

    def rank(self, sequence: Sequence, row: NDArray[np.float32]) -> list[tuple[int, float]]:
        """The likeliest tokens that may follow, with their log-probabilities: if all that end the text are among them,
        still as many as beams go on."""
        allowed = None if sequence.guide is None else sequence.guide.allowed()
        count = sequence.sampler.params.num_beams + len(self._eos_token_ids)
        return sequence.sampler.ranked(row, sequence.seen, allowed, np.array(sequence.token_ids, np.int64), count)

    def write(self, sequence: Sequence, token: int) -> tuple[list[int], bool]:
        """(what is written, whether the text is over): the token, and what must follow it."""
        if token in self._eos_token_ids:
            return [token], True
        guide, tokens, is_closed = sequence.guide, [token], False
        if guide is not None:
            is_alone = sequence.sampler.params.num_beams > 1  # beams are compared token by token
            tokens, is_closed = guide.write(token, self.most(sequence) - len(sequence.token_ids), is_alone=is_alone)
        written = []
        for each in tokens:
            sequence.text.append(each)
            written.append(each)
            if sequence.text.is_stopped:
                break
        return written, is_closed or (guide is not None and guide.is_closed) or sequence.text.is_stopped

    def reason(self, sequence: Sequence, *, is_over: bool) -> FinishReason | None:
        """How a sequence ends, None if it goes on."""
        if is_over:
            return "stop"
        return "length" if len(sequence.token_ids) >= self.most(sequence) else None

    def most(self, sequence: Sequence) -> int:
        """Tokens that an answer may have."""
        return min(sequence.sampler.params.max_tokens, self._capacity + 1 - len(sequence.prompt_ids))

    def told(self, sequence: Sequence, logits: RowLogits, row: int, tokens: list[int]) -> list[TokenReport]:
        """What is said of tokens that were written at once, if it is asked for: those behind the first, which a grammar
        left no choice, are certain."""
        num_top, write = sequence.sampler.params.logprobs, sequence.text.bytes_of
        if num_top is None:
            return []
        first, *forced = tokens
        certain = [TokenReport(id=token, text=write(token), logprob=0.0) for token in forced]
        return [report(logits[row], first, num_top=num_top, write=write), *certain]

    def tell_prompt(self, sequence: Sequence, logits: Logits, start: int, stop: int) -> None:
        """Say how likely the tokens of a prompt were that follow those of ``start:stop``, which ``logits`` are of."""
        ids, found = sequence.prompt_ids, sequence.prompt_reports
        if not found:
            found.append(None)
        num_top, write = sequence.sampler.params.logprobs or 0, sequence.text.bytes_of
        for place in range(max(start, sequence.num_soft), min(stop, len(ids) - 1)):
            found.append(report(logits[place - start], ids[place + 1], num_top=num_top, write=write))
