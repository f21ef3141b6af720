"""A process that accepts jobs and does them until it is killed: ``python -m
tests.support.job_process FILE NUM_JOBS KEY``.

It prints ``accepted ID`` when a job is accepted, and ends when every job has ended.
"""

import asyncio
import sys
from pathlib import Path
from typing import Any

from xpm_runtime.server.job_runner import JobRunner
from xpm_runtime.server.jobs import Jobs


async def _main(path: Path, num_jobs: int) -> None:
    jobs = Jobs(path, max_attempts=100)

    async def perform(payload: dict[str, Any]) -> dict[str, Any]:
        await asyncio.sleep(0.02)
        return {"square": payload["number"] ** 2}

    runner = JobRunner(jobs, perform, at_once=4)
    running = asyncio.create_task(runner.run())
    print("ready", flush=True)
    for number in range(num_jobs):
        job = await asyncio.to_thread(jobs.accept, {"number": number}, key=f"{sys.argv[3]}-{number}")
        print("accepted", job.id, flush=True)
        runner.notify()
    while jobs.counts().keys() & {"queued", "running"}:
        await asyncio.sleep(0.01)
    running.cancel()


if __name__ == "__main__":
    asyncio.run(_main(Path(sys.argv[1]), int(sys.argv[2])))
