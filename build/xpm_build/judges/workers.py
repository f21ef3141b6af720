"""Judging many cases in sandboxed Python processes, one forked child per case.

``judge_in_workers(judge_one, jobs)`` sends the jobs as JSON lines to ``worker`` processes, as
many as there are processors;
``judge_in_persistent_worker(judge_one, job)`` sends one to a process that is kept. A case that crashes, loops or eats
memory costs its own child only.
"""

import atexit
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import cache
from typing import Any

from xpm_build.judges.language import Verdict
from xpm_build.judges.sandbox import Limits, end, run, scratch_folder, start

CASE_CPU_S = 2
_MEMORY_BYTES = 4 << 30
Outcome = tuple[bool, bool, str]
"""(right, parses, reason)"""
JudgeOne = Callable[[dict[str, Any]], Outcome]
"""A function at the top of its module, from a job that JSON can hold."""


def judge_in_workers(judge_one: JudgeOne, jobs: Sequence[dict[str, Any]]) -> list[Verdict]:
    """One verdict per job."""
    if not jobs:
        return []
    count = min(os.cpu_count() or 1, max(1, len(jobs) // 16))
    parts = [list(range(start, len(jobs), count)) for start in range(count)]
    with ThreadPoolExecutor(count) as pool:
        results = pool.map(lambda part: _run_part(judge_one, [jobs[index] for index in part]), parts)
        verdicts: dict[int, Verdict] = {}
        for part, result in zip(parts, results, strict=True):
            verdicts |= dict(zip(part, result, strict=True))
    return [verdicts[index] for index in range(len(jobs))]


def _run_part(judge_one: JudgeOne, jobs: list[dict[str, Any]]) -> list[Verdict]:
    limits = Limits(cpu_s=60 + 2 * len(jobs), wall_s=120.0 + (CASE_CPU_S + 1) * len(jobs), memory_bytes=_MEMORY_BYTES)
    with scratch_folder() as folder:
        done = run(
            _command(judge_one),
            folder,
            limits=limits,
            stdin="".join(json.dumps(job) + "\n" for job in jobs).encode(),
            environment=_environment(),
        )
    verdicts = []
    for line in done.stdout.decode(errors="replace").splitlines():
        verdicts.append(Verdict(**json.loads(line)))
    lost = len(jobs) - len(verdicts)
    tail = done.stderr.decode(errors="replace").strip().splitlines()[-1:] or ["the judge's process ended early"]
    return verdicts + [Verdict(right=False, parses=False, reason=tail[0])] * lost


def judge_in_persistent_worker(judge_one: JudgeOne, job: dict[str, Any]) -> Verdict:
    """The verdict on one job, of a worker that waits for the next until this process ends; for one thread at a time."""
    process = _persistent_worker(judge_one)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(json.dumps(job).encode() + b"\n")
        process.stdin.flush()
        line = process.stdout.readline()
    except BrokenPipeError:
        line = b""
    if not line:
        _persistent_worker.cache_clear()
        return Verdict(right=False, parses=False, reason="the judge's process ended early")
    return Verdict(**json.loads(line))


@cache
def _persistent_worker(judge_one: JudgeOne) -> subprocess.Popen[bytes]:
    stack = ExitStack()
    atexit.register(stack.close)
    folder = stack.enter_context(scratch_folder())
    limits = Limits(cpu_s=600, memory_bytes=_MEMORY_BYTES, file_bytes=0)
    process = start(_command(judge_one), folder, limits=limits, environment=_environment())
    stack.callback(end, process)
    return process


def _command(judge_one: JudgeOne) -> list[str]:
    return [sys.executable, "-m", "xpm_build.judges.worker", judge_one.__module__, judge_one.__name__]


def _environment() -> dict[str, str]:
    return {"PYTHONPATH": os.pathsep.join(each for each in sys.path if each)}
