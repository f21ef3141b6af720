"""Work that can't be interrupted, done for as long as it may take: on a thread that goes on by
itself if it takes longer."""

import threading
import time
from collections.abc import Callable
from typing import TypeVar

_WAIT_S = 10.0
_STACK_BYTES = 512 << 20  # of which only what is used is memory
_STACK_LOCK = threading.Lock()
_Result = TypeVar("_Result")


class TimeLimit:
    """At most ``num_running`` pieces of work run at once, those that were given up among them. Any thread may ask."""

    def __init__(self, num_running: int) -> None:
        self._slots = threading.BoundedSemaphore(num_running)

    def run(self, work: Callable[[], _Result], *, seconds: float) -> _Result:
        """What ``work`` returns or raises; TimeoutError if it takes more seconds of a
        processor, or does not begin in 10.

        Its stack is deep.
        """
        done: list[_Result | BaseException] = []
        clocks: list[Callable[[], float]] = []

        def call() -> None:
            clocks.append(_clock())
            try:
                done.append(work())
            except BaseException as error:
                done.append(error)
            finally:
                self._slots.release()

        deadline = time.monotonic() + _WAIT_S
        if self._slots.acquire(timeout=_WAIT_S):
            thread = threading.Thread(target=call, name="xpm-grammar", daemon=True)
            _start_deep(thread)
            while thread.is_alive() and time.monotonic() < deadline and all(clock() <= seconds for clock in clocks):
                thread.join(0.02)
        if not done:
            raise TimeoutError
        if isinstance(done[0], BaseException):
            raise done[0]
        return done[0]


def _start_deep(thread: threading.Thread) -> None:
    """Start a thread whose stack holds what llguidance comes to in grammars whose rules lead to ever more rules.

    It follows them recursively, a thousand references of a JSON Schema to the end of an ordinary
    stack, and of the process.
    """
    with _STACK_LOCK:
        ordinary = threading.stack_size(_STACK_BYTES)
        try:
            thread.start()
        finally:
            threading.stack_size(ordinary)


def _clock() -> Callable[[], float]:
    """For how long this thread had a processor from now on, in seconds; where no clock tells,
    how long it is since now."""
    clock_of, read = getattr(time, "pthread_getcpuclockid", None), getattr(time, "clock_gettime", None)
    if clock_of is None or read is None:  # Windows, macOS
        started = time.monotonic()
        return lambda: time.monotonic() - started
    clock = clock_of(threading.get_ident())

    def spent() -> float:
        try:
            return float(read(clock))
        except OSError:  # the thread has ended
            return 0.0

    return spent
