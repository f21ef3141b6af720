"""Sixteen processes at once on one home: installing, updating, removing, collecting. Nothing is lost."""

import random
import subprocess
import sys

from tests.support.projects import new_project
from tests.support.simulator import IndexSimulator
from xpm.operations import install as operations
from xpm.operations.fetching import missing
from xpm_index.requirements import Requirement

NUM_PROCESSES = 16
COMMANDS = (
    ("install", "a"),
    ("install", "b@^1"),
    ("uninstall", "a"),
    ("update",),
    ("sync",),
    ("gc", "--keep-undo", "0"),
    ("index", "update"),
    ("undo",),
    ("search", "expert"),
)
EXPECTED = ("not installed here", "nothing to undo", "is not installed", "changed since")


def test_nothing_is_lost(tmp_path):
    index = IndexSimulator(tmp_path)
    index.serve("expert-a", "1.0.0", requires=["expert-b@^1"])
    index.serve("expert-b", "1.0.0")
    index.serve("expert-b", "1.1.0")
    environments = [new_project(tmp_path, index, name=f"project-{number}") for number in range(3)]
    home = environments[0].home
    operations.install(environments[0], [Requirement.parse("b@1.0.0")])
    choose = random.Random(4)
    running = []
    for number in range(NUM_PROCESSES):
        folder = environments[number % 3].folder
        arguments = [sys.executable, "-m", "xpm", *(choose.choice(COMMANDS) if number else ("gc", "--keep-undo", "0"))]
        running.append(
            subprocess.Popen(
                arguments,
                cwd=folder,
                env={"XPM_HOME": str(home.root), "PATH": "/usr/bin:/bin", "NO_COLOR": "1"},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
        if number == NUM_PROCESSES // 2:
            index.serve("expert-b", "1.2.0")
    for process in running:
        _, told = process.communicate(timeout=120)
        assert process.returncode == 0 or any(text in told for text in EXPECTED), (process.args, told)
    for environment in environments:
        lock = environment.lockfile()
        if lock is not None:
            assert missing(environment, lock) == []
    operations.install(environments[1], [Requirement.parse("a")])
    assert (home.store / "tmp").exists() is False or not list((home.store / "tmp").iterdir())
