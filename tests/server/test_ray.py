"""Replicas by Ray Serve, where it is installed."""

import json
import os
import signal
import subprocess
import sys

import httpx
import pytest

from xpm.cli.serve import _replicas
from xpm.errors import UsageError
from xpm.operations.serve_ray import _key_of, _require_room


class Candidates:
    """As many experts as the prompt has words."""

    def compose(self, prompt, experts):
        from types import SimpleNamespace

        return SimpleNamespace(experts=[SimpleNamespace(name=f"expert-{word}") for word in prompt.split()])


@pytest.mark.parametrize(
    ("asked", "key"),
    [
        ({"model": "expert-sql"}, "expert-sql"),
        ({"model": "expert-sql@0.3.0"}, "expert-sql"),
        ({"model": "expert-sql:latest"}, "expert-sql"),
        ({"model": "base", "messages": []}, ""),
        (
            {"model": "base", "xpm": {"experts": [{"id": "b"}, {"id": "a", "scale": 0.5}, {"id": "c", "scale": 0}]}},
            "a*0.5+b",
        ),
        ({"model": "auto", "messages": [{"role": "user", "content": "sql json"}]}, "expert-json+expert-sql"),
        (
            {
                "messages": [
                    {"role": "user", "content": [{"type": "text", "text": "sql"}]},
                    {"role": "assistant", "content": "x"},
                ]
            },
            "expert-sql",
        ),
        ({"model": "auto", "prompt": "rust"}, "expert-rust"),
    ],
)
def test_the_composition_of_a_request(asked, key):
    assert _key_of(asked, Candidates()) == key


def test_how_many_replicas():
    assert _replicas("3") == (3, 3)
    assert _replicas("1-8") == (1, 8)
    for text in ("0", "8-1", "-3", "x", "2-", "1-2-3"):
        with pytest.raises(UsageError, match="is no number of servers"):
            _replicas(text)


def test_servers_that_no_processor_is_left_for_are_refused():
    _require_room(2, 1.0, 2.0)
    with pytest.raises(UsageError, match="3 servers of 2 CPUs each need 6, and there are 4"):
        _require_room(3, 2.0, 4.0)


def test_two_replicas_answer_as_one_does(environment, tmp_path):
    pytest.importorskip("ray")
    command = [sys.executable, "-m", "xpm", "serve", "--port", "8797", "--replicas", "2", "--threads", "1"]
    env = {**os.environ, "XPM_HOME": str(environment.home.root)}
    with subprocess.Popen(command, cwd=environment.folder, env=env, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout.readline().strip() == "http://127.0.0.1:8797"
            with httpx.Client(base_url="http://127.0.0.1:8797", timeout=60) as client:
                body = {
                    "model": "expert-sql",
                    "messages": [{"role": "user", "content": "How many users are there? Schema: users(id, name)"}],
                }
                answers = [client.post("/v1/chat/completions", json=body).json() for _ in range(4)]
                assert {each["choices"][0]["message"]["content"] for each in answers} == {"SELECT COUNT(*) FROM users;"}
                with client.stream("POST", "/v1/chat/completions", json={**body, "stream": True}) as streamed:
                    lines = [line for line in streamed.iter_lines() if line]
                assert lines[-1] == "data: [DONE]"
                assert json.loads(lines[0].removeprefix("data: "))["xpm"]["experts"][0]["id"] == "expert-sql"
                assert client.post("/v1/chat/completions", content=b"{").status_code == 400
                assert client.post("/v1/chat/completions", content=b"x" * (9 << 20)).status_code == 413
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 0
