"""What a person sees on a terminal, word for word.

Each file is a transcript: a command behind ``$``, what is typed into it behind ``>`` (``^C`` and ``^D`` are keys), and
all that is shown between. ``XPM_GOLDEN=write`` rewrites what is shown: read the difference before you commit it.
"""

import json
import os
import re
import shlex
import sys
from pathlib import Path

import pytest

if sys.platform == "win32":
    pytest.skip("there are no pseudo-terminals", allow_module_level=True)

from tests.support.terminal import CTRL_C, CTRL_D, Terminal
from xpm.environment import Environment
from xpm.home import Home
from xpm.operations.install import require_stored

FILES = sorted((Path(__file__).parent / "terminal").glob("*.txt"))
_KEYS = {"^C": CTRL_C, "^D": CTRL_D}


def transcript(command: str, typed: list[str], folder: Path) -> str:
    """The command, all that was shown, and the exit code if it is not 0."""
    environment = {
        **os.environ,
        "XPM_HOME": str(folder / "home"),
        "TERM": "dumb",
        "COLUMNS": "200",
        "PYTHONWARNINGS": "ignore",
    }
    program = [sys.executable, "-m", *shlex.split(command)]
    with Terminal(program, folder=folder, environment=environment) as terminal:
        for line in typed:
            terminal.wait_for("\n> ")
            terminal.type(_KEYS.get(line, f"{line}\n"))
        code = terminal.wait()
        shown = terminal.plain
    if typed[-1:] == ["^D"]:  # which is not echoed
        shown = shown.removesuffix("> \n") + "> ^D\n"
    return f"$ {command}\n{shown}" + (f"[exit {code}]\n" if code else "")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("terminal")
    environment = Environment.find(Home(folder / "home"), folder)
    require_stored(environment)  # or each transcript would begin with it
    (folder / "request.txt").write_text("Convert to JSON: city is Oslo, population is 709037\n")
    (folder / "hostile.json").write_text(json.dumps({"version": 1, "turns": [{"role": "root", "content": "x"}]}))
    return folder


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_transcript(file, folder):
    sessions = re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", file.read_text(encoding="utf-8"), re.MULTILINE)
    shown = "\n".join(
        transcript(command, re.findall(r"^> (.*)$", body, re.MULTILINE), folder) for command, body in sessions
    )
    if os.environ.get("XPM_GOLDEN") == "write":
        file.write_text(shown, encoding="utf-8")
    assert _joined(file.read_text(encoding="utf-8")) == _joined(shown)


def _joined(shown: str) -> str:
    """What is shown, wherever the line breaks that the terminal makes behind Ctrl-C: it depends on who is quicker."""
    return shown.replace("^C\n", "^C")
