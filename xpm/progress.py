"""Progress of long work: what the operations report and the command line shows."""

from typing import Protocol


class Progress(Protocol):
    """Told of work as it happens; where it shows it is its own affair."""

    def start(self, what: str, total_bytes: int) -> None: ...

    def advance(self, num_bytes: int) -> None: ...

    def note(self, text: str) -> None: ...

    def warn(self, text: str) -> None: ...


class Silent:
    """Shows nothing."""

    def start(self, what: str, total_bytes: int) -> None:
        pass

    def advance(self, num_bytes: int) -> None:
        pass

    def note(self, text: str) -> None:
        pass

    def warn(self, text: str) -> None:
        pass
