"""An accepted order, between the thread that steps the engine and the event loop that waits for its answer.

What a slow reader has not taken yet is one delta, however much it is.
"""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Sequence

from xpm_runtime import GenerationResult, TokenReport
from xpm_runtime.server.work import Delta


class Ticket:
    """Iterating over it gives deltas, the last with the result; it can be done once, in the loop that submitted the order.

    ``queued_ms`` and ``first_token_ms`` count from the acceptance; None until then.
    """

    def __init__(self, cancel: Callable[["Ticket"], None]) -> None:
        self.queued_ms: float | None = None
        self.first_token_ms: float | None = None
        self.loop = asyncio.get_running_loop()
        self.arrived = asyncio.Event()
        self._cancel = cancel
        self._lock = threading.Lock()
        self._text: list[str] = []
        self._tokens: list[TokenReport] = []
        self._end: tuple[GenerationResult, tuple[str, ...]] | None = None
        self._is_signalled = False

    def __aiter__(self) -> AsyncIterator[Delta]:
        return self._deltas()

    def cancel(self) -> None:
        """End the order; doing so again, or after its end, does nothing. Its lane is free within one token."""
        self._cancel(self)

    async def _deltas(self) -> AsyncIterator[Delta]:
        while True:
            await self.arrived.wait()
            self.arrived.clear()
            delta = self._take()
            if delta.text or delta.tokens or delta.result is not None:
                yield delta
            if delta.result is not None:
                return

    def _take(self) -> Delta:
        with self._lock:
            result, notes = self._end or (None, ())
            delta = Delta(text="".join(self._text), tokens=tuple(self._tokens), result=result, notes=notes)
            self._text, self._tokens, self._is_signalled = [], [], False
        return delta

    def put(self, text: str, tokens: Sequence[TokenReport]) -> bool:
        """Add to what is to be read; whether the reader must be told, which whoever puts does in the loop: ``arrived.set()``."""
        with self._lock:
            if text:
                self._text.append(text)
            self._tokens += tokens
            return self._signal()

    def end(self, result: GenerationResult, notes: tuple[str, ...]) -> bool:
        """Nothing comes any more; whether the reader must be told."""
        with self._lock:
            self._end = self._end or (result, notes)
            return self._signal()

    def _signal(self) -> bool:
        was, self._is_signalled = self._is_signalled, True
        return not was
