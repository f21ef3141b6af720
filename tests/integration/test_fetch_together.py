"""Several downloads at once: they overlap, fail together, and stop at Ctrl-C, leaving what came."""

import io
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tests.support.fetching import DATA, OTHER, Recorder, digest_of, fetch, isolate, partial, wanted
from tests.support.web_server import serve_web
from xpm.cli.render import Console
from xpm.errors import FetchError
from xpm_index.errors import IntegrityError

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch) -> Path:
    return isolate(monkeypatch, tmp_path / "home")


@pytest.fixture
def web():
    with serve_web() as server:
        yield server


@pytest.fixture
def folder(tmp_path) -> Path:
    return tmp_path / "downloads"


def test_downloads_overlap(folder, web):
    meeting = threading.Barrier(3, timeout=20)
    parts = [random.Random(seed).randbytes(500_000) for seed in range(3)]
    sources = [web.serve(f"/{i}", part, hold=meeting.wait) for i, part in enumerate(parts)]
    progress = Recorder()
    each = [wanted(source, data=part) for source, part in zip(sources, parts, strict=True)]
    assert fetch(folder, *each, jobs=3, progress=progress) == parts
    assert progress.started == [("3 packages", 1_500_000)]
    assert progress.advanced == 1_500_000


@pytest.mark.parametrize("is_terminal", [True, False])
def test_what_the_console_shows(folder, web, monkeypatch, is_terminal):
    shown = io.StringIO()
    shown.isatty = lambda: is_terminal
    monkeypatch.setattr(sys, "stderr", shown)
    fetch(folder, wanted(web.serve("/a", DATA)), wanted(web.serve("/b", OTHER), data=OTHER), progress=Console())
    assert "2 packages: 6.0 MB of 6.0 MB" in shown.getvalue()
    assert shown.getvalue().endswith("\n")
    assert ("\r" in shown.getvalue()) is is_terminal
    fetch(folder, wanted(web.serve("/c", b"quiet"), data=b"quiet"), progress=Console(quiet=True))
    assert "quiet" not in shown.getvalue()


def test_a_bar_ends_its_line_when_the_work_fails(folder, web, monkeypatch):
    shown = io.StringIO()
    shown.isatty = lambda: True
    monkeypatch.setattr(sys, "stderr", shown)
    with pytest.raises(FetchError):
        fetch(folder, wanted(web.serve("/a", DATA, cuts=[1_000_000, *[0] * 9])), progress=Console())
    assert "expert-a 1.0.0: " in shown.getvalue()
    assert shown.getvalue().endswith("\n")


def test_no_more_downloads_at_a_time_than_allowed(folder, web):
    running, most, lock = 0, 0, threading.Lock()

    def hold() -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.05)
        with lock:
            running -= 1

    parts = [random.Random(seed).randbytes(1000) for seed in range(6)]
    each = [wanted(web.serve(f"/{i}", part, hold=hold), data=part) for i, part in enumerate(parts)]
    assert fetch(folder, *each, jobs=2) == parts
    assert most <= 2


def test_the_first_failure_breaks_the_others_off_and_they_go_on_later(folder, web):
    halfway, failed = threading.Event(), threading.Event()

    def hold() -> None:
        halfway.set()
        failed.wait(20)

    slow = web.serve("/slow", DATA, hold=hold)
    bad = web.serve("/bad", OTHER, hold=lambda: (halfway.wait(20), time.sleep(0.3)))
    began = time.monotonic()
    with pytest.raises(IntegrityError, match="expert-b was altered"):
        fetch(folder, wanted(slow), wanted(bad, data=OTHER[::-1], what="expert-b"))
    assert time.monotonic() - began < 10
    failed.set()
    assert partial(folder).read_bytes() == DATA[: len(DATA) // 2]
    assert not (folder / digest_of(DATA)).exists()
    web.requests.clear()
    web.pages["/slow"].hold = None
    assert fetch(folder, wanted(slow)) == [DATA]
    assert web.sent == len(DATA) - len(DATA) // 2


def test_ctrl_c_leaves_what_came_and_ends_at_once(folder, web):
    release = threading.Event()
    url = web.serve("/a", DATA, hold=lambda: release.wait(30))
    code = (
        "import signal, sys; from pathlib import Path; from tests.support.fetching import *\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # a job in the background ignores it
        "fetch_archives([wanted(sys.argv[1])], Path(sys.argv[2]), progress=Silent(), offline=False)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, url, str(folder)], cwd=ROOT, stderr=subprocess.PIPE, text=True
    )
    half = len(DATA) // 2
    deadline = time.monotonic() + 30
    while not (partial(folder).exists() and partial(folder).stat().st_size == half):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=20)
    assert time.monotonic() - began < 5
    assert process.returncode != 0
    assert "KeyboardInterrupt" in errors
    release.set()
    assert partial(folder).read_bytes() == DATA[:half]
    web.requests.clear()
    web.pages["/a"].hold = None
    assert fetch(folder, wanted(url)) == [DATA]
    assert web.sent == len(DATA) - half
