"""Fetching archives from real local servers: what comes, what is sent again, what is refused, and what stays behind."""

from pathlib import Path

import pytest

from tests.support.fetching import DATA, OTHER, Recorder, digest_of, fetch, isolate, leave_part, partial, told, wanted
from tests.support.web_server import serve_web
from xpm.errors import FetchError, StoreError
from xpm_index.errors import IntegrityError


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


def test_a_folder_that_cannot_be_written(tmp_path, web):
    (tmp_path / "downloads" / f"{digest_of(DATA)}.partial").mkdir(parents=True)
    with pytest.raises(StoreError, match="could not be written"):
        fetch(tmp_path / "downloads", wanted(web.serve("/a", DATA)))
    assert web.requests == []
