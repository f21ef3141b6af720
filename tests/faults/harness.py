"""Commands run while a fault is injected into one of their system calls by strace.

A command runs in a child forked from this process, so that everything is imported already: the child stops itself,
strace attaches with the injection, and the child goes on. A first run without injection lists the calls that touch the
sandbox; each of them then fails once with ENOSPC, once with EIO, and once kills the process. ``close`` is left out:
strace would skip the call, so that the file stays open, which no kernel does.
"""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

CALLS = (
    "openat",
    "write",
    "pwrite64",
    "rename",
    "renameat",
    "renameat2",
    "unlink",
    "unlinkat",
    "mkdir",
    "mkdirat",
    "rmdir",
    "fsync",
    "fdatasync",
    "ftruncate",
    "link",
    "linkat",
    "symlink",
    "symlinkat",
    "chmod",
    "fchmod",
    "fchmodat",
    "flock",
    "read",
    "pread64",
    "newfstatat",
    "getdents64",
    "copy_file_range",
    "sendfile",
)
READING = ("read", "pread64", "newfstatat", "getdents64")
HUNG = 98
FAULTS = ("ENOSPC", "EIO", "KILL")
_LINE = re.compile(r"^(\d+) +(\w+)\((.*)$")
_TIMEOUT_S = 30


@dataclass(frozen=True, slots=True)
class Call:
    """The ``number``-th call of its name in one thread, and how strace shows it."""

    name: str
    number: int
    shown: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """``code`` is the exit code, negative for a signal."""

    code: int
    output: str


def is_possible() -> bool:
    """Whether strace is here and may trace our children."""
    if shutil.which("strace") is None:
        return False
    done = subprocess.run(["strace", "-qq", "-o", os.devnull, "true"], capture_output=True)
    return done.returncode == 0


def run(arguments: list[str], *, folder: Path, home: Path, strace: list[str] | None = None) -> Outcome:
    """Run an xpm command in a forked child, under strace if its options are given."""
    with tempfile.TemporaryFile() as output:
        pid = os.fork()
        if pid == 0:
            _child(arguments, folder, home, output.fileno(), stop=strace is not None)
        tracer = None
        try:
            if strace is not None:
                os.waitpid(pid, os.WUNTRACED)
                tracer = subprocess.Popen(
                    ["strace", "-f", "-qq", "-p", str(pid), *strace],
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                )
                _wait_until_traced(pid)
                os.kill(pid, signal.SIGCONT)
            status = _wait(pid)
        finally:
            if tracer is not None:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    tracer.wait(timeout=10)
                tracer.kill()
                tracer.wait()
        output.seek(0)
        return Outcome(os.waitstatus_to_exitcode(status), output.read().decode(errors="replace"))


def list_calls(arguments: list[str], *, folder: Path, home: Path, sandbox: Path) -> list[Call]:
    """Run a command undisturbed and list its calls that touch the sandbox."""
    with tempfile.NamedTemporaryFile() as log:
        options = ["-y", "-s", "0", "-e", f"trace={','.join(CALLS)}", "-o", log.name]
        outcome = run(arguments, folder=folder, home=home, strace=options)
        if outcome.code != 0:
            raise RuntimeError(f"{arguments} does not even work undisturbed: {outcome.output}")
        return list(dict.fromkeys(_calls(log.read().decode(errors="replace"), str(sandbox))))


def inject(call: Call, fault: str) -> list[str]:
    """strace's options for one fault."""
    what = "signal=SIGKILL" if fault == "KILL" else f"error={fault}"
    return [
        "--seccomp-bpf",
        "-o",
        os.devnull,
        "-e",
        f"trace={call.name}",
        "-e",
        f"inject={call.name}:{what}:when={call.number}",
    ]


def _calls(log: str, sandbox: str) -> Iterator[Call]:
    counts: dict[tuple[str, str], int] = {}
    for line in log.splitlines():
        match = _LINE.match(line)
        if match is None:
            continue
        thread, name, rest = match.groups()
        counts[thread, name] = number = counts.get((thread, name), 0) + 1
        if sandbox in rest:
            yield Call(name, number, rest[:200])


def _child(arguments: list[str], folder: Path, home: Path, output: int, *, stop: bool) -> None:
    """The forked child: never returns."""
    try:
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.chdir(folder)
        os.environ.update(XPM_HOME=str(home), NO_COLOR="1")
        sys.argv = ["xpm", "--verbose", *arguments]
        sys.stdout = os.fdopen(1, "w", closefd=False)
        sys.stderr = os.fdopen(2, "w", closefd=False)
        if stop:
            os.kill(os.getpid(), signal.SIGSTOP)
        from xpm.cli.main import main

        try:
            main()
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else (1 if end.code else 0)
        else:
            code = 0
        with contextlib.suppress(OSError):  # what was to be printed could not be: nothing is wrong with the files
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)
    except BaseException as error:
        os.write(2, f"escaped: {error!r}\n".encode())
        os._exit(99)


def _wait_until_traced(pid: int) -> None:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError):
            if "TracerPid:\t0\n" not in Path(f"/proc/{pid}/status").read_text():
                time.sleep(0.01)  # seized; let strace set its filters
                return
        time.sleep(0.002)
    raise RuntimeError("strace did not attach")


def _wait(pid: int) -> int:
    deadline = time.monotonic() + _TIMEOUT_S
    while time.monotonic() < deadline:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found and not os.WIFSTOPPED(status):
            return status
        time.sleep(0.002)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return HUNG << 8
