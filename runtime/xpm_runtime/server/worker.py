"""A stand-in: one task of the event loop for each order."""

import asyncio
from collections.abc import AsyncIterator

from xpm_runtime import Engine, GenerationResult
from xpm_runtime.server.work import Delta, Limits, Order, Overloaded, Snapshot


class Ticket:
    queued_ms: float | None = None
    first_token_ms: float | None = None

    def __init__(self, worker: "Worker", order: Order) -> None:
        self._queue: asyncio.Queue[Delta | Exception] = asyncio.Queue()
        self._worker = worker
        self._task = asyncio.create_task(self._run(order))

    async def _run(self, order: Order) -> None:
        self._worker.running += 1
        request = order.request
        try:
            async for piece in self._worker.engine.astream(
                request.prompt, experts=request.experts, sampling=request.sampling
            ):
                if isinstance(piece, GenerationResult):
                    self._queue.put_nowait(Delta(text="", result=piece, tokens=piece.logprobs))
                else:
                    self._queue.put_nowait(Delta(text=piece))
        except Exception as error:
            self._queue.put_nowait(error)
        finally:
            self._worker.running -= 1

    async def __aiter__(self) -> AsyncIterator[Delta]:
        while True:
            each = await self._queue.get()
            if isinstance(each, Exception):
                raise each
            yield each
            if each.result is not None:
                return

    def cancel(self) -> None:
        self._task.cancel()


class Worker:
    def __init__(self, engine: Engine, *, limits: Limits) -> None:
        self.engine, self.limits, self.running, self._is_draining = engine, limits, 0, False

    @property
    def is_draining(self) -> bool:
        return self._is_draining

    def start(self) -> None:
        pass

    def close(self, drain_s: float = 30.0) -> None:
        self._is_draining = True

    async def submit(self, order: Order) -> Ticket:
        if self.running >= self.limits.max_queued:
            raise Overloaded("the queue is full", retry_after_s=1)
        self.engine.count_tokens(order.request.prompt)
        return Ticket(self, order)

    def snapshot(self) -> Snapshot:
        return Snapshot(
            running=self.running,
            waiting=(0,) * 10,
            waiting_tokens=0,
            cached_tokens=0,
            token_capacity=0,
            num_lanes=1,
            attached=self.engine.attached,
        )
