"""Running text that a model wrote: another process, without network, in its own folder, with limits.

The network is taken away by a namespace of the kernel (``unshare`` on Linux) or by ``sandbox-exec`` (macOS). Where
neither works nothing is run: ``SandboxError`` says so. Where Linux allows it the text sees no processes but its own,
and all of them end with the first.
"""

import os
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
from xpm_build.processes import confining, kill_group

_NO_NETWORK = ("unshare", "--user", "--map-root-user", "--net")
_OWN_PROCESSES = ("--pid", "--fork", "--kill-child")
_NO_NETWORK_MACOS = "(version 1)(allow default)(deny network*)"


class SandboxError(BuildError):
    code = "no-sandbox"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Of one process: ``memory_bytes`` is its address space, ``data_bytes`` what of it can be written to (for programs
    that reserve more than they use), each 0 for no bound; ``file_bytes`` is a file."""

    cpu_s: int = 10
    wall_s: float = 20.0
    memory_bytes: int = 2 << 30
    data_bytes: int = 0
    file_bytes: int = 64 << 20
    num_files: int = 256


@cache
def isolation() -> tuple[str, ...]:
    """The command that starts another one without a network, and among processes of its own where that is allowed.

    Raises:
        SandboxError: this machine offers none.
    """
    candidates: list[tuple[str, ...]] = []
    if shutil.which("unshare"):
        extras: tuple[tuple[str, ...], ...] = ((*_OWN_PROCESSES, "--mount-proc"), _OWN_PROCESSES, ())
        candidates += [(*_NO_NETWORK, *extra, "--") for extra in extras]
    if sys.platform == "darwin":
        candidates.append(("sandbox-exec", "-p", _NO_NETWORK_MACOS))
    for command in candidates:
        if subprocess.run([*command, "true"], capture_output=True, check=False).returncode == 0:
            return command
    raise SandboxError(
        "generated code cannot be run here: there is no way to take the network away from it",
        hint="install util-linux (`unshare`) and allow user namespaces, or do without: `xpm validate --no-execution`, "
        "training.config.metric loss",
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
    """Run ``command`` in ``folder`` within its limits; a process that passes the wall clock
    comes back with code 124."""
    process = start(command, folder, limits=limits, environment=environment)
    code = None
    try:
        out, err = process.communicate(stdin, timeout=limits.wall_s)
    except subprocess.TimeoutExpired:
        end(process)
        out, err = process.communicate()
        code = 124
    finally:
        end(process)
    return subprocess.CompletedProcess(command, process.returncode if code is None else code, out, err)


def start(
    command: Sequence[str], folder: Path, *, limits: Limits, environment: dict[str, str] | None = None
) -> subprocess.Popen[bytes]:
    """Start ``command`` in ``folder`` within its limits, but for the wall clock; ``end`` it."""
    confine = confining(
        cpu_s=limits.cpu_s,
        file_bytes=limits.file_bytes,
        num_files=limits.num_files,
        memory_bytes=limits.memory_bytes,
        data_bytes=limits.data_bytes,
    )
    kept = {key: os.environ[key] for key in ("PATH", "RUSTUP_HOME", "CARGO_HOME") if key in os.environ}
    home = {"HOME": str(folder), "TMPDIR": str(folder), "LANG": "C.UTF-8"}
    if "RUSTUP_HOME" not in kept and (Path.home() / ".rustup").is_dir():
        home["RUSTUP_HOME"] = str(Path.home() / ".rustup")
    return subprocess.Popen(
        [*isolation(), *command],
        cwd=folder,
        env=kept | home | (environment or {}),
        preexec_fn=confine,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def end(process: subprocess.Popen[bytes]) -> None:
    """End a process that ``start`` made, and its group; what left the group ends with the namespace of processes."""
    kill_group(process)
    process.wait()
