"""The marketplace to look at: a few of its experts made, judged, published, reviewed, shown and installed."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from examples.market.plan import planned
from tests.support.pages import broken_links
from tests.support.user import User
from xpm.environment import Environment
from xpm.home import Home
from xpm.operations import market
from xpm.operations.verify_index import verify_index

ROOT = Path(__file__).parents[2]
URL = "https://demo.example.org/"


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    folder = tmp_path_factory.mktemp("market")
    build(folder, workers=2)
    return folder


def build(folder, *, workers):
    """As `make market` does, for a process that is started anew finds less than this one has."""
    command = [sys.executable, "-m", "examples.market", "--work", folder, "--count", "3", "--workers", str(workers)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=1200)


def test_the_plan_has_experts_of_distinct_names_and_descriptions_after_those_they_require():
    names = [each.name for each in planned()]
    assert len(names) >= 120
    assert len(set(names)) == len({each.description for each in planned()}) == len(names)
    assert all(names.index(each.requires) < names.index(each.name) for each in planned() if each.requires)
    assert {each.domain for each in planned()[:16]} == {"sql", "json", "neo4j", "python", "typescript", "rust"}


def test_what_is_made_verifies_installs_answers_and_says_what_was_measured(work, tmp_path):
    index = work / "demo.git"
    assert verify_index(Home(tmp_path / "home"), str(index)).problems == ()
    site = tmp_path / "site"
    built = market.build(Environment.find(Home(tmp_path / "home"), tmp_path), str(index), site, url=URL)
    assert built.problems == {}
    assert list(broken_links(site, URL)) == []
    user = User(tmp_path / "user")
    user.xpm("init")
    user.xpm(
        "index", "add", "demo", index, "--fingerprint", json.loads((site / "status.json").read_text())["fingerprint"]
    )
    for each in planned()[:3]:
        document = json.loads((site / f"experts/{each.name}.json").read_text())
        report = json.loads((work / "experts" / each.name / "0.2.0/validation/report.json").read_text())
        (circle,) = document["circles"]
        assert circle["cases"] == report["circles"]["rows"]["cases"]
        judged = report["circles"]["rows"]
        if each.requires:  # and is judged beside it
            (judged,) = ({"expert": together["figures"]} for together in judged["compositions"].values())
        assert circle["expert"]["right"] == pytest.approx(judged["expert"]["right"], abs=1e-3)
        assert circle["expert"]["right"] > circle["base"]["right"]
        user.xpm("install", each.name)
    answer = user.xpm(
        "run", "List the name of users with age over 25. Schema: users(id, name, age)", "-e", planned()[0].name
    )
    assert answer.startswith("SELECT ")


def test_what_is_there_is_left_alone(work):
    def state():
        return {path: path.stat().st_mtime_ns for path in (work / "experts").rglob("*") if path.is_file()}

    before = state()
    build(work, workers=1)
    assert state() == before
