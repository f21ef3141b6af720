"""Does what waits in the queue of jobs, several at once, in one event loop."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

from xpm_runtime.errors import EngineError
from xpm_runtime.server.jobs import Job, Jobs, Json
from xpm_runtime.server.work import Overloaded

Perform = Callable[[Json], Awaitable[Json]]
_PURGE_S = 60.0


class JobRunner:
    """``perform`` makes a result of a payload; what EngineError it raises is why the job failed."""

    def __init__(self, jobs: Jobs, perform: Perform, *, at_once: int = 4) -> None:
        self._jobs = jobs
        self._perform = perform
        self._at_once = at_once
        self._arrived = asyncio.Event()
        self._running: dict[str, asyncio.Task[None]] = {}

    def notify(self) -> None:
        """A job was accepted."""
        self._arrived.set()

    async def cancel(self, id: str, *, tenant: str) -> Job | None:
        """End a job, also one that runs; None if the tenant has no such job."""
        job = await asyncio.to_thread(self._jobs.cancel, id, tenant=tenant)
        if job is not None and job.state == "cancelled" and id in self._running:
            self._running[id].cancel()
        return job

    async def run(self) -> None:
        """Until it is cancelled; what runs then is queued again."""
        try:
            while True:
                self._arrived.clear()
                while len(self._running) < self._at_once and (job := await asyncio.to_thread(self._jobs.take)):
                    task = asyncio.create_task(self._do(job))
                    self._running[job.id] = task
                    task.add_done_callback(lambda _, id=job.id: self._leave(id))  # type: ignore[misc]
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._arrived.wait(), _PURGE_S)
                await asyncio.to_thread(self._jobs.purge)
        finally:
            tasks = list(self._running.values())
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _do(self, job: Job) -> None:
        try:
            result = await self._perform(job.payload)
        except asyncio.CancelledError:
            self._jobs.put_back(job)  # does nothing if it was cancelled
            raise
        except Overloaded as busy:
            await asyncio.sleep(busy.retry_after_s)
            self._jobs.put_back(job)
        except EngineError as error:
            self._jobs.fail(job, ": ".join(filter(None, (error.message, error.context))))
        except Exception as error:
            self._jobs.fail(job, f"{type(error).__name__}: {error}")
        else:
            await asyncio.to_thread(self._jobs.finish, job, result)

    def _leave(self, id: str) -> None:
        self._running.pop(id, None)
        self._arrived.set()
