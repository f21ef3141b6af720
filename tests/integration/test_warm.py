"""What is locked and stored already is installed at once, and without a socket."""

import json
import subprocess
import sys

import pytest

from tests.support.projects import new_project
from tests.support.simulator import IndexSimulator
from xpm.operations import install as operations
from xpm_index.requirements import Requirement

CODE = """
import json, sys, time
opened = []
sys.addaudithook(lambda event, args: opened.append(event) if event.startswith("socket.") else None)
start = time.perf_counter()
sys.argv = ["xpm", *{arguments!r}]
from xpm.cli.main import main
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
heavy = [name for name in ("onnxruntime", "numpy", "torch", "dulwich", "tuf", "urllib3") if name in sys.modules]
print(json.dumps({{"ms": (time.perf_counter() - start) * 1000, "sockets": opened, "heavy": heavy}}))
"""


@pytest.fixture
def environment(tmp_path):
    index = IndexSimulator(tmp_path)
    index.serve("expert-a", "1.0.0", requires=["expert-b@^1"])
    index.serve("expert-b", "1.0.0")
    environment = new_project(tmp_path, index)
    operations.install(environment, [Requirement.parse("expert-a")])
    return environment


@pytest.mark.parametrize("arguments", [("sync", "--frozen"), ("sync", "--locked"), ("sync",), ("install",)])
def test_no_socket_is_opened(environment, arguments):
    """Nor is the network's or the runtime's machinery even loaded where the lock alone decides."""
    done = subprocess.run(
        [sys.executable, "-c", CODE.format(arguments=list(arguments))],
        cwd=environment.folder,
        capture_output=True,
        text=True,
        env={"XPM_HOME": str(environment.home.root), "PATH": "/usr/bin:/bin"},
        check=True,
    )
    report = json.loads(done.stdout.splitlines()[-1])
    assert report["sockets"] == []
    assert report["heavy"] == []
