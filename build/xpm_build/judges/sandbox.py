"""Running text that a model wrote: another process, without network, in its own folder, with limits.

The network is taken away by a namespace of the kernel (``unshare`` on Linux) or by ``sandbox-exec`` (macOS). Where neither
works nothing is run: ``SandboxError`` says so.
"""

import os
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from xpm_build.errors import BuildError

_NO_NETWORK_MACOS = "(version 1)(allow default)(deny network*)"


class SandboxError(BuildError):
    code = "no-sandbox"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """``cpu_s`` and ``wall_s`` bound one process; ``memory_bytes`` its address space, 0 for no bound; ``file_bytes`` a file."""

    cpu_s: int = 10
    wall_s: float = 20.0
    memory_bytes: int = 2 << 30
    file_bytes: int = 64 << 20
    num_files: int = 256


@cache
def isolation() -> tuple[str, ...]:
    """The command that starts another one without a network.

    Raises:
        SandboxError: this machine offers none.
    """
    candidates: list[tuple[str, ...]] = []
    if shutil.which("unshare"):
        candidates.append(("unshare", "--user", "--map-root-user", "--net", "--"))
    if sys.platform == "darwin":
        candidates.append(("sandbox-exec", "-p", _NO_NETWORK_MACOS))
    for command in candidates:
        if subprocess.run([*command, "true"], capture_output=True, check=False).returncode == 0:
            return command
    raise SandboxError(
        "generated code cannot be run here: there is no way to take the network away from it",
        hint="install util-linux (`unshare`) and allow user namespaces, or validate without running: --no-execution",
    )


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """A folder that is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="xpm-judge-") as folder:
        yield Path(folder)


def run(
    command: Sequence[str],
    folder: Path,
    *,
    limits: Limits,
    stdin: bytes = b"",
    environment: dict[str, str] | None = None,
) -> subprocess.CompletedProcess[bytes]:
    """Run ``command`` in ``folder`` within its limits; a process that passes the wall clock comes back with code 124."""

    def confine() -> None:
        os.setsid()
        resource.setrlimit(resource.RLIMIT_CPU, (limits.cpu_s, limits.cpu_s + 1))
        resource.setrlimit(resource.RLIMIT_FSIZE, (limits.file_bytes, limits.file_bytes))
        resource.setrlimit(resource.RLIMIT_NOFILE, (limits.num_files, limits.num_files))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        if limits.memory_bytes:
            resource.setrlimit(resource.RLIMIT_AS, (limits.memory_bytes, limits.memory_bytes))

    kept = {key: os.environ[key] for key in ("PATH", "RUSTUP_HOME", "CARGO_HOME") if key in os.environ}
    home = {"HOME": str(folder), "TMPDIR": str(folder), "LANG": "C.UTF-8"}
    if "RUSTUP_HOME" not in kept and (Path.home() / ".rustup").is_dir():
        home["RUSTUP_HOME"] = str(Path.home() / ".rustup")
    process = subprocess.Popen(
        [*isolation(), *command], cwd=folder, env=kept | home | (environment or {}), preexec_fn=confine,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        out, err = process.communicate(stdin, timeout=limits.wall_s)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, 9)
        out, err = process.communicate()
        return subprocess.CompletedProcess(command, 124, out, err)
    except BaseException:
        os.killpg(process.pid, 9)
        process.wait()
        raise
    return subprocess.CompletedProcess(command, process.returncode, out, err)
