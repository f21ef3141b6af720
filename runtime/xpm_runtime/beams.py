"""Beam search: the likeliest answers to one prompt, found by following several at once, scored as Transformers does.

Each beam is a sequence on a lane of its own, with its own state of the grammar. A step ranks what may follow each
of them. Of all that may follow all of them, the likeliest go on: the first to follow a beam takes its lane,
others copy it. A beam that no token goes on is dropped. Log-probabilities are the model's own: a grammar forbids,
and makes nothing likelier.
"""

from dataclasses import dataclass

from xpm_runtime.sequence import Sequence
from xpm_runtime.stepper import Stepper


@dataclass(slots=True)
class _Beam:
    """``score`` is the sum of its tokens' log-probabilities."""

    sequence: Sequence
    score: float


@dataclass(frozen=True, slots=True)
class _Next:
    """What may follow a beam."""

    beam: _Beam
    token: int
    score: float


class BeamSearch:
    """Led by whoever makes steps: ``advance`` after each, until ``is_done``; then ``found``
    holds the answers, best first."""

    def __init__(self, first: Sequence, stepper: Stepper) -> None:
        """
        Args:
            first: the prompt's sequence, queued already.
        """
        params = first.sampler.params
        self._num_beams, self._length_penalty = params.num_beams, params.length_penalty
        self._stepper = stepper
        self._beams = [_Beam(first, 0.0)]
        self._finished: list[_Beam] = []

    @property
    def is_done(self) -> bool:
        return not self._beams

    @property
    def found(self) -> list[Sequence]:
        return [each.sequence for each in self._finished]

    def advance(self) -> None:
        """Choose which beams go on, if all of them are ranked."""
        broken = [each for each in self._beams if each.sequence.is_finished]  # by an error, or because it was cancelled
        self._beams = [each for each in self._beams if not each.sequence.is_finished]
        if broken and not self._beams and not self._finished:
            self._finished.append(broken[-1])
        ranked = [each.sequence.ranked for each in self._beams]
        if not self._beams or None in ranked:
            return
        candidates = [
            _Next(beam, token, beam.score + logprob)
            for beam, found in zip(self._beams, ranked, strict=True)
            for token, logprob in found or ()
        ]
        candidates.sort(key=lambda each: -each.score)  # of equals, those of the better beam and of lower ids first
        self._go_on(candidates)

    def stop(self) -> None:
        """End here: what is unfinished is cancelled, and kept where there is room."""
        unfinished = self._beams.copy()
        self.cancel()
        for beam in unfinished:
            self._keep(beam)

    def cancel(self) -> None:
        """Take what is unfinished off its lanes."""
        for beam in self._beams:
            self._leave(beam)
        self._beams.clear()

    def _go_on(self, candidates: list[_Next]) -> None:
        kept: list[tuple[_Beam, _Beam]] = []  # (beam, what follows it)
        for rank, each in enumerate(candidates):
            child = each.beam.sequence.fork()
            reason = self._stepper.follow(child, each.token)
            if reason is None:
                kept.append((each.beam, _Beam(child, each.score)))
            elif rank < self._num_beams:
                child.finish_reason = reason
                self._keep(_Beam(child, each.score))
            if len(kept) == self._num_beams:
                break
        for beam in self._beams:
            if all(parent is not beam for parent, _ in kept):
                self._leave(beam)
        heirs: dict[int, Sequence] = {}  # of a beam: who took its lane
        for parent, beam in kept:
            if id(parent) in heirs:
                self._stepper.place_beside(heirs[id(parent)], beam.sequence)
            else:
                self._stepper.replace(parent.sequence, beam.sequence)
                heirs[id(parent)] = beam.sequence
        self._beams = [beam for _, beam in kept]
        if self._beams and self._is_good_enough():
            self.cancel()

    def _keep(self, beam: _Beam) -> None:
        if any(each.sequence.token_ids == beam.sequence.token_ids for each in self._finished):
            return  # a grammar's shortest way to an end leads several beams to one
        self._finished.append(beam)
        self._finished.sort(key=lambda each: -self._final(each))
        del self._finished[self._num_beams :]

    def _final(self, beam: _Beam) -> float:
        return float(beam.score / max(1, len(beam.sequence.token_ids)) ** self._length_penalty)

    def _is_good_enough(self) -> bool:
        """Whether no beam, ended now, would be better than the worst of as many answers as are wanted."""
        if len(self._finished) < self._num_beams:
            return False
        return max(map(self._final, self._beams)) <= self._final(self._finished[-1])

    def _leave(self, beam: _Beam) -> None:
        if not beam.sequence.is_finished:
            beam.sequence.finish_reason = "cancelled"
            self._stepper.remove(beam.sequence)
