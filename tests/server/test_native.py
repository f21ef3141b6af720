"""xpm's own protocol, and how the server tells of itself."""

import json
import re
from pathlib import Path

import pytest

from tests.server.conftest import ANSWER, QUESTION

SERVING = Path(__file__).parents[2] / "examples" / "serving"


def ask(http, path, **body):
    return http.post(path, json=body)


def test_inference(http):
    reply = ask(http, "/v1/infer", prompt=QUESTION).json()
    assert (reply["text"], reply["finish_reason"], reply["missing"]) == (ANSWER, "stop", None)
    assert [each["id"] for each in reply["xpm"]["experts"]] == ["expert-sql"]
    assert reply["timings"]["total_ms"] > 0
    forced = ask(http, "/v1/infer", prompt=QUESTION, force_experts=["sql", {"id": "json", "scale": 0.5}], max_tokens=3)
    assert {each["id"]: each["scale"] for each in forced.json()["xpm"]["experts"]} == {
        "expert-sql": 1,
        "expert-json": 0.5,
    }
    none = ask(http, "/v1/infer", prompt=QUESTION, max_experts=0, max_tokens=3).json()
    assert none["xpm"]["experts"] == []
    other = ask(http, "/v1/infer", prompt=QUESTION, exclude_experts=["expert-sql"], max_tokens=3, priority=9).json()
    assert "expert-sql" not in [each["id"] for each in other["xpm"]["experts"]]


def test_inference_in_a_context(http):
    num_prompt = ask(http, "/v1/infer", prompt="x", model="base", max_tokens=1).json()["usage"]["prompt_tokens"]
    bounded = ask(http, "/v1/infer", prompt="x", model="base", context_size=num_prompt + 2).json()
    assert bounded["usage"]["completion_tokens"] <= 2
    assert ask(http, "/v1/infer", prompt="x", model="base", context_size=num_prompt).status_code == 400


def test_an_inference_is_streamed(http):
    with http.stream("POST", "/v1/infer", json={"prompt": QUESTION, "stream": True}) as reply:
        blocks = reply.read().decode().strip().split("\n\n")
    parts = [re.fullmatch(r"event: (\w+)\ndata: (.*)", block).groups() for block in blocks]
    assert [name for name, _ in parts] == ["begin", *["text"] * (len(parts) - 2), "end"]
    assert "".join(json.loads(data)["text"] for _, data in parts[1:-1]) == ANSWER == json.loads(parts[-1][1])["text"]


def test_forms(http):
    schema = {"type": "object", "properties": {}, "additionalProperties": False}
    assert json.loads(ask(http, "/v1/infer", prompt="x", model="base", json_schema=schema).json()["text"]) == {}
    both = ask(http, "/v1/infer", prompt="x", json_schema=schema, grammar='root ::= "a"')
    assert (both.status_code, "contradict" in both.json()["error"]["message"]) == (400, True)


def test_a_route_is_told(http):
    found = ask(http, "/v1/route", prompt=QUESTION).json()
    assert (found["experts"], found["task"]) == (["expert-sql"], "sql")
    assert found["candidates"][0]["id"] == "expert-sql"
    assert found["settings"]["temperature"] == 0
    last = ask(
        http, "/v1/route", messages=[{"role": "user", "content": QUESTION}, {"role": "user", "content": "hello"}]
    )
    assert last.json()["experts"] == []
    assert ask(http, "/v1/route").status_code == 400


def test_experts_are_loaded_and_unloaded(http, served):
    def loaded():
        return {each["id"] for each in http.get("/v1/experts").json()["experts"] if each["is_loaded"]}

    assert ask(http, "/v1/experts/load", id="rust").json()["is_loaded"]
    assert "expert-rust" in loaded()
    assert ask(http, "/v1/experts/unload", id="rust").status_code == 200
    assert "expert-rust" not in loaded()
    assert ask(http, "/v1/experts/unload", id="nobody").status_code == 404
    assert ask(http, "/v1/experts/load", id="../../etc/passwd").status_code == 404
    assert http.post("/v1/experts/reload").json() == {"added": [], "removed": [], "note": ""}
    ask(http, "/v1/experts/load", id="rust")
    engine = served.service.engine
    used = [each for each in engine.attached if each.startswith("expert-rust@")]
    engine.pin(used)  # as by an answer that is being written
    assert ask(http, "/v1/experts/unload", id="rust").status_code == 409
    engine.unpin(used)
    assert ask(http, "/v1/experts/unload", id="rust").status_code == 200


def test_an_expert_that_leaves_at_the_last_moment_is_brought_back(http, served, monkeypatch):
    host = served.service.host
    attach, calls = host.attach, []

    def attach_late(keys):
        calls.append(keys)
        return attach(keys) if len(calls) > 1 else 0.0

    ask(http, "/v1/experts/unload", id="rust")
    monkeypatch.setattr(host, "attach", attach_late)
    reply = ask(http, "/v1/infer", prompt="x", force_experts=["rust"], max_tokens=1)
    assert (reply.status_code, len(calls)) == (200, 2)


def test_health_and_metrics(http):
    assert http.get("/health").json() == http.get("/ready").json() == {"status": "ok"}
    ask(http, "/v1/infer", prompt=QUESTION)
    text = http.get("/metrics").text
    figures = dict(re.findall(r"^(xpm_\w+(?:\{[^}]*\})?) (\S+)$", text, re.MULTILINE))
    assert float(figures["xpm_num_requests_running"]) == 0
    assert float(figures["xpm_time_to_first_token_seconds_count"]) > 0
    assert float(figures['xpm_expert_requests_total{expert="expert-sql@0.3.0"}']) > 0
    assert float(figures['xpm_router_decisions_total{kind="experts"}']) > 0
    assert float(figures['xpm_http_responses_total{path="/v1/infer",status="200"}']) > 0
    assert float(figures["xpm_generation_tokens_total"]) > 0


def test_the_dashboard_asks_for_figures_that_are_there(http):
    text = http.get("/metrics").text
    for path in SERVING.iterdir():
        for name in re.findall(r"\bxpm_[a-z0-9_]+", path.read_text(encoding="utf-8")):
            assert f"# TYPE {name.removesuffix('_bucket')} " in text, (path.name, name)


def test_the_page_needs_no_script(http):
    reply = http.get("/")
    assert reply.headers["content-type"].startswith("text/html")
    policy = reply.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "expert-sql" in reply.text
    assert not re.search(r"<script|<style|\sstyle=|\son\w+=", reply.text)
    assert http.get("/status.css").headers["content-type"].startswith("text/css")
    assert http.get("/favicon.ico").status_code == 204
    assert 'http-equiv="refresh"' not in reply.text
    assert 'http-equiv="refresh"' in http.get("/", params={"follow": "1"}).text


def test_the_interface_is_described(http):
    document = http.get("/openapi.json").json()
    for path in ("/v1/chat/completions", "/v1/messages", "/api/chat", "/v1/infer", "/v1/experts"):
        assert path in document["paths"]
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            assert operation["summary"], (path, method)


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/nothing", 404), ("GET", "/v1/infer", 405)])
def test_what_is_not_there(method, path, status, http):
    reply = http.request(method, path)
    assert reply.status_code == status
    assert reply.json()["error"]["message"]


@pytest.mark.parametrize(
    ("last", "experts"), [("and sorted?", ["expert-sql"]), ("thanks", []), ("What is the capital of France?", [])]
)
def test_a_turn_that_means_nothing_by_itself_is_for_who_answered_before(last, experts, http):
    messages = [
        {"role": "user", "content": QUESTION},
        {"role": "assistant", "content": ANSWER},
        {"role": "user", "content": "thanks"},
        {"role": "assistant", "content": "You're welcome."},
        {"role": "user", "content": last},
    ]
    found = ask(http, "/v1/route", messages=messages).json()
    assert found["experts"] == experts
    assert ("answered before" in found["reason"]) == bool(experts)
    assert ask(http, "/v1/route", messages=messages, exclude_experts=["expert-sql"]).json()["experts"] == []
    assert ask(http, "/v1/route", messages=messages, max_experts=0).json()["experts"] == []
    assert ask(http, "/v1/route", messages=messages[-1:]).json()["experts"] == []
