"""The site in a real browser, where there is one: nothing of an index runs, search and copying work,
pages fit and can be read."""

import functools
import os
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.integration.test_market_build import METRICS, README, hostile, said
from tests.support.browser import opened_browser, playwright
from tests.support.payloads import PAYLOADS
from tests.support.shelf import Shelved, make_shelf
from xpm.site.build import build_site
from xpm.site.pages import Site

AXE = os.environ.get("XPM_TEST_AXE", "")  # the path of axe.min.js
pytestmark = pytest.mark.skipif(playwright is None, reason="there is no Chromium, or no Playwright")


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """(folder, address) of a site with ordinary experts and one for each hostile text."""
    folder = tmp_path_factory.mktemp("site")
    ordinary = [
        Shelved(name="xpm-tiny", more={"kind": "base", "description": "small"}),
        Shelved(
            name="expert-a",
            more={"description": "answers with SQL", "capabilities": ["sql"], "quality_metrics": METRICS},
            readme=README,
        ),
        Shelved(name="expert-b", more={"capabilities": ["sql"], "constraints": {"requires": ["a@^1"]}}),
    ]
    snapshot = make_shelf(
        folder / "x.git",
        [*ordinary, *(hostile(*each) for each in enumerate(PAYLOADS))],
        reviews={**said(), "expert-a": "right, mostly"},
    )
    build_site(snapshot, folder / "site", Site())
    handler = functools.partial(_Quiet, directory=str(folder / "site"))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield folder / "site", f"http://127.0.0.1:{server.server_address[1]}/"
        server.shutdown()


@pytest.fixture(scope="module")
def browser():
    with opened_browser() as opened:
        yield opened


def test_no_hostile_text_runs_even_without_the_policy(site, browser):
    folder, address = site
    context = browser.new_context(bypass_csp=True)
    page = context.new_page()
    ran = []
    page.on("dialog", lambda dialog: (ran.append(dialog.message), dialog.dismiss()))
    paths = [path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*.html"))]
    paths = [path for path in paths if not path.startswith(("compare/", "domains/"))] + [
        "search.html?q=script",
        "index.html",
    ]
    for path in paths:
        page.goto(address + path)
        if page.evaluate("self.hacked !== undefined"):
            ran.append(path)
    for word in ("script", "img", "alert"):
        page.fill("#q", word)
        page.wait_for_function("!document.getElementById('found').hidden")
        page.wait_for_timeout(100)
        assert page.evaluate("self.hacked") is None
    context.close()
    assert len(paths) > len(PAYLOADS)
    assert ran == []


def test_search_copy_and_install_command(site, browser):
    _, address = site
    context = browser.new_context(permissions=["clipboard-read", "clipboard-write"])
    page = context.new_page()
    page.goto(f"{address}index.html")
    page.fill("#q", "answers")
    page.click("#found a")
    page.click(".copy")
    page.wait_for_function("document.querySelector('.copy').textContent === 'Copied'")
    assert page.evaluate("navigator.clipboard.readText()") == "xpm install expert-a"
    context.close()


PAGES = (
    "index.html search.html search/2.html experts/expert-a.html experts/expert-b.html experts/expert-001.html "
    "bases/xpm-tiny.html compare/expert-a/expert-b.html publishers.html publishers/acme.html status.html 404.html"
).split()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 1280])
def test_pages_fit_and_axe_finds_nothing(site, browser, scheme, width):
    _, address = site
    context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme, bypass_csp=bool(AXE))
    page = context.new_page()
    said = []
    page.on("console", lambda message: said.append(message.text) if message.type in ("error", "warning") else None)
    for path in PAGES:
        page.goto(address + path)
        assert page.evaluate("document.documentElement.scrollWidth") <= width, path
        if AXE:
            page.add_script_tag(path=AXE)
            found = page.evaluate("axe.run().then(r => r.violations.map(v => [v.id, v.nodes[0].html.slice(0, 200)]))")
            assert found == [], path
    context.close()
    assert said == []
