"""A sparse index: trusted, resolved, installed and followed like one in Git, of which only
what is needed is fetched."""

import json
from dataclasses import replace

import pytest
from starlette.testclient import TestClient

from tests.benchmarks import synthetic_index
from tests.support.projects import Listening, new_project
from tests.support.simulator import IndexSimulator
from tests.support.sparse import publish
from tests.support.web_server import serve_web
from xpm.environment import Environment
from xpm.errors import FetchError, UsageError
from xpm.home import Home
from xpm.indexes import Indexes
from xpm.lockfile import Lockfile
from xpm.operations import indexes as index_operations
from xpm.operations import inspect, maintain, market
from xpm.operations import install as operations
from xpm.operations.installed import installed
from xpm.operations.market_serve import MarketOptions, application
from xpm.operations.options import Options
from xpm.operations.verify import verify
from xpm.progress import Silent
from xpm.project import Project
from xpm.search import Query
from xpm.site.sparse import sparse_files
from xpm_index.errors import TrustError
from xpm_index.git import BareRepo
from xpm_index.index_writer import IndexWriter
from xpm_index.keys import SigningKey
from xpm_index.requirements import Requirement
from xpm_index.reviews import Review, ReviewFile, sign_review
from xpm_index.sparse import NotFetchedError
from xpm_index.tuf_keys import Keyring
from xpm_index.urls import InvalidUrl
from xpm_index.versions import Version
from xpm_index.web import WebError


@pytest.fixture
def web():
    with serve_web() as server:
        yield server


@pytest.fixture
def index(tmp_path, web):
    made = IndexSimulator(tmp_path)
    made.serve("expert-a", "1.0.0", requires=["expert-b@^1"])
    made.serve("expert-b", "1.0.0")
    made.serve("expert-c", "1.0.0")
    publish(web, made.writer.repo)
    return made


@pytest.fixture
def environment(tmp_path, index, web):
    """A project that has added the index by its address alone."""
    folder = tmp_path / "project"
    folder.mkdir()
    Project().save(folder)
    made = Environment.find(Home(tmp_path / "home"), folder)
    add(made, f"{web.url}/sparse/", fingerprint=index.fingerprint)
    return made


def add(environment, url, **options):
    return index_operations.add(environment, "main", url, progress=Silent(), **options)


def install(environment, *names, **options):
    return operations.install(environment, [Requirement.parse(name) for name in names], Options(**options))


def asked(web):
    """The paths asked for since the last time, that were answered with a body."""
    found = [each.path.removeprefix("/sparse/") for each in web.requests if each.status == 200]
    web.requests.clear()
    return found


def test_it_is_known_by_its_address_and_trusted_by_its_root(tmp_path, index, web):
    folder = tmp_path / "project"
    folder.mkdir()
    Project().save(folder)
    environment = Environment.find(Home(tmp_path / "home"), folder)
    shown = []
    with pytest.raises(TrustError, match="was not confirmed"):
        add(environment, f"{web.url}/sparse", confirm=lambda fingerprint: bool(shown.append(fingerprint)))
    assert shown == [index.fingerprint]
    with pytest.raises(TrustError, match="not the one that is trusted"):
        add(environment, f"{web.url}/sparse", fingerprint="sha256:" + "0" * 64)
    assert environment.project().indexes == {}
    assert not list(environment.home.indexes.glob("main*"))
    state = add(environment, f"{web.url}/sparse", confirm=lambda fingerprint: fingerprint == index.fingerprint)
    assert state.num_names is None
    assert environment.project().indexes["main"].url == f"sparse+{web.url}/sparse/"
    for again in (f"{web.url}/sparse", f"sparse+{web.url}/sparse/"):
        assert add(environment, again, fingerprint=index.fingerprint).fingerprint == index.fingerprint


def test_other_machines_are_asked_encrypted_only(environment):
    with pytest.raises(InvalidUrl, match="not encrypted"):
        index_operations.add(environment, "other", "sparse+http://experts.example.org/sparse/", progress=Silent())
    with pytest.raises(UsageError, match="can only be read"):
        maintain.refresh(environment.home, environment.project().indexes["main"].url)


def test_what_is_no_sparse_index_is_asked_as_a_repository(tmp_path, environment, web):
    web.serve("/page/index.json", b"<!doctype html><title>Welcome</title>")
    with pytest.raises(Exception, match="could not fetch"):
        index_operations.add(environment, "other", f"{web.url}/page", progress=Silent(), fingerprint="sha256:0")
    assert list(environment.project().indexes) == ["main"]


def test_install_fetches_what_it_needs_and_only_once(environment, web):
    web.requests.clear()
    change = install(environment, "a")
    assert change.added == ("expert-b 1.0.0", "expert-a 1.0.0")
    paths = asked(web)
    assert len(paths) == len(set(paths)), "nothing is fetched twice"
    assert not any("expert-c" in path for path in paths)
    assert {path.rsplit("/", 1)[1] for path in paths if path.startswith("entries/")} == {
        "expert-a.jsonl",
        "expert-b.jsonl",
        "xpm-tiny.jsonl",
    }
    assert [each.package.name for each in installed(environment)] == ["xpm-tiny", "expert-b", "expert-a"]
    assert verify(environment).verified == ("xpm-tiny 9.0.0", "expert-b 1.0.0", "expert-a 1.0.0")
    assert asked(web) == []
    install(environment, "a")
    assert asked(web) == [], "the timestamp is asked for with its ETag"


def test_the_lock_names_the_snapshot_and_is_reproducible(tmp_path, environment, index, web):
    install(environment, "a")
    (locked,) = environment.lockfile().indexes
    assert locked.head.startswith("sha256:")
    assert locked.snapshot > 0
    assert locked.id == "id-of-main"
    before = (environment.folder / "xpm.lock").read_bytes()
    other = Environment.find(Home(tmp_path / "other-home"), environment.folder)
    change = operations.sync(other, Options(), locked=True)
    assert len(change.fetched) == 3
    assert operations.lock(other).lock == environment.lockfile()
    assert (environment.folder / "xpm.lock").read_bytes() == before


def test_offline_takes_what_is_held(tmp_path, environment, web):
    install(environment, "a")
    web.requests.clear()
    assert install(environment, "b", offline=True).added == ()
    assert operations.sync(environment, Options(offline=True), locked=True).fetched == ()
    with pytest.raises(NotFetchedError, match="--offline forbids it"):
        install(environment, "c", offline=True)
    other = Environment.find(Home(tmp_path / "other-home"), environment.folder)
    with pytest.raises(FetchError, match="--offline forbids it"):
        operations.sync(other, Options(offline=True), locked=True)
    assert web.requests == []


def test_a_server_that_is_down_does_not_matter_for_what_is_held(environment, web):
    install(environment, "a")
    web.pages.clear()
    heard = Listening()
    assert install(environment, "b", progress=heard).added == ()
    assert "is used as it was fetched last" in heard.warnings[0]
    assert inspect.published(environment, "a").entries[0].name == "expert-a"
    with pytest.raises(WebError):
        install(environment, "c")


def test_update_follows_what_is_held(environment, index, web):
    install(environment, "a")
    assert index_operations.update(environment, "main") == {"main": False}
    index.serve("expert-b", "1.1.0")
    index.serve("expert-c", "1.1.0")
    publish(web, index.writer.repo)
    asked(web)
    change = operations.update(environment, [])
    assert change.updated == ("expert-b 1.0.0 -> 1.1.0",)
    paths = asked(web)
    assert sorted(path.rsplit("/", 1)[1] for path in paths if path.startswith("entries/")) == ["expert-b.jsonl"]


def test_a_miss_finds_the_newest_state(environment, index, web):
    """A server has no other state than the newest, so that one is accepted before something else is fetched."""
    install(environment, "a")
    index.serve("expert-c", "1.1.0")
    publish(web, index.writer.repo)
    assert [str(each.version) for each in inspect.published(environment, "c").entries] == ["1.0.0", "1.1.0"]


def test_a_state_that_comes_between_two_requests_is_told(environment, index, web):
    with Indexes(environment.home, environment.project()) as indexes:
        indexes.update("main")
        index.serve("expert-a", "1.1.0")
        publish(web, index.writer.repo)
        with pytest.raises(WebError, match="changed while it was read"):
            indexes.entries("a")
    assert install(environment, "a").added == ("expert-a 1.1.0",)


def test_another_root_and_other_keys_are_followed(environment, index, web):
    install(environment, "a")
    new = SigningKey.generate()
    ring = Keyring([index.index_keys.root, index.index_keys.targets, index.index_keys.online, new])
    writer = IndexWriter.open(index.path, keys=ring)
    writer.rotate_key("online", old=index.index_keys.online.key_id, new=new.public)
    writer.repo.close()
    publish(web, index.writer.repo)
    assert index_operations.update(environment, "main") == {"main": True}
    assert install(environment, "c").added == ("expert-c 1.0.0",)


def test_commands_that_need_all_names_say_that_they_have_not_searched(environment):
    heard = Listening()
    found = inspect.search(environment, Query(words=("expert",)), Options(progress=heard))
    assert all(each.index != "main" for each in found)
    assert "index main was not searched: it is sparse" in heard.warnings[0]
    with pytest.raises(UsageError, match="main is sparse"):
        market.build(environment, "main", environment.folder / "site")


def test_the_first_install_from_a_large_index_takes_less_than_a_megabyte(tmp_path, web):
    large = synthetic_index.make_index(tmp_path / "large.git", num_names=3000, num_versions=1, bin_bits=4)
    with BareRepo.open(large.path) as repo:
        source = replace(publish(web, repo), fingerprint=large.fingerprint)
    with Indexes(Home(tmp_path / "home"), Project(indexes={"main": source})) as indexes:
        for name in large.names[::150]:  # what an expert with many requirements needs
            index, entries = indexes.entries(name.removeprefix("expert-"))
            assert (index, len(entries)) == ("main", 1)
    print(f"{web.sent} bytes in {len(web.requests)} requests")
    assert web.sent < 1_000_000


def test_it_is_written_beside_the_pages_and_only_where_it_changed(environment, index, tmp_path):
    out = tmp_path / "site"
    market.build(environment, str(index.path), out, url="https://experts.example.org/")
    files = {path: path.read_bytes() for path in (out / "sparse").rglob("*") if path.is_file()}
    assert json.loads(files[out / "sparse" / "index.json"])["name"] == "main"
    add_command = "xpm index add main sparse+https://experts.example.org/sparse/"
    assert add_command in (out / "index.html").read_text()
    before = {path: path.stat().st_mtime_ns for path in files}
    index.serve("expert-c", "1.1.0")
    market.build(environment, str(index.path), out, url="https://experts.example.org/")
    again = tmp_path / "again"
    market.build(environment, str(index.path), again, url="https://experts.example.org/")
    anew = {path.relative_to(again): path.read_bytes() for path in (again / "sparse").rglob("*") if path.is_file()}
    assert {path.relative_to(out): path.read_bytes() for path in (out / "sparse").rglob("*") if path.is_file()} == anew
    touched = {path.name for path in before if path.stat().st_mtime_ns != before[path]}
    assert "expert-c.jsonl" in touched
    assert not {"index.json", "expert-a.jsonl", "acme.json", "1.root.json", "targets.json"} & touched


def test_it_is_served_live_with_conditional_requests(environment, index):
    key = SigningKey.generate()
    review = Review(version=Version.parse("1.0.0"), stars=5, text="good", written_at="2026-03-01T00:00:00Z")
    file = ReviewFile(name="expert-a", key=key.public)
    index.writer.put_reviews(file.with_review(sign_review(review, name="expert-a", key=key)))
    snapshot = market.read_snapshot(index.writer.repo)
    files = {path: read() for path, _, read in sparse_files(snapshot)}
    assert f"sparse/reviews/expert-a/{key.key_id}.json" in files
    with application(environment, str(index.path), MarketOptions()) as app, TestClient(app) as client:
        client.base_url = "http://localhost"
        for path, data in files.items():
            reply = client.get(f"/{path}")
            assert (reply.status_code, reply.content) == (200, data), path
            again = client.get(f"/{path}", headers={"if-none-match": reply.headers["etag"]})
            assert (again.status_code, again.content) == (304, b"")
        for path in (
            "sparse/",
            "sparse/config",
            "sparse/reviews/expert-b.json",
            "sparse/metadata/9.root.json",
            "sparse/HEAD",
        ):
            assert client.get(f"/{path}").status_code == 404


def test_reviews_are_found(environment, index, web):
    key = SigningKey.generate()
    review = Review(version=Version.parse("1.0.0"), stars=5, text="good", written_at="2026-03-01T00:00:00Z")
    file = ReviewFile(name="expert-a", key=key.public)
    index.writer.put_reviews(file.with_review(sign_review(review, name="expert-a", key=key)))
    publish(web, index.writer.repo)
    assert inspect.published(environment, "a").rating.count == 1
    assert inspect.published(environment, "a", Options(offline=True)).rating.count == 1, "what was read is held"


def test_the_lock_of_a_git_index_still_names_its_commit(tmp_path, index):
    environment = new_project(tmp_path, index, name="by-git")
    install(environment, "a")
    (locked,) = Lockfile.read(environment.folder).indexes
    assert locked.head == index.writer.head
