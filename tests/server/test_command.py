"""``xpm serve`` as a process, its keys, and a lock that changes under it."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner

from tests.support.serving import serving
from xpm.cli.main import cli
from xpm.environment import Environment
from xpm.project import EMBEDDED_EXPERTS, Project


@pytest.fixture
def xpm(environment, monkeypatch, tmp_path):
    """``xpm("serve", …)`` in a new project, with the home that the others have."""
    Project(wants=EMBEDDED_EXPERTS).save(tmp_path)
    monkeypatch.setenv("XPM_HOME", str(environment.home.root))
    monkeypatch.chdir(tmp_path)

    def call(*arguments, code=0):
        done = CliRunner().invoke(cli, arguments)
        assert (done.exit_code != 0) == bool(code), done.output
        return done.exception if code else done.stdout

    return call


def test_what_was_accepted_ends_before_the_server_does(xpm):
    command = [sys.executable, "-m", "xpm", "serve", "--port", "0", "--drain", "20"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ)
    try:
        address = process.stdout.readline().strip()
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+", address)
        body = {
            "prompt": "x",
            "model": "base",
            "stream": True,
            "grammar": {"kind": "regex", "text": "[ab]{100}"},
            "max_tokens": 400,
        }
        with httpx.stream("POST", f"{address}/v1/infer", json=body, timeout=60) as reply:
            lines = reply.iter_lines()
            next(lines)
            process.send_signal(signal.SIGTERM)
            ends = [json.loads(line.removeprefix("data: ")) for line in lines if '"finish_reason":"' in line]
        assert len(ends[-1]["text"]) == 100
        assert process.wait(timeout=20) == 0
        log = [json.loads(line) for line in process.stderr.read().splitlines() if line.startswith("{")]
        assert [each["status"] for each in log if each["message"] == "request"] == [200]
    finally:
        process.kill()
        process.communicate()


def test_keys_on_the_command_line(xpm):
    secret = xpm("serve", "keys", "add", "notebook", "--tokens-per-minute", "1000").strip()
    try:
        assert re.fullmatch(r"xpm-[\w-]{43}", secret)
        assert "1,000" in xpm("serve", "keys", "list")
        (shown,) = json.loads(xpm("serve", "keys", "list", "--json"))
        assert (shown["name"], shown["scopes"], "sha256" in shown) == ("notebook", ["infer"], False)
    finally:
        xpm("serve", "keys", "revoke", "notebook")
    assert json.loads(xpm("serve", "keys", "list", "--json")) == []
    assert "no key named" in str(xpm("serve", "keys", "revoke", "notebook", code=1))


def test_what_keeps_it_from_starting(xpm, monkeypatch):
    assert "is no path" in str(xpm("serve", "--base", "xpm-tiny", code=2))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert "can't be served" in str(xpm("serve", "--port", str(taken.getsockname()[1]), code=2))
    assert "there is no key" in str(xpm("serve", "--host", "0.0.0.0", "--port", "0", code=2))
    monkeypatch.setattr("xpm.operations.extras.find_spec", lambda name: None)
    error = xpm("serve", code=1)
    assert "pip install 'xpm-experts[serve]'" in error.hint


def test_a_lock_that_changes_is_served(xpm, environment, tmp_path):
    found = Environment(home=environment.home, folder=tmp_path, is_project=True)
    with serving(found, max_lanes=1) as served, httpx.Client(base_url=served.url, timeout=30) as client:

        def names():
            return {each["id"] for each in client.get("/v1/experts").json()["experts"]}

        client.post("/v1/experts/load", json={"id": "rust"})
        assert "expert-rust" in names()
        xpm("uninstall", "rust")
        deadline = time.monotonic() + 10
        while "expert-rust" in names() or any(key.startswith("expert-rust") for key in served.service.engine.attached):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        answer = client.post("/v1/infer", json={"prompt": "x", "force_experts": ["sql"], "max_tokens": 1}).json()
        assert answer["xpm"]["experts"][0]["id"] == "expert-sql"
        assert client.post("/v1/infer", json={"prompt": "x", "force_experts": ["rust"]}).status_code == 404


def test_only_some_experts_are_served(xpm, environment):
    folder = xpm("path", "json").strip()
    found = Environment(home=environment.home, folder=Path.cwd(), is_project=True)
    with serving(found, max_lanes=1, run={"experts": ("json",)}) as served:
        listed = httpx.get(f"{served.url}/v1/experts", timeout=60).json()
        assert [each["id"] for each in listed["experts"]] == ["expert-json"]
    base = xpm("path", "xpm-tiny").strip()
    with serving(found, max_lanes=1, run={"base": base, "experts": (folder,)}) as served:
        listed = httpx.get(f"{served.url}/v1/experts", timeout=60).json()
        assert ([each["id"] for each in listed["experts"]], listed["base"]["id"]) == (["expert-json"], "xpm-tiny")
        reply = httpx.post(f"{served.url}/v1/infer", json={"prompt": "x", "max_tokens": 1}, timeout=60)
        assert reply.status_code == 200
