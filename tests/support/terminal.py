"""A program on a pseudo-terminal, as a person has it: type, wait for what is shown, press Ctrl-C."""

import codecs
import contextlib
import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

CTRL_C, CTRL_D = "\x03", "\x04"
_TIMEOUT_S = 60.0
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b[=>]")


class Terminal:
    """A context manager that ends the program. ``shown`` is all that was written, escapes included."""

    def __init__(self, command: Sequence[str], *, folder: Path, environment: Mapping[str, str]) -> None:
        self._end, inner = pty.openpty()
        fcntl.ioctl(inner, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 200, 0, 0))
        settings = termios.tcgetattr(inner)
        settings[3] |= termios.NOFLSH  # or Ctrl-C would discard what is written at that moment
        termios.tcsetattr(inner, termios.TCSANOW, settings)
        self._process = subprocess.Popen(
            command,
            cwd=folder,
            env=environment,
            stdin=inner,
            stdout=inner,
            stderr=inner,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        os.close(inner)
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._at = 0
        self.shown = ""

    def __enter__(self) -> "Terminal":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._end)

    def type(self, text: str) -> None:
        os.write(self._end, text.encode())

    def wait_for(self, text: str) -> None:
        """Until ``text`` is shown behind what was waited for before."""
        deadline = time.monotonic() + _TIMEOUT_S
        while (found := self.shown.find(text, self._at)) < 0:
            if not self._read(deadline):
                raise AssertionError(f"{text!r} was not shown, but {self.shown[self._at :]!r}")
        self._at = found + len(text)

    def wait(self) -> int:
        """Until the program ends; its exit code."""
        deadline = time.monotonic() + _TIMEOUT_S
        while self._read(deadline):
            pass
        return self._process.wait(timeout=_TIMEOUT_S)

    @property
    def plain(self) -> str:
        """What was shown, without escapes."""
        return _ESCAPES.sub("", self.shown).replace("\r\n", "\n")

    def _read(self, deadline: float) -> bool:
        """Take what is written next; False at the end, or if nothing is in time."""
        ready, _, _ = select.select([self._end], [], [], max(0.0, deadline - time.monotonic()))
        part = b""
        with contextlib.suppress(OSError):  # Linux says of an end that nobody writes to any more that it can't be read
            part = os.read(self._end, 1 << 16) if ready else b""
        self.shown += self._decoder.decode(part)
        return bool(part)
