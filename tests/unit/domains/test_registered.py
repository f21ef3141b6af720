"""Domains of other packages: found by their entry points, imported when they are used, named when they are broken."""

import json
import random

import pytest

from xpm_build.check import check
from xpm_build.dataset.settings import dataset_settings
from xpm_build.domains import DOMAINS, draw_case, draw_cases, registry
from xpm_build.errors import DatasetError

_MODULE = """
from pathlib import Path

from xpm_build.domains import Domain


def make(words, speaker):
    name = words.text_column()
    check = {"name": name, "params": [["x", "int"]], "returns": "int", "tests": [[[2], 4]]}
    return speaker.say("ask", n=name), f"def {name}(x):\\n    return x + x", "double", check, "I can't."


DOMAIN = Domain(name="doubling", phrases=Path(__file__).with_name("frames.toml"), make=make, written_in="python")
"""
_FRAMES = 'ask = {en = ["Double it in {n}", "[Write|Give me] {n}, which doubles"]}\n'


@pytest.fixture
def register(tmp_path, monkeypatch):
    """A function that makes packages with entry points, as if they were installed."""

    def make(*lines, package="outside"):
        info = tmp_path / f"{package}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text("\n".join(["[xpm.domains]", *lines]))
        registry._registered.cache_clear()

    (tmp_path / "outside_domain.py").write_text(_MODULE)
    (tmp_path / "frames.toml").write_text(_FRAMES)
    (tmp_path / "broken_domain.py").write_text("import nothing_of_this_name\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield make
    registry._registered.cache_clear()


def test_a_domain_of_another_package_makes_rows(register):
    register("doubling = outside_domain:DOMAIN")
    assert list(DOMAINS) == [*registry.BUILT_IN, "doubling"]
    first, second = (draw_cases(DOMAINS["doubling"], 3, num_schemas=20) for _ in range(2))
    drawn = [next(first).to_row() for _ in range(20)]
    assert drawn == [next(second).to_row() for _ in range(20)]
    assert {row["family"] for row in drawn} == {"double"}
    assert "which doubles" in "".join(draw_case(DOMAINS["doubling"], random.Random(n)).prompt for n in range(9))


def test_its_language_is_the_one_that_its_answers_are_judged_in(register, tmp_path):
    register("doubling = outside_domain:DOMAIN")
    manifest = {"training": {"dataset": {"generation": {"provider": "template", "domain": "doubling"}}}}
    assert dataset_settings(manifest).language == "python"
    folder = tmp_path / "expert"
    folder.mkdir()
    (folder / "manifest.json").write_text(json.dumps({**manifest, "name": "expert-a", "version": "1.0.0"}))
    assert not [each for each in check(folder) if "domain" in each.what]


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("broken_domain:DOMAIN", "nothing_of_this_name"),
        ("outside_domain:MISSING", "has no attribute"),
        ("outside_domain:make", "no Domain called doubling"),
        ("no_such_module:DOMAIN", "ModuleNotFoundError"),
    ],
)
def test_a_broken_one_is_named_when_it_is_used_and_not_before(value, problem, register):
    register(f"doubling = {value}", "other = outside_domain:DOMAIN")
    assert "doubling" in DOMAINS
    assert DOMAINS["sql"].name == "sql"
    with pytest.raises(DatasetError, match="doubling") as caught:
        DOMAINS["doubling"]
    assert problem in caught.value.message
    assert f"{value} of outside" in caught.value.context
    with pytest.raises(DatasetError, match="no Domain called other"):
        DOMAINS["other"]


def test_a_name_is_registered_once_and_ours_are_kept(register):
    register("doubling = outside_domain:DOMAIN", "sql = broken_domain:DOMAIN")
    register("doubling = outside_domain:DOMAIN", package="another")
    assert DOMAINS["sql"] is registry.OWN["sql"]
    with pytest.raises(DatasetError, match="several packages"):
        DOMAINS["doubling"]
    with pytest.raises(KeyError):
        DOMAINS["cobol"]
