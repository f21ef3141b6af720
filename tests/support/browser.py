"""Chromium by Playwright, where there are both; neither is among what the tests need."""

import contextlib
import shutil
from collections.abc import Iterator
from typing import Any

try:
    from playwright import sync_api as playwright
except ImportError:
    playwright = None
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), "")
if not CHROMIUM:
    playwright = None


@contextlib.contextmanager
def opened_browser() -> Iterator[Any]:
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()
