"""The process in which generated Python, SQL and Cypher run: ``python -m xpm_build.judges.worker MODULE FUNCTION``.

Reads jobs as JSON lines, forks for each, writes verdicts as JSON lines. Knows no limits but a case's own: the process
was confined before it started.
"""

import json
import os
import resource
import select
import signal
import sys
import time
from contextlib import suppress
from importlib import import_module
from typing import Any

from xpm_build.judges.workers import CASE_CPU_S, JudgeOne, Outcome

assert sys.platform != "win32"  # it runs in a sandbox, and there is none

_WALL_S = CASE_CPU_S + 1.0
_LATEST_S = 30.0


def main(module: str, function: str) -> None:
    judges = import_module(module)
    for name in getattr(judges, "PRELOADED", ()):  # once, not in every child
        import_module(name)
    judge_one = getattr(judges, function)
    for line in sys.stdin:
        right, parses, reason = _in_child(judge_one, json.loads(line))
        sys.stdout.write(json.dumps({"right": right, "parses": parses, "reason": reason[:300]}) + "\n")
        sys.stdout.flush()


def _in_child(judge_one: JudgeOne, job: dict[str, Any]) -> Outcome:
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        quiet = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(quiet, stream)
        resource.setrlimit(resource.RLIMIT_CPU, (CASE_CPU_S, CASE_CPU_S))
        try:
            outcome: Outcome = judge_one(job)
        except BaseException as error:  # whatever the answer raised, SystemExit too
            outcome = (False, True, f"{type(error).__name__}: {error}")
        os.write(writer, json.dumps(outcome).encode())
        os._exit(0)
    os.close(writer)
    answer = _read(reader, child)
    os.close(reader)
    if answer is None:
        os.kill(child, 9)
    os.waitpid(child, 0)
    _end_strays()
    if not answer:
        return False, True, "took too long" if answer is None else "ended early"
    right, parses, reason = json.loads(answer)
    return right, parses, reason


def _end_strays() -> None:
    """End what the case left running. A worker is process 1 of its own namespace, unless the machine allows none."""
    if os.getpid() != 1:
        return
    with suppress(ProcessLookupError):
        os.kill(-1, signal.SIGKILL)
    with suppress(ChildProcessError):
        while True:
            os.waitpid(-1, 0)


def _read(reader: int, child: int) -> bytes | None:
    """All that the child writes, or None if it is not done in time: longer where it waits for a
    processor, not where it sleeps."""
    parts: list[bytes] = []
    clock, used = ~child << 3 | 2, 0.0  # the child's processor time (clock_getcpuclockid)
    begin = time.monotonic()
    deadline = begin + _WALL_S
    while True:
        ready, _, _ = select.select([reader], [], [], max(0.0, deadline - time.monotonic()))
        if not ready:
            earlier, used = used, time.clock_gettime(clock)
            deadline = time.monotonic() + 1.0
            if used == earlier or deadline > begin + _LATEST_S:
                return None
            continue
        part = os.read(reader, 1 << 16)
        if not part:
            return b"".join(parts)
        parts.append(part)


if __name__ == "__main__":
    main(*sys.argv[1:])
