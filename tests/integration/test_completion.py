"""What the shells ask for while somebody types: right, and at once."""

import json
import os
import subprocess
import sys
import time

import pytest

from xpm.cli.complete import TABLE, completions, described
from xpm.config import DEVICES

_TIMES = 7


def complete(tmp_path, *words, shell="bash", **more):
    line = " ".join(("xpm", *words))
    environment = {
        **os.environ,
        "XPM_HOME": str(tmp_path / "home"),
        "_XPM_COMPLETE": f"{shell}_complete",
        "COMP_WORDS": line,
        "COMP_CWORD": words[-1] if shell == "fish" else str(len(words)),
    }
    command = [sys.executable, *more.get("options", ()), "-m", "xpm"]
    return subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=True)


def test_the_table_is_what_the_commands_say():
    assert json.loads(TABLE.read_text()) == json.loads(json.dumps(described())), "run python -m xpm.cli.complete"


@pytest.mark.parametrize(
    ("words", "incomplete", "wanted"),
    [
        ([], "und", ["undo"]),
        ([], "ad", ["add"]),
        (["-q"], "und", ["undo"]),
        (["dataset"], "gen", ["generate"]),
        (["run"], "--dev", ["--device"]),
        (["run", "--device"], "", list(DEVICES)),
        (["run"], "--device=cu", ["cuda"]),
        (["run", "--threads", "2", "--device"], "c", ["cpu", "cuda", "coreml"]),
        (["dataset", "generate", "--provider"], "t", ["template"]),
        (["completion"], "z", ["zsh"]),
        (["no-such-command"], "x", []),
    ],
)
def test_what_completes(words, incomplete, wanted):
    assert [value for _, value, _ in completions(words, incomplete)] == wanted


def test_installed_names_and_files(tmp_path):
    (tmp_path / "xpm.toml").touch()
    (tmp_path / "xpm.lock").write_text('[[expert]]\nname = "expert-sql"\n[[expert]]\nname = "expert-json"\n')
    assert complete(tmp_path, "uninstall", "expert-s").stdout == "plain,expert-sql\n"
    assert complete(tmp_path, "run", "--expert", "expert-j", shell="fish").stdout == "plain,expert-json\n"
    assert complete(tmp_path, "build", "expert", "my").stdout == "dir,my\n"
    assert complete(tmp_path, "verif", shell="zsh").stdout.splitlines()[:2] == ["plain", "verify"]
    (tmp_path / "xpm.lock").write_text("not a lock")
    assert complete(tmp_path, "uninstall", "expert-s").stdout == ""


def test_nothing_is_imported_for_it(tmp_path):
    done = complete(tmp_path, "run", "--dev", options=["-X", "importtime"])
    assert done.stdout == "plain,--device\n"
    assert not [
        line for line in done.stderr.splitlines() if line.endswith((" click", " numpy", " dulwich", " tomlkit"))
    ]


def test_it_takes_little_more_than_python_itself(tmp_path):
    """A tenth of a second where Python starts in a fiftieth."""

    def best(run):
        times = []
        for _ in range(_TIMES):
            started = time.perf_counter()
            run()
            times.append(time.perf_counter() - started)
        return min(times)

    python = best(lambda: subprocess.run([sys.executable, "-c", "pass"], check=True))
    assert best(lambda: complete(tmp_path, "run", "--dev")) < 5 * python
