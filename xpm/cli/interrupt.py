"""Ctrl-C while an answer is written: it ends the answer, not the command."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

EXIT_CODE = 128 + signal.SIGINT


@contextmanager
def interruptible() -> Iterator[Callable[[], bool]]:
    """Gives whether Ctrl-C was pressed since; pressed once more, it is a KeyboardInterrupt as anywhere else.

    A step of the engine is never cut off by the first.
    """
    asked = threading.Event()

    def ask(number: int, frame: FrameType | None) -> None:
        if asked.is_set():
            raise KeyboardInterrupt
        asked.set()

    before = signal.signal(signal.SIGINT, ask)
    try:
        yield asked.is_set
    finally:
        signal.signal(signal.SIGINT, before)
