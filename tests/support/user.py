"""A person at the command line, with a home and a folder of their own."""

import os
import subprocess
import sys
from pathlib import Path


class User:
    """``user.xpm("init")`` runs a command in ``folder``; ``user.pastes(text)`` what was copied
    from somewhere, in a shell."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "work"
        self.folder.mkdir(parents=True)
        self.environment = {**os.environ, "HOME": str(folder), "XPM_HOME": str(folder / "xpm"), "NO_COLOR": "1"}

    def xpm(self, *arguments: object, fails: int = 0) -> str:
        """Run a command; what it printed (stderr if it was to fail)."""
        return self._run([sys.executable, "-m", "xpm", *map(str, arguments)], fails=fails)

    def pastes(self, text: str, *, fails: int = 0) -> str:
        """Run a text in a shell that finds xpm; what it printed (stderr if it was to fail)."""
        programs = self.folder.parent / "bin"
        programs.mkdir(exist_ok=True)
        (programs / "xpm").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m xpm "$@"\n')
        (programs / "xpm").chmod(0o755)
        self.environment["PATH"] = f"{programs}{os.pathsep}{os.environ['PATH']}"
        return self._run(["sh", "-c", text], fails=fails)

    def _run(self, command: list[str], *, fails: int) -> str:
        done = subprocess.run(command, cwd=self.folder, env=self.environment, capture_output=True, text=True)
        assert done.returncode == fails, done.stderr
        return done.stderr if fails else done.stdout
