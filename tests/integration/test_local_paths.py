"""Folders with names that URLs quote: an index, a remote of one, and a repository with archives in each of them."""

import shutil
import subprocess
from datetime import timedelta

import pytest

from tests.support.packages import make_package
from tests.support.projects import new_project
from tests.support.simulator import IndexSimulator
from xpm.operations import indexes as index_operations
from xpm.operations import install as operations
from xpm.operations import maintain
from xpm.operations.options import Options
from xpm.operations.verify_index import verify_index
from xpm.parse_source import parse_source
from xpm.progress import Silent
from xpm_index import git_program
from xpm_index.keys import SigningKey
from xpm_index.requirements import Requirement
from xpm_index.urls import InvalidUrl, check_file_url, path_of_file_url

ALL = 'a b ä 日本 100% x@y c++ it\'s "so" #1 what?'
NAMES = [ALL, "%41", "a;b&c=d", "~a:b"]


@pytest.fixture
def environment(tmp_path):
    return new_project(tmp_path)


def install(environment, *wanted, **options):
    return operations.install(environment, list(wanted), Options(index_max_age=timedelta()), **options)


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    made = IndexSimulator(tmp_path_factory.mktemp("index"))
    made.serve("expert-a", "1.0.0")
    return made


@pytest.mark.parametrize(("name", "with_git"), [*((name, True) for name in NAMES), (ALL, False)])
def test_an_index_and_its_maintenance(served, environment, tmp_path, name, with_git, monkeypatch):
    if not with_git:
        monkeypatch.setattr(git_program, "is_available", lambda: False)
    place = tmp_path / name
    place.mkdir()
    shutil.copytree(served.path, place / "main.git")
    state = index_operations.add(
        environment, "main", str(place / "main.git"), progress=Silent(), fingerprint=served.fingerprint
    )
    assert install(environment, Requirement.parse("a")).added == ("expert-a 1.0.0",)
    assert maintain.refresh(environment.home, state.url, keys=served.index_keys.ring) == ("timestamp",)
    assert index_operations.update(environment, "main") == {"main": True}
    assert verify_index(environment.home, state.url).problems == ()


@pytest.mark.parametrize("name", NAMES)
def test_a_repository_with_archives(environment, tmp_path, name):
    place, key = tmp_path / name, SigningKey.generate()
    place.mkdir()
    make_package(place / "x.expert", key)
    run = ["git", "-c", "user.name=t", "-c", "user.email=t@localhost", "-C", str(place)]
    for arguments in (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", "1"], ["tag", "v1"]):
        subprocess.run([*run, *arguments], check=True)
    source = parse_source(f"git+{place.as_uri().replace('@', '%40')}@v1", folder=environment.folder)
    with pytest.raises(Exception, match="can't be had") as caught:  # it is for no base that there is
        install(environment, source, key=key.public)
    assert "expert-sql 1.0.0" in f"{caught.value.context}"


def test_what_need_not_be_quoted():
    assert path_of_file_url("file:///a b/ä%20c/100%") == "/a b/ä c/100%"
    assert path_of_file_url("file://localhost/x+y@z") == "/x+y@z"
    for url in ("file:///a?b", "file:///a#b", "file://host/a", "file:a", "https://x/y"):
        with pytest.raises(InvalidUrl):
            path_of_file_url(url)
    with pytest.raises(InvalidUrl):
        check_file_url("file:///a b")
