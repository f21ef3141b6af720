"""Judging many cases in sandboxed Python processes, one forked child per case.

``judge_in_workers(kind, jobs)`` sends the jobs as JSON lines to ``worker`` processes, as many as there are processors. A case that
crashes, loops or eats memory costs its own child only.
"""

import json
import os
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from xpm_build.judges.sandbox import Limits, run, scratch_folder
from xpm_build.judges.verdict import Verdict

CASE_CPU_S = 2
_MEMORY_BYTES = 4 << 30


def judge_in_workers(kind: str, jobs: Sequence[dict[str, Any]]) -> list[Verdict]:
    """One verdict per job; ``kind`` names a ``judge_one`` function of ``worker``."""
    if not jobs:
        return []
    count = min(os.cpu_count() or 1, max(1, len(jobs) // 16))
    parts = [list(range(start, len(jobs), count)) for start in range(count)]
    with ThreadPoolExecutor(count) as pool:
        results = pool.map(lambda part: _run_part(kind, [jobs[index] for index in part]), parts)
        verdicts: dict[int, Verdict] = {}
        for part, result in zip(parts, results, strict=True):
            verdicts |= dict(zip(part, result, strict=True))
    return [verdicts[index] for index in range(len(jobs))]


def _run_part(kind: str, jobs: list[dict[str, Any]]) -> list[Verdict]:
    limits = Limits(cpu_s=60 + 2 * len(jobs), wall_s=120.0 + (CASE_CPU_S + 1) * len(jobs), memory_bytes=_MEMORY_BYTES)
    with scratch_folder() as folder:
        done = run(
            [sys.executable, "-m", "xpm_build.judges.worker", kind], folder, limits=limits,
            stdin="".join(json.dumps(job) + "\n" for job in jobs).encode(),
            environment={"PYTHONPATH": os.pathsep.join(each for each in sys.path if each)},
        )  # fmt: skip
    verdicts = []
    for line in done.stdout.decode(errors="replace").splitlines():
        document = json.loads(line)
        verdicts.append(Verdict(right=document["right"], parses=document["parses"], reason=document["reason"]))
    lost = len(jobs) - len(verdicts)
    tail = done.stderr.decode(errors="replace").strip().splitlines()[-1:] or ["the judge's process ended early"]
    return verdicts + [Verdict(right=False, parses=False, reason=tail[0])] * lost
