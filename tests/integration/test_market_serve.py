"""The served site: pages of the index as it is now, search, conditional requests, headers, hosts;
harmless whatever is asked."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from safetensors.numpy import save
from starlette.testclient import TestClient

from tests.support.packages import make_manifest
from tests.support.pages import read_page
from tests.support.payloads import PAYLOADS
from xpm.errors import UsageError
from xpm.home import Home
from xpm.operations.clock import now
from xpm.operations.market_serve import MarketOptions, application
from xpm.operations.upload import RefusedUpload, _Sending, upload
from xpm_index.archive import write_archive
from xpm_index.errors import KeyFileError, PackagingError, TrustError
from xpm_index.publishing import sign_archive
from xpm_index.web import WebError


@pytest.fixture
def client(index, environment):
    index.serve("expert-b", "1.0.0", requires=["a@^1"], description="plays chess")
    with (
        application(environment, str(index.path), MarketOptions()) as app,
        TestClient(app, base_url="http://localhost") as opened,
    ):
        yield opened


def names(reply):
    return [each["name"] for each in reply.json()["packages"]]


@pytest.mark.parametrize(
    "path",
    "/ /index.html /search.html /experts/expert-a.html /bases/xpm-tiny.html /publishers/acme.html /status.html "
    "/style.css"
    " /site.js /icon.svg /feed.xml /experts/expert-a.json /compare/expert-a/expert-b.html".split(),
)
def test_what_there_is_is_served_with_strict_headers(client, path):
    reply = client.get(path)
    assert reply.status_code == 200
    policy = reply.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert reply.headers["x-content-type-options"] == "nosniff"
    assert reply.headers["referrer-policy"] == "no-referrer"
    head = client.head(path)
    assert (head.status_code, head.content, head.headers["etag"]) == (200, b"", reply.headers["etag"])


@pytest.mark.parametrize(
    "path",
    "/nothing.html /experts/ /experts/expert-z.html /../pyproject.toml /..%2f..%2fetc/passwd /experts/%00.html "
    "/.market.json"
    " /compare/expert-b/expert-a.html /compare/expert-a/expert-z.html /templates/layout.html /404.html".split(),
)
def test_what_there_is_not_is_a_page_that_says_so(client, path):
    reply = client.get(path)
    assert reply.status_code == 404
    assert "There is no such page" in reply.text


def test_whoever_has_a_page_already_is_told_so(client):
    tag = client.get("/experts/expert-a.html").headers["etag"]
    for given in (tag, f"W/{tag}", f'"x", {tag}', "*"):
        again = client.get("/experts/expert-a.html", headers={"if-none-match": given})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
        assert "content-security-policy" in again.headers
    assert client.get("/experts/expert-a.html", headers={"if-none-match": '"x"'}).status_code == 200


def test_what_is_published_is_seen_at_once(client, index):
    assert client.get("/experts/expert-new.html").status_code == 404
    before = client.get("/index.html").headers["etag"]
    index.serve("expert-new", "1.0.0", description="never seen")
    assert client.get("/experts/expert-new.html").status_code == 200
    assert client.get("/index.html", headers={"if-none-match": before}).status_code == 200
    assert names(client.get("/search.json?q=never")) == ["expert-new"]


def test_an_index_that_no_longer_verifies_is_not_served(client, index):
    index.writer.repo.commit_files({"metadata/timestamp.json": b"{}"}, message="x", author="x <x@localhost>")
    reply = client.get("/index.html")
    assert (reply.status_code, reply.headers["retry-after"]) == (503, "5")


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ("q=chess", ["expert-b"]),
        ("q=play+che", ["expert-b"]),
        ("q=expert&kind=expert", ["expert-a", "expert-b"]),
        ("kind=base", ["xpm-tiny"]),
        ("base=xpm-tiny&q=about", ["xpm-tiny", "expert-a"]),
        ("publisher=acme&kind=base", ["xpm-tiny"]),
        ("publisher=nobody", []),
        ("license=MIT", []),
        ("quality=50", []),
        ("megabytes=1&kind=base", ["xpm-tiny"]),
        ("quality=x&kind=base", ["xpm-tiny"]),
        ("q=nothing-like-it", []),
    ],
)
def test_search(client, asked, found):
    assert sorted(names(client.get(f"/search.json?{asked}"))) == sorted(found)


def test_any_two_can_be_compared(client):
    reply = client.get("/compare.html?a=expert-b&b=expert-a", follow_redirects=False)
    assert (reply.status_code, reply.headers["location"]) == (303, "/compare/expert-a/expert-b.html")
    assert client.get("/compare.html?a=expert-b&b=https://example.org").status_code == 404


def test_what_is_asked_for_does_not_become_markup(client):
    fields = ("q", "kind", "base", "capability", "publisher", "license", "quality", "a", "b")
    for payload in PAYLOADS:
        reply = client.get("/search.html", params=dict.fromkeys(fields, payload))
        for tag, given in read_page(reply.text).elements:
            assert tag not in ("iframe", "object", "embed", "style", "img", "svg", "math", "template")
            assert not [key for key in given if key.startswith("on")]
            assert tag != "script" or given == {"src": "site.js", "defer": None}
        assert client.get("/x", params={"y": payload}).status_code == 404


@pytest.mark.parametrize(
    ("host", "status"), [("localhost", 200), ("127.0.0.1:80", 200), ("evil.example", 421), ("", 421)]
)
def test_only_its_own_hosts_are_answered_for(client, host, status):
    assert client.get("/index.html", headers={"host": host}).status_code == status


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_nothing_is_changed_over_http(client, method):
    assert client.request(method, "/index.html").status_code == 405


def test_many_ask_at_once(client, index):
    def ask(number: int) -> int:
        return client.get(("/index.html", "/search.json?q=chess", "/experts/expert-a.html")[number % 3]).status_code

    with ThreadPoolExecutor(8) as pool:
        publishing = threading.Thread(target=index.serve, args=("expert-c", "1.0.0"))
        publishing.start()
        assert set(pool.map(ask, range(60))) == {200}
        publishing.join()


def test_a_url_or_another_root_is_refused_before_anything_is_served(index, environment):
    with pytest.raises(UsageError, match="is a URL"), application(environment, index.url, MarketOptions()):
        pass
    wrong = MarketOptions(fingerprint="sha256:" + "0" * 64)
    with pytest.raises(TrustError), application(environment, str(index.path), wrong):
        pass


@contextlib.contextmanager
def serving(tmp_path, *arguments):
    """The command in a process of its own; its address, and the process."""
    command = [sys.executable, "-m", "xpm", "market", "serve", *arguments, "--port", "0"]
    started = subprocess.Popen(
        command, cwd=tmp_path, env=os.environ | {"XPM_HOME": str(tmp_path / "home")}, stdout=subprocess.PIPE, text=True
    )
    try:
        assert started.stdout is not None
        yield started.stdout.readline().strip(), started
    finally:
        started.kill()
        started.wait()


def test_the_command_serves_what_comes_with_xpm_until_it_is_told_to_end(tmp_path):
    with serving(tmp_path) as (address, started):
        with urllib.request.urlopen(f"{address}/experts/expert-sql.json") as reply:
            assert json.load(reply)["name"] == "expert-sql"
        started.send_signal(signal.SIGTERM)
        began = time.monotonic()
        started.wait(20)
        assert time.monotonic() - began < 10


def test_an_archive_is_handed_in_in_pieces_and_again_after_a_break(index, tmp_path, monkeypatch):
    noise = np.random.default_rng(1).standard_normal(100_000).astype(np.float32)
    manifest = make_manifest("expert-n", license="MIT")
    archive = tmp_path / "n.expert"
    write_archive(archive, {"manifest.json": manifest.to_bytes(), "slots.safetensors": save({"w": noise})})
    sign_archive(archive, index.key, publisher="acme", created_at=now())
    monkeypatch.setattr("xpm.operations.upload.CHUNK_BYTES", 100_000)
    home, breaks = Home(tmp_path / "publisher"), iter([WebError("broke", transient=True)])
    send = _Sending._send

    def breaking(self, offset):
        if offset >= 200_000 and (error := next(breaks, None)):
            raise error
        return send(self, offset)

    monkeypatch.setattr(_Sending, "_send", breaking)
    with serving(tmp_path, str(index.path), "--uploads") as (address, _):
        with pytest.raises(KeyFileError, match="is not here"):
            upload(home, address, [archive])
        index.key.save(home.keys / "acme.json")
        done = upload(home, address, [archive], sleep=lambda seconds: None)
        assert (done.name, done.version, done.branch) == ("expert-n", "1.0.0", "publish/expert-n-1.0.0")
        assert [each["rule"] for each in done.findings] == ["readme-missing"]
        other = tmp_path / "other.expert"
        base = [{"name": "smollm2", "sha256": "ab" * 32}]
        for version in ("1.0.0", "1.1.0"):
            weights = {"slots.safetensors": save({"w": noise})}
            write_archive(
                other,
                {
                    "manifest.json": make_manifest("expert-n", version, license="MIT", base_models=base).to_bytes(),
                    **weights,
                },
            )
            sign_archive(other, index.key, publisher="acme", created_at=now())
            if version == "1.0.0":
                both = upload(home, address, [archive, other], sleep=lambda seconds: None)
                assert both.branch == "publish/expert-n-1.0.0"
        with pytest.raises(PackagingError, match="different packages or versions"):
            upload(home, address, [archive, other])
        index.writer.put_publisher(index.writer.publisher("acme").without_key(index.key.key_id, at=now()))
        with pytest.raises(RefusedUpload, match="takes nothing by this key"):
            upload(home, address, [archive])
    assert index.writer.repo.branch_head("publish/expert-n-1.0.0") is not None
