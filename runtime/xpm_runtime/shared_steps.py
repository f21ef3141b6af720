"""Steps that coroutines of any event loop wait for together: one is under way at a time, in a thread of its own."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor


class SharedSteps:
    """``step`` is called again and again while somebody waits."""

    def __init__(self, step: Callable[[], object]) -> None:
        self._step = step
        self._lock = threading.Lock()
        self._executor: ThreadPoolExecutor | None = None
        self._under_way: Future[object] | None = None

    async def wait(self) -> None:
        """Wait for the step that is under way, or for a new one; its exception is everybody's who waits for it."""
        await asyncio.shield(asyncio.wrap_future(self._current()))

    def close(self) -> None:
        """Start no more steps; the one under way ends by itself."""
        with self._lock:
            if self._executor is not None:
                self._executor.shutdown(wait=False)
                self._executor = None

    def _current(self) -> "Future[object]":
        with self._lock:
            if self._under_way is None or self._under_way.done():
                self._executor = self._executor or ThreadPoolExecutor(1, thread_name_prefix="xpm-step")
                self._under_way = self._executor.submit(self._step)
            return self._under_way
