"""The tutorials are run as they stand: shell blocks in one session, outputs looked for in their order."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.git_http import serve_git
from tests.support.sandbox import needs_sandbox

DOCS = Path(__file__).parents[2] / "docs" / "tutorials"
_BLOCK = re.compile(r"^```(sh|text)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def run(script: str, state: Path, environment: dict[str, str]) -> str:
    """Run a block in the folder, with the variables and functions, that the block before left."""
    wrapped = f"""
set -euo pipefail
[ ! -f {state}/session ] || source {state}/session
cd "$(cat {state}/folder)"
{script}
pwd > {state}/folder
for name in ROOT XPM_HOME INDEX_URL BASE; do [ -z "${{!name:-}}" ] || echo "export $name=${{!name}}"; done \\
  > {state}/session
declare -f >> {state}/session
"""
    done = subprocess.run(
        ["bash", "-c", wrapped], env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert done.returncode == 0, f"{script}\n---\n{done.stdout}"
    return done.stdout


def assert_in_order(expected: str, output: str) -> None:
    position = 0
    for line in filter(None, map(str.strip, expected.splitlines())):
        found = output.find(line, position)
        assert found >= 0, f"{line!r} is not in what was printed:\n{output}"
        position = found + len(line)


@pytest.mark.parametrize("page", ["a-team.md", pytest.param("making-an-expert.md", marks=needs_sandbox)])
def test_tutorials(page, tmp_path):
    work, state = tmp_path / "work", tmp_path / "state"
    work.mkdir()
    state.mkdir()
    (state / "folder").write_text(str(work))
    scripts = state / "bin"
    scripts.mkdir()
    for name, code in (("xpm", 'exec "{python}" -m xpm "$@"'), ("python", 'exec "{python}" "$@"')):
        (scripts / name).write_text(f"#!/bin/sh\n{code.format(python=sys.executable)}\n")
        (scripts / name).chmod(0o755)
    environment = {**os.environ, "HOME": str(tmp_path), "PATH": f"{scripts}:{os.environ['PATH']}", "NO_COLOR": "1"}
    output = ""
    with serve_git(work / "served") as server:
        for kind, text in _BLOCK.findall((DOCS / page).read_text(encoding="utf-8")):
            if kind == "text":
                assert_in_order(text, output)
            else:
                text = re.sub(
                    r"^export INDEX_URL=.*$", f"export INDEX_URL={server.url}/acme.git", text, flags=re.MULTILINE
                )
                output = run(text, state, environment)
