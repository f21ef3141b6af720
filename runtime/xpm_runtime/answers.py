"""The ways to ask an engine: for one answer or many, whole or in pieces, with threads or with
asyncio. All submit and step."""

import asyncio
import threading
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Iterator
from collections.abc import Sequence as Items

from xpm_runtime.sampler import SamplingParams
from xpm_runtime.sequence import GenerationResult, Prompt, Request, Sequence
from xpm_runtime.shared_steps import SharedSteps
from xpm_runtime.stepper import StepReport


class Answers(ABC):
    """What an engine inherits; it brings ``submit``, ``step``, ``cancel`` and ``search``, which the rest is made of."""

    def __init__(self) -> None:
        self._shared = SharedSteps(self.step)

    @abstractmethod
    def submit(self, request: Request) -> Sequence: ...

    @abstractmethod
    def cancel(self, sequence: Sequence) -> None: ...

    @abstractmethod
    def step(self) -> StepReport: ...

    @abstractmethod
    def search(self, request: Request, *, stopped: Callable[[], bool] = lambda: False) -> list[GenerationResult]: ...

    def generate(
        self, prompt: Prompt, *, experts: Items[str] = (), sampling: SamplingParams | None = None
    ) -> GenerationResult:
        """Answer one prompt with a composition of experts (in any order; they act in load order)."""
        return self.generate_batch(
            [Request(prompt=prompt, experts=tuple(experts), sampling=sampling or SamplingParams())]
        )[0]

    def generate_batch(self, requests: Items[Request]) -> list[GenerationResult]:
        """Answer several prompts, each with its own composition, in one continuous batch; results
        in the order of requests."""
        results = dict(self.as_completed(requests))
        return [results[number] for number in range(len(requests))]

    def as_completed(self, requests: Items[Request]) -> Iterator[tuple[int, GenerationResult]]:
        """Like ``generate_batch``, but yield (place in ``requests``, result) as each is done. Leaving
        the loop cancels the rest."""
        waiting: dict[int, Sequence] = {}
        try:
            for number, request in enumerate(requests):
                if request.sampling.num_beams > 1:
                    yield number, self.search(request)[0]
                else:
                    waiting[number] = self.submit(request)
            while waiting:
                self.step()
                for number in [number for number, sequence in waiting.items() if sequence.is_finished]:
                    yield number, waiting.pop(number).result()
        finally:
            for sequence in waiting.values():
                self.cancel(sequence)

    def stream(
        self, prompt: Prompt, *, experts: Items[str] = (), sampling: SamplingParams | None = None
    ) -> Iterator[str | GenerationResult]:
        """Yield pieces of text as they become certain, then the result. Leaving the loop cancels the request.

        What a beam search finds is certain at its end.
        """
        request = Request(prompt=prompt, experts=tuple(experts), sampling=sampling or SamplingParams())
        if request.sampling.num_beams > 1:
            yield from _pieces_of(self.search(request)[0])
            return
        sequence = self.submit(request)
        try:
            while not sequence.is_finished:
                self.step()
                if piece := sequence.text.take(final=sequence.is_finished):
                    yield piece
            yield sequence.result()
        finally:
            self.cancel(sequence)

    async def astream(
        self, prompt: Prompt, *, experts: Items[str] = (), sampling: SamplingParams | None = None
    ) -> AsyncIterator[str | GenerationResult]:
        """Like ``stream``, for asyncio: the loop stays free, and all streams share their steps.
        Cancelling the task cancels it."""
        request = Request(prompt=prompt, experts=tuple(experts), sampling=sampling or SamplingParams())
        if request.sampling.num_beams > 1:
            for piece in _pieces_of((await asyncio.to_thread(self.search, request))[0]):
                yield piece
            return
        submission = _Submission(self, request)
        try:
            sequence = await asyncio.to_thread(submission.submit)
            while not sequence.is_finished:
                await self._shared.wait()
                if piece := sequence.text.take(final=sequence.is_finished):
                    yield piece
            yield sequence.result()
        finally:
            submission.withdraw()

    async def agenerate(
        self, prompt: Prompt, *, experts: Items[str] = (), sampling: SamplingParams | None = None
    ) -> GenerationResult:
        """Like ``generate``, for asyncio."""
        result: GenerationResult | None = None
        async for piece in self.astream(prompt, experts=experts, sampling=sampling):
            result = piece if isinstance(piece, GenerationResult) else None
        assert result is not None
        return result


def _pieces_of(result: GenerationResult) -> tuple[str | GenerationResult, ...]:
    """What a stream gives of an answer that is there at once."""
    return (result.text, result) if result.text else (result,)


class _Submission:
    """A request that a thread submits for a coroutine, which may be gone before it is there."""

    def __init__(self, engine: Answers, request: Request) -> None:
        self._engine = engine
        self._request = request
        self._lock = threading.Lock()
        self._sequence: Sequence | None = None
        self._is_withdrawn = False

    def submit(self) -> Sequence:
        sequence = self._engine.submit(self._request)
        with self._lock:
            self._sequence = sequence
            if self._is_withdrawn:
                self._engine.cancel(sequence)
        return sequence

    def withdraw(self) -> None:
        """Cancel what was submitted, or what is about to be."""
        with self._lock:
            self._is_withdrawn = True
            if self._sequence is not None:
                self._engine.cancel(self._sequence)
