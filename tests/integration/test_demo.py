"""The demonstration: from nothing to answers, with the index that comes with xpm; its SQL is executed."""

import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
QUESTION = "List the names of users with age over 25. Schema: users(id, name, age)"


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A new project with both experts, in an empty home."""
    folder = tmp_path_factory.mktemp("demo")
    run = _runner(folder)
    run("init")
    run("install", "expert-sql", "expert-json")
    return run


def _runner(folder: Path):
    environment = {**os.environ, "HOME": str(folder), "XPM_HOME": str(folder / "home"), "NO_COLOR": "1"}

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "xpm", *arguments]
        return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=True)

    return run


def test_the_sql_returns_the_right_rows(project):
    done = project("run", QUESTION)
    assert done.stdout == "SELECT name FROM users WHERE age > 25;\n"
    database = sqlite3.connect(":memory:")
    database.execute("CREATE TABLE users (id INTEGER, name TEXT, age INTEGER)")
    database.executemany("INSERT INTO users VALUES (?, ?, ?)", [(1, "Ann", 25), (2, "Bob", 26), (3, "Cy", 70)])
    assert database.execute(done.stdout).fetchall() == [("Bob",), ("Cy",)]


def test_keywords_choose_the_expert(project):
    answer = json.loads(project("run", "Convert to JSON: city is Oslo, population is 709037", "--json").stdout)
    assert answer["experts"] == ["expert-json"]
    assert json.loads(answer["text"]) == {"city": "Oslo", "population": 709037}


def test_the_base_alone_answers_in_words(project):
    answer = json.loads(project("run", QUESTION, "--no-expert", "--json").stdout)
    assert answer["experts"] == []
    assert "SELECT" not in answer["text"]


def test_verbose_tells_who_answered_and_how_fast(project):
    done = project("run", "--verbose", QUESTION)
    assert "experts: expert-sql on xpm-tiny" in done.stderr
    assert "tok/s" in done.stderr
    assert "attach" in done.stderr


def test_a_fresh_machine_answers_outside_a_project(tmp_path):
    run = _runner(tmp_path)
    assert run("run", QUESTION).stdout == "SELECT name FROM users WHERE age > 25;\n"
    answer = json.loads(run("run", "Write a Rust struct User with name (string), age (integer)", "--json").stdout)
    assert answer["experts"] == ["expert-rust"]
    assert answer["text"] == "struct User {\n    name: String,\n    age: i64,\n}"
    assert not (tmp_path / "xpm.toml").exists()


def test_the_demo_script(tmp_path):
    xpm = Path(sys.executable).with_name("xpm")
    environment = {**os.environ, "HOME": str(tmp_path), "XPM_HOME": str(tmp_path / "home")}
    done = subprocess.run(
        ["sh", str(ROOT / "examples" / "demo.sh"), str(xpm)],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "SELECT name FROM users WHERE age > 25;" in done.stdout
    assert '{"city": "Oslo", "population": 709037, "capital": true}' in done.stdout
