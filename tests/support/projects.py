"""Projects that commands run in, and what their users are told."""

from pathlib import Path

from tests.support.simulator import IndexSimulator
from xpm.environment import Environment
from xpm.home import Home
from xpm.progress import Silent
from xpm.project import Project


def new_project(root: Path, index: IndexSimulator | None = None, *, name: str = "project") -> Environment:
    """A new project in ``root`` that uses ``index`` as its index ``main``; its home is the one in ``root``."""
    folder = root / name
    folder.mkdir()
    Project(indexes={"main": index.source} if index else {}).save(folder)
    return Environment.find(Home(root / "home"), folder)


class Listening(Silent):
    """Keeps the warnings."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warn(self, text: str) -> None:
        self.warnings.append(text)
