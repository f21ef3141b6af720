"""What a shell is told: the exit code, and no crash for what was typed or lies there in another encoding."""

import json
import os
import subprocess
import sys
from datetime import timedelta

import pytest

from tests.support.simulator import IndexSimulator
from xpm.home import Home
from xpm.operations import publish
from xpm.project import Project
from xpm_index.layout import publisher_path
from xpm_index.metadata import now_utc

LATIN = os.fsencode("caf") + b"\xe9"


@pytest.fixture
def project(tmp_path):
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "xpm.toml").write_text("[base]\n")
    return folder


@pytest.fixture
def xpm(tmp_path, project):
    def run(*arguments, stdin=b""):
        environment = os.environ | {"XPM_HOME": str(tmp_path / "home"), "PYTHONUTF8": "1"}
        command = [sys.executable, "-m", "xpm", *map(os.fsencode, arguments)]
        return subprocess.run(command, cwd=project, env=environment, input=stdin, capture_output=True, timeout=300)

    return run


def told(done) -> str:
    return (done.stdout + done.stderr).decode()


def test_a_whole_index_that_is_well_and_one_that_is_not(tmp_path, xpm):
    index = IndexSimulator(tmp_path)
    assert xpm("index", "verify", index.path).returncode == 0
    index.writer.repo.commit_files({publisher_path("mallory"): b"{}"}, message="m", author="x <x@x>")
    done = xpm("index", "verify", index.path)
    assert done.returncode == 6
    assert "publishers/mallory.json" in told(done)
    done = xpm("index", "verify", "--json", index.path)
    assert done.returncode == 6
    assert len(json.loads(done.stdout)["problems"]) == 1


def test_doctor_fails_when_it_finds_a_problem(tmp_path, xpm):
    assert xpm("doctor").returncode == 0
    assert xpm("key", "new", "acme").returncode == 0
    (tmp_path / "home" / "keys" / "acme.json").chmod(0o644)
    done = xpm("doctor")
    assert "problem: keys" in told(done)
    assert done.returncode == 1


def test_an_expired_index_is_an_error_even_if_nothing_is_new(tmp_path, project, xpm):
    index = IndexSimulator(tmp_path, now=lambda: now_utc() - timedelta(days=29))
    Project(indexes={"main": index.source}).save(project)
    done = xpm("index", "update", "main")
    assert (done.returncode, "expires in" in told(done)) == (0, True)
    (tmp_path / "old").mkdir()
    old = IndexSimulator(tmp_path / "old", now=lambda: now_utc() - timedelta(days=90))
    Project(indexes={"main": old.source}).save(project)
    assert xpm("index", "update", "main", "--allow-stale").returncode == 0
    done = xpm("index", "update", "main")
    assert done.returncode == 5
    assert "was not renewed in time" in told(done)


def test_a_key_is_replaced_or_added_and_the_command_says_which(tmp_path, xpm):
    index, home = IndexSimulator(tmp_path), Home(tmp_path / "home")
    for name in ("root", "targets", "online"):
        getattr(index.index_keys, name).save(home.keys / f"main-{name}.json")
    for name in ("two", "three"):
        publish.new_key(home, name)
    added = told(xpm("index", "rotate-key", "online", "--index", index.path, "--new", "two"))
    assert "added a key to online; its old keys are still valid" in added
    assert "rotated" not in added
    old = index.index_keys.online.key_id
    replaced = told(xpm("index", "rotate-key", "online", "--index", index.path, "--new", "three", "--old", old))
    assert "rotated a key of online" in replaced
    assert "still valid" not in replaced


@pytest.mark.parametrize(
    ("arguments", "stdin"),
    [
        (("run", LATIN), b""),
        (("run", "-"), LATIN),
        (("search", LATIN), b""),
        (("install", LATIN), b""),
        (("info", LATIN), b""),
        (("config", "set", "run.device", LATIN), b""),
    ],
)
def test_what_is_typed_is_utf8(xpm, arguments, stdin):
    done = xpm(*arguments, stdin=stdin)
    assert done.returncode == 2
    assert "is not UTF-8" in told(done)


@pytest.mark.parametrize(
    "command", ["list", "lock", "install", "sync", "tree", "undo", "outdated", "uninstall x", "run x"]
)
@pytest.mark.parametrize("name", ["xpm.toml", "xpm.lock"])
def test_files_in_another_encoding(xpm, project, name, command):
    (project / name).write_bytes(b"# " + LATIN + b"\n")
    done = xpm(*command.split())
    assert done.returncode in (0, 1, 2, 3), told(done)
    assert (project / name).read_bytes() == b"# " + LATIN + b"\n"
    if (name, command) in (("xpm.toml", "lock"), ("xpm.lock", "lock"), ("xpm.lock", "undo")):
        assert "is not UTF-8" in told(done) or "nothing to undo" in told(done)


def test_a_token_in_a_url_is_neither_tried_nor_shown(xpm, project):
    url = "https://127.0.0.1:9/acme.git?access_token=hunter2"
    for command in (
        ("index", "add", "acme", url),
        ("index", "verify", url),
        ("index", "refresh", "--index", url),
        ("yank", "a@1.0.0", "--index", url, "--reason", "x"),
    ):
        done = xpm(*command)
        assert done.returncode == 2, told(done)
        assert "hunter2" not in told(done)
    (project / "xpm.toml").write_text(f'[indexes]\nacme = "{url}"\n')
    done = xpm("index", "list")
    assert done.returncode == 2
    assert "holds credentials" in told(done)
    assert "hunter2" not in told(done)
