"""Fetching archives from real local servers: what comes, what is sent again, what is refused, and what stays behind."""

import hashlib
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tests.support.web_server import serve_web
from xpm.errors import FetchError, StoreError
from xpm.fetch import Wanted, fetch_archives
from xpm.progress import Silent
from xpm_index.entries import ArchiveRef
from xpm_index.errors import IntegrityError

DATA = random.Random(1).randbytes(3_000_000)
OTHER = random.Random(2).randbytes(3_000_000)
ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch) -> Path:
    """No configuration but the test's own."""
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    return folder


@pytest.fixture
def web():
    with serve_web() as server:
        yield server


@pytest.fixture
def folder(tmp_path) -> Path:
    return tmp_path / "downloads"


class Recorder(Silent):
    def __init__(self) -> None:
        self.started, self.advanced, self.skipped, self.stopped = [], 0, 0, 0

    def start(self, what, total_bytes):
        self.started.append((what, total_bytes))

    def advance(self, num_bytes):
        self.advanced += num_bytes

    def skip(self, num_bytes):
        self.skipped += num_bytes

    def stop(self):
        self.stopped += 1


def digest_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def wanted(
    *sources: str, data: bytes = DATA, what: str = "expert-a 1.0.0", blobs: dict[str, bytes] | None = None
) -> Wanted:
    ref = ArchiveRef(
        base="b", base_digest="sha256:" + "0" * 64, variant="", digest=f"sha256:{digest_of(data)}", size=len(data), sources=sources
    )  # fmt: skip
    return Wanted(ref=ref, what=what, read_blob=(blobs or {}).get)


def fetch(folder: Path, *each: Wanted, progress=None, offline=False, **options) -> list[bytes]:
    pauses: list[float] = []
    options.setdefault("sleep", pauses.append)
    paths = fetch_archives(each, folder, progress=progress or Silent(), offline=offline, **options)
    assert [path.name for path in paths] == [one.ref.digest.removeprefix("sha256:") for one in each]
    return [path.read_bytes() for path in paths]


def partial(folder: Path, data: bytes = DATA) -> Path:
    return folder / f"{digest_of(data)}.partial"


def leave_part(folder: Path, content: bytes, data: bytes = DATA) -> None:
    folder.mkdir(exist_ok=True)
    partial(folder, data).write_bytes(content)


def told(error) -> str:
    return f"{error.value} {error.value.context} {error.value.hint}"


def test_each_kind_of_source(folder, web, tmp_path):
    local = tmp_path / "with space" / "a.expert"
    local.parent.mkdir()
    local.write_bytes(OTHER)
    assert fetch(
        folder,
        wanted(web.serve("/a.expert", DATA)),
        wanted(local.as_uri(), data=OTHER),
        wanted("blob:archives/a/a.expert", data=b"blob", blobs={"archives/a/a.expert": b"blob"}),
    ) == [DATA, OTHER, b"blob"]
    assert sorted(path.name for path in folder.iterdir()) == sorted(map(digest_of, (DATA, OTHER, b"blob")))


def test_nothing_is_fetched_twice(folder, web):
    one = wanted(web.serve("/a", DATA))
    fetch(folder, one, one)
    fetch(folder, one)
    assert len(web.requests) == 1
    (folder / digest_of(DATA)).write_bytes(b"altered since")
    assert fetch(folder, one) == [DATA]


def test_the_next_source_is_tried(folder, web):
    altered = DATA[:-1] + bytes([DATA[-1] ^ 1])
    sources = (web.url + "/missing", web.serve("/altered", altered), "blob:none", "ipfs://x", web.serve("/good", DATA))
    assert fetch(folder, wanted(*sources)) == [DATA]


def test_what_every_source_said_is_told(folder, web):
    with pytest.raises(FetchError) as caught:
        fetch(folder, wanted(web.url + "/missing", "blob:none", "ipfs://x", "https://user:secret@example.org/x"))
    assert "expert-a 1.0.0 could not be fetched" in told(caught)
    for text in ("404", "the index does not hold the file", "kind 'ipfs'", "holds credentials"):
        assert text in told(caught)
    assert "secret" not in told(caught)
    assert list(folder.iterdir()) == []


def test_altered_bytes_are_an_integrity_error_and_leave_nothing(folder, web):
    with pytest.raises(IntegrityError, match="was altered") as caught:
        fetch(folder, wanted(web.serve("/a", OTHER), web.url + "/missing"))
    assert digest_of(OTHER) in told(caught)
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("etag", ['"v1"', ""])
def test_an_interrupted_download_is_gone_on_with(folder, web, etag):
    url = web.serve("/a", DATA, cuts=[1_000_000], etag=etag)
    assert fetch(folder, wanted(url)) == [DATA]
    first, second = web.requests
    assert (first.status, second.status) == (200, 206)
    assert second.headers["Range"] == "bytes=1000000-"
    assert second.headers.get("If-Range") == (etag or None)
    assert web.sent == len(DATA)


def test_a_later_command_goes_on_and_progress_counts_what_was_there(folder, web):
    url = web.serve("/a", DATA, cuts=[1_000_000, 0, 0, 0, 0, 0])
    with pytest.raises(FetchError, match="could not be fetched"):
        fetch(folder, wanted(url))
    assert partial(folder).read_bytes() == DATA[:1_000_000]
    web.requests.clear()
    web.pages["/a"].cuts.clear()
    progress = Recorder()
    assert fetch(folder, wanted(url), progress=progress) == [DATA]
    assert web.sent == 2_000_000
    assert web.requests[0].headers["If-Range"] == '"v1"'
    assert progress.started == [("expert-a 1.0.0", len(DATA))]
    assert (progress.skipped, progress.advanced, progress.stopped) == (1_000_000, 2_000_000, 1)
    assert [path.name for path in folder.iterdir()] == [digest_of(DATA)]


def test_another_source_goes_on_with_what_the_first_sent(folder, web):
    first = web.serve("/first", DATA, cuts=[2_000_000, *[0] * 9])
    second = web.serve("/second", DATA, etag='"other"')
    assert fetch(folder, wanted(first, second)) == [DATA]
    last = web.requests[-1]
    assert (last.path, last.sent, last.headers.get("If-Range")) == ("/second", 1_000_000, None)


def test_a_file_that_changes_midway_is_got_from_its_beginning(folder, web):
    url = web.serve("/a", OTHER, cuts=[1_000_000])
    page = web.pages["/a"]

    def change():
        page.data, page.etag, page.hold = DATA, '"v2"', None

    page.hold = change
    assert fetch(folder, wanted(url)) == [DATA]
    assert [request.status for request in web.requests] == [200, 200]


def test_ignored_ranges_start_over(folder, web):
    leave_part(folder, DATA[:1_000_000])
    progress = Recorder()
    assert fetch(folder, wanted(web.serve("/a", DATA, ignores_ranges=True)), progress=progress) == [DATA]
    assert web.requests[0].headers["Range"] == "bytes=1000000-"
    assert (progress.skipped, progress.advanced) == (0, len(DATA))


@pytest.mark.parametrize("knobs", [{"shift": 7}, {"shift": -500_000}])
def test_another_range_than_asked_for_is_not_taken(folder, web, knobs):
    leave_part(folder, DATA[:1_000_000])
    assert fetch(folder, wanted(web.serve("/a", DATA, **knobs))) == [DATA]
    assert [request.status for request in web.requests] == [206, 200]


def test_a_range_of_a_file_of_another_size_is_refused(folder, web):
    leave_part(folder, DATA[:1_000_000])
    with pytest.raises(FetchError, match="could not be fetched") as caught:
        fetch(folder, wanted(web.serve("/a", DATA, total=len(DATA) + 1)))
    assert "has 3000001 bytes where there must be 3000000" in told(caught)


@pytest.mark.parametrize("left", [b"rubbish", OTHER[:1_000_000], OTHER, DATA + b"more", DATA])
def test_whatever_part_was_left_the_right_bytes_come(folder, web, left):
    leave_part(folder, left)
    assert fetch(folder, wanted(web.serve("/a", DATA))) == [DATA]
    if left == DATA:
        assert web.requests == []


def test_the_rest_of_a_file_that_became_shorter(folder, web):
    leave_part(folder, DATA[:2_000_000])
    with pytest.raises(FetchError) as caught:
        fetch(folder, wanted(web.serve("/a", DATA[:1_000_000])))
    assert "announces 1000000 bytes where there must be 3000000" in told(caught)


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_busy_servers_are_asked_again(folder, web, status):
    pauses: list[float] = []
    answers = [(status, {}), (status, {"Retry-After": "7"})]
    assert fetch(folder, wanted(web.serve("/a", DATA, answers=answers)), sleep=pauses.append) == [DATA]
    assert pauses == [0.5, 7]


def test_patience_ends(folder, web):
    pauses: list[float] = []
    with pytest.raises(FetchError) as caught:
        fetch(folder, wanted(web.serve("/a", DATA, answers=[(503, {})] * 9)), sleep=pauses.append)
    assert "503" in told(caught)
    assert pauses == [0.5, 1, 2]


def test_patience_is_for_those_who_bring_something(folder, web):
    url = web.serve("/a", DATA, cuts=[1, 1, 2_000_000, 1, 1])
    assert fetch(folder, wanted(url)) == [DATA]
    assert web.sent == len(DATA)


@pytest.mark.parametrize("status", [400, 403, 404, 410])
def test_refusals_are_final(folder, web, status):
    with pytest.raises(FetchError) as caught:
        fetch(folder, wanted(web.serve("/a", DATA, answers=[(status, {})])))
    assert str(status) in told(caught)
    assert len(web.requests) == 1


@pytest.mark.parametrize("stated", [len(DATA) - 1, len(DATA) + 1, 10**18])
def test_an_announced_size_that_contradicts_is_refused_before_anything_comes(folder, web, stated):
    with pytest.raises(FetchError) as caught:
        fetch(folder, wanted(web.serve("/a", DATA, stated_length=stated)))
    assert f"announces {stated} bytes where there must be {len(DATA)}" in told(caught)
    assert list(folder.iterdir()) == []


def test_data_without_end_is_cut_off(folder, web):
    progress = Recorder()
    with pytest.raises(FetchError) as caught:
        fetch(folder, wanted(web.serve("/a", DATA, endless=True)), progress=progress)
    assert "more than the stated 3000000 bytes" in told(caught)
    assert progress.advanced <= len(DATA)
    assert list(folder.iterdir()) == []


def test_nobody_listens(folder):
    with pytest.raises(FetchError) as caught:
        fetch(folder, wanted("http://127.0.0.1:9/a?x=1"))
    assert "http://127.0.0.1:9/a can't be reached" in told(caught)
    assert "x=1" not in told(caught)


def test_redirects_are_followed_here(folder, web):
    url = web.serve("/a", redirect="/b")
    web.serve("/b", redirect=web.serve("/c", DATA))
    assert fetch(folder, wanted(url)) == [DATA]


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("http://example.org/x", "is not encrypted"),
        ("file:///etc/passwd", "is not an https:// URL"),
        ("https://user:secret@example.org/x", "holds credentials"),
        ("/a", "redirects without end"),
    ],
)
def test_redirects_elsewhere_are_not(folder, web, target, said):
    with pytest.raises(FetchError) as caught:
        fetch(folder, wanted(web.serve("/a", redirect=target)))
    assert said in told(caught)
    assert "secret" not in told(caught)


def store_login(home: Path, url: str, login: str) -> None:
    (home / ".gitconfig").write_text("[credential]\n\thelper = store\n")
    (home / ".git-credentials").write_text(url.replace("://", f"://{login}@") + "\n")


def test_a_login_is_asked_of_git_once_and_kept_to_its_origin(folder, web, home):
    with serve_web() as elsewhere:
        store_login(home, web.url, "me:secret")
        url = web.serve("/a", redirect=elsewhere.serve("/x", DATA), login="me:secret")
        again = web.serve("/b", OTHER, login="me:secret", cuts=[1_000_000])
        assert fetch(folder, wanted(url), wanted(again, data=OTHER), jobs=1) == [DATA, OTHER]
        assert [request.status for request in web.requests] == [401, 302, 200, 206]
        assert "Authorization" not in elsewhere.requests[0].headers


def test_a_login_is_not_asked_for_where_a_redirect_leads(folder, web, home):
    with serve_web() as elsewhere:
        store_login(home, elsewhere.url, "me:secret")
        with pytest.raises(FetchError, match="could not be fetched") as caught:
            fetch(folder, wanted(web.serve("/a", redirect=elsewhere.serve("/x", DATA, login="me:secret"))))
        assert "401" in told(caught)
        assert len(elsewhere.requests) == 1


def test_a_wrong_login_is_told_without_its_password(folder, web, home):
    with pytest.raises(FetchError) as caught:
        fetch(folder, wanted(web.serve("/a", DATA, login="me:secret")))
    assert "wants a login" in told(caught)
    store_login(home, web.url, "me:hunter2")
    with pytest.raises(FetchError) as caught:
        fetch(folder, wanted(web.url + "/a"))
    assert "refused the login of me" in told(caught)
    assert "hunter2" not in told(caught)


def test_proxies_of_the_environment_are_used_and_their_logins_not_shown(folder, web, monkeypatch):
    monkeypatch.setenv("https_proxy", web.url.replace("://", "://me:hunter2@"))
    with pytest.raises(FetchError) as caught:
        fetch(folder, wanted("https://example.invalid/a"))
    assert "the proxy for https://example.invalid/a" in told(caught)
    assert "hunter2" not in told(caught)


def test_offline_takes_only_what_is_on_this_machine(folder, web, tmp_path):
    (tmp_path / "a").write_bytes(DATA)
    blobs = {"x": OTHER}
    local = wanted(web.serve("/a", DATA), (tmp_path / "a").as_uri())
    assert fetch(folder, local, wanted("blob:x", data=OTHER, blobs=blobs), offline=True) == [DATA, OTHER]
    for source in (web.url + "/a", "git+https://example.org/r.git#v1:a", "git+git@example.org:r.git#v1:a"):
        with pytest.raises(FetchError) as caught:
            fetch(folder, wanted(source, data=DATA[:9]), offline=True)
        assert "--offline forbids the network" in told(caught)
    assert web.requests == []


def test_downloads_overlap(folder, web):
    meeting = threading.Barrier(3, timeout=20)
    parts = [random.Random(seed).randbytes(500_000) for seed in range(3)]
    sources = [web.serve(f"/{i}", part, hold=meeting.wait) for i, part in enumerate(parts)]
    progress = Recorder()
    each = [wanted(source, data=part) for source, part in zip(sources, parts, strict=True)]
    assert fetch(folder, *each, jobs=3, progress=progress) == parts
    assert progress.started == [("3 packages", 1_500_000)]
    assert progress.advanced == 1_500_000


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
        "import sys; from pathlib import Path; from tests.integration.test_fetch import *\n"
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


def test_a_folder_that_cannot_be_written(tmp_path, web):
    (tmp_path / "downloads" / f"{digest_of(DATA)}.partial").mkdir(parents=True)
    with pytest.raises(StoreError, match="could not be written"):
        fetch(tmp_path / "downloads", wanted(web.serve("/a", DATA)))
    assert web.requests == []
