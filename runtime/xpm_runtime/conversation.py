"""A conversation with fixed experts: each turn sees those before it, and only what is new is computed."""

from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Protocol

from xpm_runtime.errors import RequestError
from xpm_runtime.sampler import SamplingParams
from xpm_runtime.sequence import GenerationResult, Prompt
from xpm_runtime.text import Message


class Answering(Protocol):
    """What a conversation needs of an engine."""

    def generate(
        self, prompt: Prompt, *, experts: Sequence[str] = (), sampling: SamplingParams | None = None
    ) -> GenerationResult: ...

    def stream(
        self, prompt: Prompt, *, experts: Sequence[str] = (), sampling: SamplingParams | None = None
    ) -> Iterator[str | GenerationResult]: ...

    def unpin(self, experts: Sequence[str]) -> None: ...


class EngineSession:
    """Made by ``Engine.session``; a context manager that releases its experts when it is left."""

    def __init__(self, engine: Answering, experts: Sequence[str], system: str | None) -> None:
        self._engine = engine
        self._begin = [Message("system", system)] if system else []
        self.experts = tuple(experts)
        self.messages: list[Message] = list(self._begin)
        self.is_released = False

    def __enter__(self) -> "EngineSession":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def generate(self, text: str, *, sampling: SamplingParams | None = None) -> GenerationResult:
        """Answer a user's turn; both turns are remembered if it succeeds."""
        result = self._engine.generate(self._turn(text), experts=self.experts, sampling=sampling)
        self._remember(text, result)
        return result

    def stream(self, text: str, *, sampling: SamplingParams | None = None) -> Iterator[str | GenerationResult]:
        """Like ``generate``, in pieces, then the result. A turn that is left early is not remembered."""
        for piece in self._engine.stream(self._turn(text), experts=self.experts, sampling=sampling):
            if isinstance(piece, GenerationResult):
                self._remember(text, piece)
            yield piece

    def reset(self) -> None:
        """Forget all turns."""
        self.messages = list(self._begin)

    def release(self) -> None:
        """Let go of the experts: they may be detached again. The session can't be used afterwards."""
        if not self.is_released:
            self.is_released = True
            self._engine.unpin(self.experts)

    def _turn(self, text: str) -> list[Message]:
        if self.is_released:
            raise RequestError("the session was released", hint="begin a new one with engine.session()")
        return [*self.messages, Message("user", text)]

    def _remember(self, text: str, result: GenerationResult) -> None:
        self.messages += [Message("user", text), Message("assistant", result.text)]
