"""A web server that alters a sparse index: whatever it does is refused with an error that says so, and changes nothing.

The server can answer what it likes; it has no key. Three clients ask it: a new one, that knows only the root's
fingerprint, an old one, that has accepted an earlier state and installed from it, and one that has accepted the present
state. After each attack the server is honest again, and what the client was told before does not hinder it.
"""

import gzip
import hashlib
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.support.simulator import IndexSimulator
from tests.support.sparse import publish
from tests.support.web_server import Page, WebServer, serve_web
from xpm.environment import Environment
from xpm.home import Home
from xpm.operations import install as operations
from xpm.operations.options import Options
from xpm.project import Project
from xpm_index.errors import XpmError
from xpm_index.layout import entry_path, publisher_path
from xpm_index.requirements import Requirement

ENTRY, OTHER = f"/sparse/{entry_path('expert-a')}", f"/sparse/{entry_path('expert-c')}"
BINS = ("/sparse/metadata/bins-0.json", "/sparse/metadata/bins-1.json")
BIN = BINS[hashlib.sha256(entry_path("expert-a").encode()).digest()[0] >> 7]
ARCHIVE = "/sparse/archives/expert-a/expert-a-xpm-tiny.v1.1.0.expert"
PUBLISHER = f"/sparse/{publisher_path('acme')}"
TIMESTAMP, SNAPSHOT, TARGETS, ROOT, NEXT_ROOT = (
    f"/sparse/metadata/{name}.json" for name in ("timestamp", "snapshot", "targets", "1.root", "2.root")
)
INDEX = "/sparse/index.json"
SOME = (TIMESTAMP, SNAPSHOT, ENTRY, ARCHIVE)
EVERY = (ROOT, TIMESTAMP, SNAPSHOT, TARGETS, BIN, INDEX, PUBLISHER, ENTRY, ARCHIVE)
MOST_SENT = 100_000_000  # counted when given to the kernel, which keeps up to 33 MB that nobody reads

Pages = dict[str, Page]


@dataclass
class World:
    """``earlier`` are the pages of the state that the old client accepted, ``pages`` those of the present one."""

    root: Path
    web: WebServer
    index: IndexSimulator
    url: str
    earlier: Pages
    pages: Pages

    def serve(self, pages: Pages) -> None:
        self.web.pages.clear()
        self.web.pages |= {path: replace(page) for path, page in pages.items()}
        self.web.requests.clear()


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    root = tmp_path_factory.mktemp("sparse")
    index = IndexSimulator(root)
    for name in ("expert-a", "expert-b", "expert-c"):
        index.serve(name, "1.0.0")
    with serve_web() as web:
        source = replace(publish(web, index.writer.repo), fingerprint=index.fingerprint)
        earlier = dict(web.pages)
        for name in ("new", "old"):
            (root / name / "project").mkdir(parents=True)
            Project(indexes={"main": source}).save(root / name / "project")
        install(client(root / "old"), "b")
        for name in ("a", "b", "c"):
            index.serve(f"expert-{name}", "1.1.0")
        publish(web, index.writer.repo)
        shutil.copytree(root / "old", root / "current")
        operations.update(client(root / "current"), [])
        yield World(root, web, index, source.url, earlier, dict(web.pages))


def client(root: Path) -> Environment:
    return Environment.find(Home(root / "home"), root / "project")


def install(environment: Environment, name: str):
    return operations.install(environment, [Requirement.parse(name)], Options())


def files(folder: Path) -> dict[str, str]:
    paths = [path for path in folder.rglob("*") if path.is_file() and path.name != "lock"]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(paths)}


Attack = Callable[[Pages, World], object]


def altered(path: str) -> Attack:
    def attack(pages: Pages, world: World) -> None:
        data = bytearray(pages[path].data)
        data[len(data) // 2] ^= 1
        pages[path] = Page(bytes(data), etag='"altered"')

    return attack


def put(path: str, data: bytes = b"", **knobs) -> Attack:
    return lambda pages, world: pages.update({path: Page(data, **{"etag": '"other"', **knobs})})


def put_another(path: str, other: str) -> Attack:
    return lambda pages, world: pages.update({path: pages[other]})


def gone(path: str) -> Attack:
    return lambda pages, world: pages.pop(path)


def bomb(path: str) -> Attack:
    return put(path, gzip.compress(b"\0" * (50 << 20)), headers={"Content-Encoding": "gzip"})


def broken_off(path: str) -> Attack:
    return lambda pages, world: pages.update({path: replace(pages[path], cuts=[9] * 9)})


def short(path: str) -> Attack:
    return lambda pages, world: pages.update({path: Page(pages[path].data[:-9], etag='"short"')})


def endless(path: str) -> Attack:
    return put(path, endless=True)


def html(path: str) -> Attack:
    return put(path, b"<!doctype html><title>Not here</title>" * 9, headers={"Content-Type": "text/html"})


def earlier(*paths: str) -> Attack:
    return lambda pages, world: pages.update({path: world.earlier[path] for path in paths})


def as_it_was(pages: Pages, world: World) -> None:
    """The earlier state, whole."""
    pages.clear()
    pages.update(world.earlier)


def another_index(pages: Pages, world: World) -> None:
    """One of the same name and contents by keys of the server's own."""
    root = world.root / "other"
    if not root.exists():
        root.mkdir()
        other = IndexSimulator(root)
        other.serve("expert-a", "1.1.0")
        with serve_web() as web:
            publish(web, other.writer.repo)
            world.others = dict(web.pages)  # type: ignore[attr-defined]
    pages.clear()
    pages.update(world.others)  # type: ignore[attr-defined]


def with_the_true_root(pages: Pages, world: World) -> None:
    another_index(pages, world)
    pages[ROOT] = world.pages[ROOT]


def with_a_root_of_its_own(pages: Pages, world: World) -> None:
    others: Pages = {}
    another_index(others, world)
    pages[NEXT_ROOT] = others[ROOT]


def redirected_to(target: str, path: str) -> Attack:
    return put(path, redirect=target)


def in_a_circle(path: str) -> Attack:
    return put(path, redirect=path)


def to_another_server(path: str) -> Attack:
    """On the same machine, where that is allowed; what is there is altered."""

    def attack(pages: Pages, world: World) -> None:
        altered(path)(pages, world)
        pages["/elsewhere"] = pages[path]
        pages[path] = Page(redirect=f"{world.web.url.replace('127.0.0.1', 'localhost')}/elsewhere")

    return attack


def on(paths: tuple[str, ...], attack: Callable[..., Attack], says: str, *arguments: str) -> list[object]:
    """The attack on each of these files, for a client that asks for it: of the snapshot the old
    one, which holds one already."""
    return [
        pytest.param(
            who, attack(*arguments, path), says, id=f"{attack.__name__} {path.rsplit('/', 1)[1]} for the {who} client"
        )
        for path in paths
        for who in ["old" if path in (SNAPSHOT, ENTRY) else "new"]
    ]


@pytest.mark.parametrize(
    ("who", "attack", "says"),
    [
        *on(EVERY, altered, "promises|altered|signed|trusted|inconsistent|no root metadata|malformed|fingerprint"),
        *on(EVERY, gone, "does not have it|incomplete|could not be fetched|no root metadata|has no metadata/timestamp"),
        *on(SOME, html, "promises|inconsistent|announces|could not be fetched|not the one that is trusted|altered"),
        *on(SOME, short, "promises|inconsistent|could not be fetched|not the one that is trusted|announces"),
        *on(SOME, broken_off, "broke|ended after|could not be fetched|not the one"),
        *on(SOME, endless, "sent more than|could not be fetched|holds more than"),
        *on(SOME, bomb, "packed file|announces|could not be fetched|altered"),
        *on(SOME, redirected_to, "redirects to where it may not|could not be fetched", "http://192.0.2.1/x"),
        *on(SOME, in_a_circle, "redirects without end|could not be fetched"),
        *on(SOME, to_another_server, "promises|altered|signed|trusted|inconsistent|malformed|no root metadata"),
        ("new", put_another(ENTRY, OTHER), "promises|announces"),
        ("old", put_another(ENTRY, OTHER), "promises|announces"),
        ("current", earlier(TIMESTAMP, SNAPSHOT, *BINS), "rolled back"),
        ("current", as_it_was, "rolled back"),
        ("new", earlier(SNAPSHOT), "rolled back"),
        ("new", earlier(*BINS), "rolled back"),
        ("new", earlier(TIMESTAMP), "inconsistent|rolled back"),
        ("new", earlier(ENTRY), "promises"),
        ("new", another_index, "not the one that is trusted"),
        ("new", with_the_true_root, "not signed by the keys"),
        ("old", another_index, "not signed by the keys"),
        ("new", with_a_root_of_its_own, "not signed by the keys|inconsistent"),
        ("old", with_a_root_of_its_own, "not signed by the keys|inconsistent"),
    ],
)
def test_a_server_that_alters_the_index_is_refused(world, tmp_path, monkeypatch, who, attack, says):
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    shutil.copytree(world.root / who, tmp_path / who)
    environment = client(tmp_path / who)
    before = files(environment.folder), files(environment.home.store)
    pages = dict(world.pages)
    attack(pages, world)
    world.serve(pages)
    with pytest.raises(XpmError, match=says) as caught:
        install(environment, "a")
    assert caught.value.exit_code != 0
    assert (files(environment.folder), files(environment.home.store)) == before
    assert world.web.sent < MOST_SENT
    world.serve(world.pages)
    assert "expert-a 1.1.0" in install(environment, "a").added


def test_the_server_alone_is_no_hindrance(world, tmp_path):
    """What the attacks are measured by: honest, the same server is believed by both clients."""
    for who in ("new", "old"):
        shutil.copytree(world.root / who, tmp_path / who)
        world.serve(world.pages)
        assert "expert-a 1.1.0" in install(client(tmp_path / who), "a").added


def test_metadata_that_has_expired_is_refused(tmp_path):
    index = IndexSimulator(tmp_path, now=lambda: datetime(2026, 3, 1, tzinfo=UTC))
    index.serve("expert-a", "1.0.0")
    with serve_web() as web:
        source = replace(publish(web, index.writer.repo), fingerprint=index.fingerprint)
        (tmp_path / "project").mkdir()
        Project(indexes={"main": source}).save(tmp_path / "project")
        environment = client(tmp_path)
        before = files(environment.folder)
        with pytest.raises(XpmError, match="was not renewed in time") as caught:
            install(environment, "a")
        assert (caught.value.code, caught.value.exit_code) == ("stale-index", 5)
        assert files(environment.folder) == before
        assert environment.store.digests() == []
        assert operations.install(environment, [Requirement.parse("a")], Options(allow_stale=True)).added
