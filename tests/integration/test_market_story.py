"""A stranger's way through a served marketplace, in a real browser and a real shell: found, copied,
installed, asked, reviewed."""

import contextlib
import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.browser import opened_browser, playwright
from tests.support.user import User
from xpm_index.archive import MANIFEST, extract_archive, write_archive
from xpm_index.git import BareRepo
from xpm_index.index import IndexSnapshot

pytestmark = pytest.mark.skipif(playwright is None, reason="there is no Chromium, or no Playwright")
BUNDLE = Path("xpm/embedded/index.bundle").resolve()
QUESTION = "List the names of users with age over 25. Schema: users(id, name, age)"


@dataclass(frozen=True, slots=True)
class Market:
    """A served index at ``address``, kept by ``maintainer``, to which ``publisher`` hands archives in."""

    address: str
    index: Path
    maintainer: User
    publisher: User


def write_tables(path: Path, version: str) -> None:
    """The embedded expert for SQL as another publisher's ``expert-tables``."""
    with BareRepo.init(path.parent / f"{version}.git") as repo:
        index = IndexSnapshot.enclosed(repo, repo.fetch(str(BUNDLE)))
        (reference,) = index.entries("expert-sql")[-1].archives
        held = index.read_blob(reference.sources[0].removeprefix("blob:"))
    assert held
    archive, folder = path.with_name("held.expert"), path.parent / f"tables-{version}"
    archive.write_bytes(held)
    folder.mkdir()
    extract_archive(archive, folder)
    manifest = json.loads((folder / MANIFEST).read_text())
    manifest.pop("integrity", None)
    manifest |= {"name": "expert-tables", "version": version, "description": "Answers questions about tables"}
    (folder / MANIFEST).write_text(json.dumps(manifest))
    write_archive(path, {each.name: each.read_bytes() for each in folder.iterdir()})


@contextlib.contextmanager
def serving(user: User, *arguments: object) -> Iterator[str]:
    """``xpm market serve`` in a process of its own; its address."""
    command = [sys.executable, "-m", "xpm", "market", "serve", *map(str, arguments), "--port", "0"]
    started = subprocess.Popen(command, cwd=user.folder, env=user.environment, stdout=subprocess.PIPE, text=True)
    try:
        assert started.stdout is not None
        yield started.stdout.readline().strip()
        started.send_signal(signal.SIGTERM)
        started.wait(30)
    finally:
        started.kill()
        started.wait()


@pytest.fixture(scope="module")
def market(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Market]:
    maintainer, publisher = (User(tmp_path_factory.mktemp(each)) for each in ("maintainer", "publisher"))
    public = publisher.xpm("key", "new", "acme").strip()
    maintainer.xpm("index", "init", "shelf.git", "--name", "shelf")
    maintainer.xpm("index", "add-publisher", "acme", "--index", "shelf.git", "--publisher-key", public)
    index = maintainer.folder / "shelf.git"
    with serving(maintainer, index, "--uploads") as address:
        made = Market(address, index, maintainer, publisher)
        hand_in(made, "0.1.0")
        yield made


def hand_in(market: Market, version: str) -> None:
    """A version by way of an upload, accepted by the maintainer."""
    archive = market.publisher.folder / f"expert-tables-xpm-tiny.v{version}.expert"
    write_tables(archive, version)
    market.publisher.xpm("sign", archive, "--key", "acme")
    market.publisher.xpm("publish", archive, "--to", market.address)
    market.maintainer.xpm("index", "accept", f"publish/expert-tables-{version}", "--index", market.index)


@pytest.fixture(scope="module")
def browser():
    with opened_browser() as opened:
        yield opened


@pytest.fixture
def page(browser, market):
    """A page that may use the clipboard; nothing may be said on its console."""
    context = browser.new_context(permissions=["clipboard-read", "clipboard-write"])
    opened, said = context.new_page(), []
    opened.on("console", lambda message: said.append(message.text) if message.type in ("error", "warning") else None)
    yield opened
    context.close()
    assert said == []


def copied(page, where: str = "") -> str:
    """What is on the clipboard once the page has said so."""
    page.wait_for_selector(f"{where} .copy:text-is('Copied')")
    return page.evaluate("navigator.clipboard.readText()")


def test_found_copied_installed_asked_and_reviewed(market, page, tmp_path):
    page.goto(f"{market.address}/")
    page.fill("#q", "questions tables")
    page.press("#q", "Enter")
    page.click(".cards a >> text=expert-tables")
    page.click(".copy >> nth=0")
    command = copied(page)

    user = User(tmp_path / "user")
    user.xpm("init")
    user.pastes(command)
    (installed,) = [each for each in json.loads(user.xpm("list", "--json")) if each["kind"] == "expert"]
    assert (installed["name"], installed["index"], installed["signed"]) == ("expert-tables", "shelf", True)
    answer = json.loads(user.xpm("run", QUESTION, "--json"))
    assert answer["experts"] == ["expert-tables"]
    assert answer["text"].startswith("SELECT name FROM users")
    lock = (user.folder / "xpm.lock").read_bytes()
    user.pastes(command)
    assert (user.folder / "xpm.lock").read_bytes() == lock

    assert "Nobody has reviewed it" in page.inner_text("main")
    page.click("summary >> text=How to review it")
    page.click("#reviews .copy")
    review = copied(page, "#reviews")
    user.xpm("key", "new", "me")
    proposed = user.pastes(f"{review.replace('WHY', 'right about joins').replace('STARS', '4')} --json")
    branch = json.loads(proposed[proposed.index("{") :])["branch"]
    page.reload()
    assert "right about joins" not in page.inner_text("main")
    market.maintainer.xpm("index", "accept", branch, "--index", market.index)
    page.reload()
    assert "right about joins" in page.inner_text("#reviews")
    assert "of 1 review" in page.inner_text("#reviews .rating")


def test_what_was_copied_is_refused_if_the_index_is_another(market, page, tmp_path):
    page.goto(f"{market.address}/experts/expert-tables.html")
    page.click(".copy >> nth=0")
    user = User(tmp_path / "user")
    user.xpm("init")
    altered = re.sub(r"sha256:\w{8}", "sha256:00000000", copied(page))
    assert "not the one that is trusted" in user.pastes(altered, fails=5)
    assert not (user.folder / "xpm.lock").exists()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_with_the_keyboard_alone_on_a_narrow_screen(market, browser, scheme):
    context = browser.new_context(
        viewport={"width": 320, "height": 640}, color_scheme=scheme, permissions=["clipboard-read", "clipboard-write"]
    )
    page = context.new_page()

    def tab_to(selector: str) -> None:
        for _ in range(60):
            page.keyboard.press("Tab")
            if page.evaluate("(wanted) => document.activeElement.matches(wanted)", selector):
                outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
                assert outline != "none", f"{selector} does not show that it has the focus"
                return
        raise AssertionError(f"no way to {selector}")

    page.goto(f"{market.address}/")
    tab_to(".skip")
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    page.goto(f"{market.address}/")
    tab_to("#q")
    page.keyboard.type("tables")
    page.keyboard.press("Enter")
    page.wait_for_url("**/search.html?q=tables")
    tab_to(".cards a")
    page.keyboard.press("Enter")
    page.wait_for_url("**/experts/expert-tables.html")
    assert page.evaluate("document.documentElement.scrollWidth") <= 320
    tab_to(".copy")
    page.keyboard.press("Enter")
    assert "xpm install expert-tables" in copied(page)
    context.close()


def test_without_javascript(market, browser):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{market.address}/")
    page.fill("#q", "tables")
    page.press("#q", "Enter")
    page.click(".cards a >> text=expert-tables")
    command = page.inner_text(".copyable code >> nth=0")
    assert command.splitlines()[-1] == "xpm install expert-tables"
    assert command.startswith(f"xpm index add shelf {market.index.as_uri()} --fingerprint sha256:")
    assert not page.is_visible(".copy >> nth=0")
    context.close()
