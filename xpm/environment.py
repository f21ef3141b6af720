"""An environment: a folder with xpm.toml and xpm.lock, a project's or the user's default one."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from xpm.errors import LockfileError
from xpm.history import History
from xpm.home import Home
from xpm.lockfile import LOCK_FILE, Lockfile
from xpm.project import EMBEDDED_EXPERTS, PROJECT_FILE, Project
from xpm.store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """What xpm.toml and xpm.lock say; ``lock`` is None if nothing was locked yet."""

    project: Project
    lock: Lockfile | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    home: Home
    folder: Path
    is_project: bool

    @classmethod
    def find(cls, home: Home, start: Path) -> "Environment":
        """The project that ``start`` lies in (the nearest folder upwards with an xpm.toml),
        else the default environment."""
        for folder in (start, *start.parents):
            if (folder / PROJECT_FILE).is_file():
                return cls(home=home, folder=folder, is_project=True)
        return cls(home=home, folder=home.environment, is_project=False)

    @property
    def store(self) -> Store:
        return Store(self.home.store)

    @property
    def history(self) -> History:
        return History(self.home.history, self.folder)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the home's lock, after a change of this environment that was cut off has been finished."""
        with self.home.locked():
            self.history.recover()
            yield

    def state(self) -> State:
        return State(project=self.project(), lock=self.lockfile())

    def project(self) -> Project:
        """The environment's wishes; a default environment that nobody has changed wants the
        experts that come with xpm."""
        if not self.is_project and not (self.folder / PROJECT_FILE).is_file():
            return Project(wants=EMBEDDED_EXPERTS)
        return Project.read(self.folder)

    def lockfile(self) -> Lockfile | None:
        return Lockfile.read(self.folder)

    def require_lockfile(self) -> Lockfile:
        """The lock; raises LockfileError if nothing was locked yet."""
        return self.require(self.lockfile())

    def require(self, lock: Lockfile | None) -> Lockfile:
        """The lock that was read here; raises LockfileError if it is None."""
        if lock is None:
            raise LockfileError(f"{self.folder} has no {LOCK_FILE}", hint="run `xpm lock` or `xpm install NAME`")
        return lock
