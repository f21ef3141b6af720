"""What people see: tables that fit, pipes that end early, what is known before installing, and an end in order."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from click.testing import CliRunner

from tests.support import models
from xpm.cli.main import Terminated, cli, main
from xpm.cli.render import Console
from xpm.environment import Environment
from xpm.home import Home
from xpm.operations.doctor import examine
from xpm_build.dataset.commands import left_for_training
from xpm_build.rows import write_rows
from xpm_runtime import native

_TIMEOUT_S = 120


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XPM_HOME", str(tmp_path / "home"))
    return lambda *arguments, **options: CliRunner().invoke(cli, arguments, **options)


@pytest.mark.parametrize("columns", [40, 60])
@pytest.mark.parametrize("command", [("search",), ("base", "list"), ("info", "expert-sql"), ("list",)])
def test_tables_and_cards_fit(columns, command, run, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(columns))
    run("install")
    done = run(*command)
    assert done.exit_code == 0
    assert max(map(len, done.stdout.splitlines())) <= columns
    assert columns < 60 or "xpm-tiny" in done.stdout


def test_nothing_is_lost_where_a_table_is_narrow(capsys, monkeypatch):
    rows = [("expert-sql", "1.0.0", "Answers requests about tables"), ("x" * 70, "2", "y" * 90)]
    for columns in ("", "60", "30"):
        monkeypatch.setenv("COLUMNS", columns)
        Console().table(("name", "version", "description"), rows)
        shown = capsys.readouterr().out
        assert shown.count("x") == 71
        assert shown.count("y") == 90
        assert max(map(len, shown.splitlines())) <= int(columns or 999)
    monkeypatch.delenv("COLUMNS")
    Console().table(("name", "version", "description"), rows)
    assert len(capsys.readouterr().out.splitlines()) == 3  # a pipe gets a line for each row


def test_a_reader_that_has_read_enough_is_no_failure(tmp_path):
    read, write = os.pipe()
    os.close(read)
    environment = {**os.environ, "XPM_HOME": str(tmp_path / "home")}
    done = subprocess.run(
        [sys.executable, "-m", "xpm", "search"], stdout=write, stderr=subprocess.PIPE, env=environment, text=True
    )
    os.close(write)
    assert (done.returncode, done.stderr) == (0, "")


def test_quality_and_limitations_before_installing(run, tmp_path):
    found = {each["name"]: each for each in json.loads(run("search", "--json").stdout)}
    assert 0.9 < found["expert-sql"]["quality"] < 1
    assert not (tmp_path / "home/store").exists()
    card = run("info", "expert-json").stdout
    assert "phrasing: cases" in card
    assert "installed     no" in card
    assert "limitations" in card
    document = json.loads(run("info", "expert-json", "--json").stdout)
    assert document["installed"] is None
    assert document["manifest"]["quality_metrics"]["circles"]
    assert "北京" in document["limitations"][-1]


def test_a_prompt_that_no_expert_fits_is_told(run):
    for prompt, is_told in (("What is the capital of France?", True), ("Convert to JSON: city is Oslo", False)):
        done = run("run", "--max-tokens", "4", prompt)
        assert done.exit_code == 0
        assert ("no installed expert fits this prompt" in done.stderr) is is_told
        assert ("xpm base add Qwen/Qwen3-0.6B" in done.stderr) is is_told
    assert "fits" not in run("run", "--no-expert", "--max-tokens", "4", "What is the capital of France?").stderr


def test_doctor_says_whether_native_kernels_run(tmp_path):
    environment = Environment.find(Home(tmp_path / "home"), tmp_path)
    (found,) = [each for each in examine(environment, online=False) if each.name == "kernels"]
    if native.library() is not None:
        assert found.found.startswith(f"native kernels for {native.family()} run here")
    elif native.is_compiled():
        assert "the processor has neither" in found.found or "can't be loaded" in found.found
    else:
        assert "were not compiled" in found.found


def test_generate_says_what_is_left_for_training(run, tmp_path):
    assert run("new", "expert", "expert-tables", "--domain", "sql").exit_code == 0
    done = run("dataset", "generate", "expert-tables", "--count", "300")
    assert done.exit_code == 0, done.output
    parts = left_for_training(tmp_path / "expert-tables")
    assert f"`xpm dataset split` leaves {parts['train.jsonl']} to train on" in done.stderr
    split = json.loads(run("dataset", "split", "expert-tables", "--json").stdout)
    assert 0 <= parts["train.jsonl"] - split["counts"]["train.jsonl"] <= split["dropped"]["nearly equal"]
    rows = [{"prompt": "a", "completion": "b"}] * 9
    write_rows(tmp_path / "expert-tables/data/dataset.jsonl", rows)
    assert sum(left_for_training(tmp_path / "expert-tables").values()) == 1


def test_sigterm_clears_what_is_half_built(tmp_path):
    source = models.save_tiny_model(tmp_path / "source")
    out = tmp_path / "dist"
    command = [sys.executable, "-m", "xpm", "build", "base", str(source), "--name", "tiny", "--out", str(out)]
    process = subprocess.Popen(
        command, env={**os.environ, "XPM_HOME": str(tmp_path / "home")}, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + _TIMEOUT_S
    while not list(out.glob(".build-*")) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert list(out.glob(".build-*"))
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=_TIMEOUT_S)
    assert process.returncode == 128 + signal.SIGTERM
    assert "terminated" in said
    assert [path.name for path in out.iterdir() if path.name.startswith(".")] == []


@pytest.mark.parametrize(("interruption", "code"), [(Terminated, 143), (KeyboardInterrupt, 130)])
def test_an_error_on_the_way_out_of_an_interruption_is_not_a_bug(monkeypatch, capsys, interruption, code):
    def ended(**options):
        try:
            raise interruption
        finally:
            raise ValueError("a file that was half written can't be closed")

    monkeypatch.setattr("xpm.cli.main.cli.main", ended)
    with pytest.raises(SystemExit) as ends:
        main()
    assert ends.value.code == code
    assert "nothing was left half done" in capsys.readouterr().err
