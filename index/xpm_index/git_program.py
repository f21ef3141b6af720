"""Fetching and reading with the ``git`` program, where there is one: for large indexes far faster than pure Python.

Nothing but objects comes of it: no ref is moved, no hook, filter, submodule or alias runs, only the
usual transports are allowed.
"""

import os
import shutil
import subprocess
import tempfile
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from xpm_index.errors import FULL, DiskFullError, GitError
from xpm_index.process_limits import limiting_files
from xpm_index.urls import without_credentials

_ALLOWED = ("https", "http", "ssh", "file")
_SETTINGS = (
    "protocol.allow=never",
    *(f"protocol.{name}.allow=always" for name in _ALLOWED),
    "core.hooksPath=/dev/null",
    "fetch.fsckObjects=true",
    "gc.auto=0",
    "maintenance.auto=false",
    "fetch.unpackLimit=1",
    "core.fsync=all",
)
_QUIET = {"GIT_TERMINAL_PROMPT": "0", "GIT_ASKPASS": "", "SSH_ASKPASS": "", "GCM_INTERACTIVE": "never", "LC_ALL": "C"}
_LOCATING = ("GIT_DIR", "GIT_WORK_TREE", "GIT_OBJECT_DIRECTORY", "GIT_ALTERNATE_OBJECT_DIRECTORIES", "GIT_INDEX_FILE")


_PROBLEMS = ("fatal:", "error:", "remote: error", "remote: fatal")
_MAX_LINES = 4
_FULL = tuple(os.strerror(number) for number in FULL)  # as the C library says it with LC_ALL=C


def is_available() -> bool:
    return os.name == "posix" and shutil.which("git") is not None


def fetch(repository: Path, url: str, ref: str, *, max_bytes: int, progress: Callable[[str], None]) -> None:
    """Fetch the objects of ``ref`` (``refs/heads/main``) at ``url`` into a bare repository.

    Args:
        max_bytes: no file may grow larger; a pack that does is given up.
    Raises:
        GitError: the program failed; the context is what it said. DiskFullError: for want of room.
    """
    settings = [argument for setting in _SETTINGS for argument in ("-c", setting)]
    command = [
        "git",
        *settings,
        "-C",
        str(repository),
        "fetch",
        "--quiet",
        "--no-tags",
        "--no-write-fetch-head",
        "--no-recurse-submodules",
        "--progress",
        "--",
        url,
        ref,
    ]
    environment = {name: value for name, value in os.environ.items() if name not in _LOCATING} | _QUIET
    said, lines = "", deque[str](maxlen=_MAX_LINES)
    with subprocess.Popen(
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        preexec_fn=limiting_files(max_bytes),
    ) as process:
        assert process.stderr is not None
        try:
            for line in process.stderr:
                said = line.strip() or said
                if said.startswith(_PROBLEMS):
                    lines.append(said)
                progress(said)
        except BaseException:
            process.terminate()
            raise
    if process.returncode:
        context = without_credentials("\n".join(lines) or said)[:600]
        if any(each in context for each in _FULL):
            raise DiskFullError("git could not fetch", context=context)
        raise GitError("git could not fetch", context=context)


def read_blobs(repository: Path, ids: Sequence[str], *, max_bytes: int) -> Iterator[bytes | None]:
    """The content of each object, None if it is no blob; by one process. Raises GitError at one
    of more than ``max_bytes``."""
    command = ["git", "-C", str(repository), "cat-file", "--batch", "--buffer"]
    environment = {name: value for name, value in os.environ.items() if name not in _LOCATING} | _QUIET
    with (
        _questions(ids) as questions,
        subprocess.Popen(
            command, env=environment, stdin=questions, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        ) as process,
    ):
        assert process.stdout is not None
        for _ in ids:
            head = process.stdout.readline().split()
            if len(head) != 3:
                yield None
                continue
            if int(head[2]) > max_bytes:
                process.terminate()
                raise GitError(
                    f"a file of the repository has more than {max_bytes} bytes", context=f"{int(head[2])} bytes"
                )
            data = process.stdout.read(int(head[2]))
            process.stdout.read(1)
            yield data if head[1] == b"blob" else None


@contextmanager
def _questions(ids: Sequence[str]) -> Iterator[IO[bytes]]:
    with tempfile.TemporaryFile() as file:
        file.writelines(f"{each}\n".encode() for each in ids)
        file.seek(0)
        yield file
