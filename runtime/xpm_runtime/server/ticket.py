"""An accepted order, between the thread that steps the engine and the event loop that waits for its answer.

What a slow reader has not taken yet is one delta, however much it is.
"""

import asyncio
import queue
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Sequence

from xpm_runtime import GenerationResult, TokenReport
from xpm_runtime.server.work import Delta


class Ticket:
    """Iterating over it gives deltas, the last with the result; it can be done once, in the loop
    that submitted the order.

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
        """Add to what is to be read; whether the reader must be told, which whoever puts does in
        the loop: ``arrived.set()``."""
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


class Waker:
    """Tells readers that something came, from a thread of its own.

    Telling an event loop writes to a pipe, behind which the loop has the interpreter until it is done. So whoever steps
    the engine leaves that to a thread that comes to its turn while the engine computes.
    """

    def __init__(self) -> None:
        self._tickets: queue.SimpleQueue[list[Ticket] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="xpm-waker", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """Return when everybody was told."""
        self._tickets.put(None)
        if self._thread.is_alive():
            self._thread.join()

    def wake(self, tickets: list[Ticket]) -> None:
        self._tickets.put(tickets)

    def _run(self) -> None:
        while (tickets := self._tickets.get()) is not None:
            by_loop: dict[asyncio.AbstractEventLoop, list[Ticket]] = {}
            for ticket in tickets:
                by_loop.setdefault(ticket.loop, []).append(ticket)
            for loop, own in by_loop.items():
                try:
                    loop.call_soon_threadsafe(_signal, own)
                except RuntimeError:  # the loop is closed: nobody reads any more
                    for ticket in own:
                        ticket.cancel()


def _signal(tickets: Iterable[Ticket]) -> None:
    for ticket in tickets:
        ticket.arrived.set()
