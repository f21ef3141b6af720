"""Who gets in: hosts, keys, scopes, quotas, sizes; and that nothing is left when clients go away."""

import contextlib
import json
import logging
import socket
import time

import httpx
import pytest

from tests.support.serving import serving
from xpm.errors import UsageError
from xpm.operations.answering import RunOptions
from xpm.operations.serve import KEYS_FILE, ServeOptions, serve
from xpm.progress import Silent
from xpm_runtime.errors import RequestError
from xpm_runtime.server.connections import PatientProtocol
from xpm_runtime.server.errors import ApiError
from xpm_runtime.server.keys import Key, KeyFile
from xpm_runtime.server.quotas import Quotas

BODY = {"model": "base", "messages": [{"role": "user", "content": "x"}], "max_tokens": 1}


@contextlib.contextmanager
def sending(served, path, body):
    """A connection that has sent a request and need not wait for the answer."""
    host, port = served.url.removeprefix("http://").split(":")
    text = json.dumps(body)
    head = f"POST {path} HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\n"
    with socket.create_connection((host, int(port))) as client:
        client.sendall(f"{head}content-length: {len(text)}\r\n\r\n{text}".encode())
        yield client


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", ""])
def test_other_hosts_are_refused(host, http):
    reply = http.get("/v1/models", headers={"host": host})
    assert reply.status_code in (400, 421)


@pytest.mark.parametrize("host", ["localhost", "localhost:1", "127.0.0.1", "[::1]:8000", "LOCALHOST"])
def test_own_names_are_not(host, http):
    assert http.get("/health", headers={"host": host}).status_code == 200


def test_pages_of_other_sites_are_refused(http, served):
    reply = http.post("/v1/chat/completions", json=BODY, headers={"origin": "https://evil.example"})
    assert reply.status_code == 403
    assert "access-control-allow-origin" not in reply.headers
    assert http.get("/", headers={"origin": served.url}).status_code == 200
    assert http.get("/", headers={"origin": "http://127.0.0.1:3000"}).status_code == 403
    assert http.get("/", headers={"origin": "null"}).status_code == 403


def test_sizes(http):
    large = http.post("/v1/chat/completions", content=b" " * ((8 << 20) + 1))
    assert (large.status_code, large.json()["error"]["code"]) == (413, "body_too_large")

    def chunks():
        for _ in range(9):
            yield b" " * (1 << 20)

    assert http.post("/v1/messages", content=chunks()).json()["error"]["type"] == "request_too_large"
    assert http.get("/health", headers={"x-long": "x" * (64 << 10)}).status_code in (400, 431)
    deep = b'{"messages": ' + b"[" * 300 + b"]" * 300 + b"}"
    assert (
        http.post("/v1/chat/completions", content=deep, headers={"content-type": "application/json"}).status_code == 400
    )


def test_who_never_says_what_it_wants_is_left(served, http, monkeypatch):
    monkeypatch.setattr("xpm_runtime.server.connections.HEADERS_S", 0.3)
    host, port = served.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as slow:
        slow.sendall(b"GET /health HTTP/1.1\r\nhost: ")
        assert http.get("/health").status_code == 200
        assert slow.recv(1) == b""


def test_nothing_waits_to_be_sent(served, http, monkeypatch):
    """Headers and body are two writes: with Nagle's algorithm the second would wait for the
    first one's acknowledgement."""
    seen = []
    made = PatientProtocol.connection_made

    def watched(self, transport):
        made(self, transport)
        seen.append(transport.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))

    monkeypatch.setattr(PatientProtocol, "connection_made", watched)
    assert http.get("/health").status_code == 200
    assert seen
    assert all(seen)


def test_what_is_logged(http, caplog):
    caplog.set_level(logging.INFO, "xpm.serve")
    reply = http.post("/v1/chat/completions", json=BODY, headers={"x-request-id": "mine-1"})
    assert reply.headers["x-request-id"] == "mine-1"

    def logged():
        fields = [getattr(each, "fields", {}) for each in caplog.records]
        return [(each["path"], each["status"]) for each in fields if each.get("request_id") == "mine-1"]

    deadline = time.monotonic() + 10  # the line is written once the answer has gone
    while not logged() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert logged() == [("/v1/chat/completions", 200)]
    other = http.get("/health", headers={"x-request-id": "two words"}).headers["x-request-id"]
    assert other.startswith("req_")
    http.post("/v1/infer", json={"prompt": "a secret", "model": "base", "max_tokens": 1})
    assert "a secret" not in caplog.text + json.dumps([getattr(each, "fields", {}) for each in caplog.records])


@pytest.fixture
def keys(environment):
    found = KeyFile(environment.home.root / KEYS_FILE)
    yield found
    for each in found.active():
        found.revoke(each.name)


def test_keys(served, keys):
    def status(path, **headers):
        with httpx.Client(base_url=served.url, headers=headers, timeout=60) as client:
            return client.get(path).status_code

    assert status("/v1/models") == 200
    secret, _ = keys.add("one")
    assert status("/v1/models") == status("/metrics") == status("/") == 401
    assert status("/health") == status("/ready") == 200
    assert status("/v1/models", authorization=f"Bearer {secret}") == 200
    assert status("/v1/models", **{"x-api-key": secret}) == 200
    assert status("/v1/models", authorization=f"Bearer {secret}x") == 401
    assert status("/metrics", authorization=f"Bearer {secret}") == 403
    watcher, _ = keys.add("watcher", scopes=["metrics"])
    assert status("/metrics", authorization=f"Bearer {watcher}") == 200
    assert status("/v1/models", authorization=f"Bearer {watcher}") == 403
    headers = {"authorization": f"Bearer {secret}"}
    assert httpx.post(f"{served.url}/v1/experts/reload", headers=headers, timeout=60).status_code == 403
    assert httpx.get(f"{served.url}/v1/experts", headers=headers, timeout=60).status_code == 200
    anthropic = httpx.post(f"{served.url}/v1/messages", json={}, timeout=60).json()
    assert (anthropic["type"], anthropic["error"]["type"]) == ("error", "authentication_error")
    assert isinstance(httpx.get(f"{served.url}/api/tags", timeout=60).json()["error"], str)
    keys.revoke("one")
    assert status("/v1/models", authorization=f"Bearer {secret}") == 401


def test_quotas(served, keys):
    secret, _ = keys.add("two", requests_per_minute=2)
    headers = {"authorization": f"Bearer {secret}"}
    replies = [httpx.get(f"{served.url}/v1/models", headers=headers, timeout=60) for _ in range(3)]
    assert [each.status_code for each in replies] == [200, 200, 429]
    assert 1 <= int(replies[-1].headers["retry-after"]) <= 60
    frugal, _ = keys.add("frugal", tokens_per_minute=10)
    headers = {"authorization": f"Bearer {frugal}"}
    url = f"{served.url}/v1/completions"
    body = {"model": "base", "prompt": "SELECT name FROM users WHERE quota", "max_tokens": 11}
    assert [httpx.post(url, json=body, headers=headers, timeout=60).status_code for _ in range(2)] == [200, 429]


def test_a_key_gets_no_higher_priority_than_it_may_have(environment, keys):
    keys.add("batch", max_priority=2)
    keys.add("one")
    assert [keys.priority("batch", wanted) for wanted in (1, 2, 9)] == [1, 2, 2]
    assert keys.priority("one", 9) == keys.priority("", 9) == 9


def test_quotas_fill_again():
    now = 0.0
    quotas = Quotas(clock=lambda: now)
    key = Key(name="a", sha256="", requests_per_minute=60)
    for _ in range(60):
        quotas.admit(key)
    with pytest.raises(ApiError) as caught:
        quotas.admit(key)
    assert caught.value.headers == {"retry-after": "1"}
    now = 1.5
    quotas.admit(key)


def test_the_file_of_keys(tmp_path):
    keys = KeyFile(tmp_path / "keys.json")
    assert keys.find("xpm-x") is None
    secret, key = keys.add("a")
    assert keys.find(secret) == key
    assert secret not in (tmp_path / "keys.json").read_text()
    assert (tmp_path / "keys.json").stat().st_mode & 0o077 == 0
    for name in ("a", "", "a b", "x" * 65):
        with pytest.raises(RequestError):
            keys.add(name)
    with pytest.raises(RequestError):
        keys.revoke("b")
    (tmp_path / "keys.json").write_text("{}")
    with pytest.raises(RequestError, match="can't be read"):
        keys.active()


def test_a_public_address_needs_a_key(environment):
    options = ServeOptions(run=RunOptions(device="cpu"), host="0.0.0.0", port=0)
    with pytest.raises(UsageError, match="there is no key"):
        serve(environment, options, progress=Silent(), ready=lambda address: None)


def test_a_public_server_whose_keys_were_revoked_is_closed(environment):
    with serving(environment, max_lanes=1, host="0.0.0.0") as served:
        assert httpx.get(f"{served.url}/v1/models", timeout=60).status_code == 401
        assert httpx.get(f"{served.url}/health", timeout=60).status_code == 200


def test_who_goes_away_leaves_nothing(served, http):
    """Half of the connections are closed in the middle of a stream, half before an answer that is not streamed."""
    for number in range(40):
        body = {**BODY, "max_tokens": 200, "stream": number % 2 == 0, "temperature": 1.0}
        with sending(served, "/v1/chat/completions", body) as client:
            if number % 2 == 0:
                client.recv(64)
    served.wait_until_idle()
    assert http.post("/v1/chat/completions", json=BODY).status_code == 200
    assert served.service.engine.violations() == []


def test_a_full_queue_is_told_at_once(environment, monkeypatch):
    body = {
        "prompt": "x",
        "model": "base",
        "max_tokens": 400,
        "stream": True,
        "grammar": {"kind": "regex", "text": "[ab]{400}"},
    }
    with (
        serving(environment, max_lanes=1, max_queued=1) as served,
        httpx.Client(base_url=served.url, timeout=60) as client,
    ):
        step = served.service.engine.step
        monkeypatch.setattr(served.service.engine, "step", lambda: (time.sleep(0.05), step())[1])  # 20 s if it is let
        with client.stream("POST", "/v1/infer", json=body) as running, sending(served, "/v1/infer", body):
            next(running.iter_lines())
            served.wait_until(lambda now: sum(now.waiting) == 1)
            refused = client.post("/v1/infer", json=body)
        assert (refused.status_code, int(refused.headers["retry-after"]) >= 1) == (429, True)
        served.wait_until_idle()
        assert client.post("/v1/chat/completions", json=BODY).status_code == 200
