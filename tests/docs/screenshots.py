"""``python -m tests.docs.screenshots INDEX``: the pictures in docs/how-to/marketplace.md, of an index's
pages as they are served.

Needs Playwright and Chromium, and an index as ``make market`` makes it. Not part of ``python -m tests.docs``: pictures
differ with fonts and versions of the browser.
"""

import sys
from pathlib import Path

from PIL import Image
from starlette.testclient import TestClient

from tests.support.browser import opened_browser
from xpm.environment import Environment
from xpm.home import Home
from xpm.operations.market_serve import MarketOptions, application

OUT = Path("docs/how-to/marketplace")
SHOTS = (
    ("home-light", "", "light"),
    ("home-dark", "", "dark"),
    ("expert-light", "experts/expert-sql-select.html", "light"),
    ("compare-light", "compare/expert-sql-core/expert-sql-select.html", "light"),
)
_SIZE = {"width": 1024, "height": 720}
_MAX_BYTES = 150_000
_CLONE_URL = "https://git.example.org/demo.git"


def take(index: Path, out: Path = OUT) -> None:
    """Write every picture into ``out``; what the browser asks for is answered here, without a socket."""
    out.mkdir(parents=True, exist_ok=True)
    home = Home(index.parent / "home")
    with (
        application(Environment.find(home, index.parent), str(index), MarketOptions(clone_url=_CLONE_URL)) as app,
        TestClient(app, base_url="http://localhost") as client,
        opened_browser() as browser,
    ):

        def answer(route) -> None:  # type: ignore[no-untyped-def]
            reply = client.get(route.request.url.removeprefix("http://localhost"))
            route.fulfill(status=reply.status_code, headers=dict(reply.headers), body=reply.content)

        for name, path, scheme in SHOTS:
            page = browser.new_page(viewport=_SIZE, color_scheme=scheme)
            page.route("http://localhost/**", answer)
            page.goto(f"http://localhost/{path}")
            picture = out / f"{name}.png"
            page.screenshot(path=picture)
            page.close()
            Image.open(picture).convert("RGB").quantize(64).save(picture, optimize=True)
            assert picture.stat().st_size < _MAX_BYTES, f"{picture} has {picture.stat().st_size} bytes"


if __name__ == "__main__":
    take(Path(sys.argv[1]))
