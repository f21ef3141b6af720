"""Where xpm keeps what is not a project's: one folder per user, ``XPM_HOME`` or the platform's data folder."""

import hashlib
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from xpm.errors import BusyError, StoreError
from xpm_index.locks import LockedError, locked_file

_LOCK_TIMEOUT_S = 600
_SCRATCH = ("index-*", "accept-*", "adapter-*", "model-*", "indexes/.*.git.*")
_SCRATCH_AGE_S = 86400


@dataclass(frozen=True, slots=True)
class Home:
    root: Path

    @classmethod
    def of_user(cls) -> "Home":
        override = os.environ.get("XPM_HOME")
        return cls(
            Path(override).expanduser().absolute()
            if override
            else Path(platformdirs.user_data_dir("xpm", appauthor=False))
        )

    @property
    def store(self) -> Path:
        return self.root / "store"

    @property
    def indexes(self) -> Path:
        return self.root / "indexes"

    @property
    def keys(self) -> Path:
        return self.root / "keys"

    @property
    def environment(self) -> Path:
        """The default environment, for commands outside a project."""
        return self.root / "environment"

    @property
    def history(self) -> Path:
        """What changed each environment of this user."""
        return self.root / "history"

    @property
    def downloads(self) -> Path:
        """Archives on their way to the store, whole or in part."""
        return self.root / "downloads"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the one lock under which indexes, store and environments of this user change."""
        self.make()
        try:
            with locked_file(self.root / "lock", timeout_s=_LOCK_TIMEOUT_S):
                yield
        except LockedError as error:
            raise StoreError(
                f"another xpm holds {self.root / 'lock'}", context=str(error), hint="wait for it to end and try again"
            ) from error

    @contextmanager
    def alone_in(self, folder: Path) -> Iterator[None]:
        """Keep this user's other processes from making something in ``folder`` at the same time.

        The lock lies here rather than there, where it would be a file that nobody asked for.

        Raises:
            BusyError: one of them is at it.
        """
        folder, locks = folder.resolve(), self.root / "locks"
        self.make()
        locks.mkdir(exist_ok=True)
        try:
            with locked_file(locks / hashlib.sha256(os.fsencode(folder)).hexdigest(), timeout_s=0):
                yield
        except LockedError as error:
            raise BusyError(
                f"another xpm is at work in {folder}",
                context=f"it is process {error.process}" if error.process else None,
                hint="wait for it to end, or stop it",
            ) from error

    def downloaded(self) -> list[Path]:
        """Every file that was fetched and is kept, or was not fetched to its end."""
        return sorted(path for path in self.downloads.rglob("*") if path.is_file())

    def clear_abandoned(self) -> None:
        """Remove the scratch folders of commands that were killed long ago."""
        for pattern in _SCRATCH:
            for path in self.root.glob(pattern):
                if path.is_dir() and time.time() - path.stat().st_mtime > _SCRATCH_AGE_S:
                    shutil.rmtree(path, ignore_errors=True)

    def make(self) -> None:
        try:
            self.root.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            hint = "set XPM_HOME to a folder that you can write to"
            raise StoreError(f"{self.root} can't be used as xpm's home", context=str(error), hint=hint) from error
