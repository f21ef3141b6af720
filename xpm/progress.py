"""Progress of long work: what the operations report and the command line shows."""

import threading
from typing import Protocol


class Progress(Protocol):
    """Told of work as it happens; where it shows it is its own affair."""

    def start(self, what: str, total_bytes: int) -> None: ...

    def advance(self, num_bytes: int) -> None: ...

    def skip(self, num_bytes: int) -> None:
        """Told of bytes that were there already; negative if some have to come again."""

    def stop(self) -> None:
        """The work ends, whether all of it is done or not."""

    def note(self, text: str) -> None: ...

    def warn(self, text: str) -> None: ...


class Silent:
    """Shows nothing."""

    def start(self, what: str, total_bytes: int) -> None:
        pass

    def advance(self, num_bytes: int) -> None:
        pass

    def skip(self, num_bytes: int) -> None:
        pass

    def stop(self) -> None:
        pass

    def note(self, text: str) -> None:
        pass

    def warn(self, text: str) -> None:
        pass


class Shared:
    """One progress told by several threads."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._lock = threading.Lock()

    def start(self, what: str, total_bytes: int) -> None:
        with self._lock:
            self._progress.start(what, total_bytes)

    def advance(self, num_bytes: int) -> None:
        with self._lock:
            self._progress.advance(num_bytes)

    def skip(self, num_bytes: int) -> None:
        with self._lock:
            self._progress.skip(num_bytes)

    def stop(self) -> None:
        with self._lock:
            self._progress.stop()

    def note(self, text: str) -> None:
        with self._lock:
            self._progress.note(text)

    def warn(self, text: str) -> None:
        with self._lock:
            self._progress.warn(text)
