"""ollama's protocol, through ollama's own client."""

import json

import ollama
import pytest

from tests.server.conftest import ANSWER, QUESTION

USER = [{"role": "user", "content": QUESTION}]


@pytest.fixture
def client(served, http):
    return ollama.Client(host=served.url)


def test_answers(client):
    assert client.generate(model="auto", prompt=QUESTION).response == ANSWER
    reply = client.chat(model="expert-sql:0.3.0", messages=USER)
    assert (reply.message.content, reply.done_reason) == (ANSWER, "stop")
    assert reply.eval_count > 5
    assert reply.total_duration > 0
    cut = client.generate(model="sql", prompt=QUESTION, options={"num_predict": 2, "num_ctx": 4096})
    assert (cut.eval_count, cut.done_reason) == (2, "length")
    assert client.generate(model="base", prompt="SELECT name", raw=True, options={"num_predict": 3}).eval_count == 3
    assert client.generate(model="base").done_reason == "load"


def test_streams(client):
    parts = list(client.generate(model="auto", prompt=QUESTION, stream=True))
    assert "".join(each.response for each in parts) == ANSWER
    assert [each.done for each in parts] == [False] * (len(parts) - 1) + [True]
    assert "".join(each.message.content for each in client.chat(model="auto", messages=USER, stream=True)) == ANSWER


def test_forms_and_tools(client):
    schema = {"type": "object", "properties": {}, "additionalProperties": False}
    assert json.loads(client.generate(model="base", prompt="x", format=schema).response) == {}
    tool = {"type": "function", "function": {"name": "now", "parameters": {"type": "object", "properties": {}}}}
    call = {"function": {"name": "now", "arguments": {}}}
    messages = [*USER, {"role": "assistant", "content": "", "tool_calls": [call]}, {"role": "tool", "content": "noon"}]
    reply = client.chat(model="base", messages=messages, tools=[tool], options={"num_predict": 3})
    assert reply.prompt_eval_count > 100


def test_lists(client, http):
    assert "expert-sql:0.3.0" in [each.model for each in client.list().models]
    assert "xpm-tiny:0.2.0" in [each.model for each in client.ps().models]
    assert client.show("expert-sql").details.parent_model == "xpm-tiny"
    assert http.get("/api/version").json().keys() == {"version"}


def test_what_is_wrong_is_told(client):
    for call in (lambda: client.show("nobody"), lambda: client.generate(model="nobody", prompt="x")):
        with pytest.raises(ollama.ResponseError) as caught:
            call()
        assert caught.value.status_code == 404
    with pytest.raises(ollama.ResponseError, match="images"):
        client.chat(model="base", messages=[{"role": "user", "content": "x", "images": [b"x"]}])


def test_curl_sends_no_type(http):
    body = json.dumps({"model": "base", "prompt": "x", "stream": False, "options": {"num_predict": 1}})
    headers = {"content-type": "application/x-www-form-urlencoded"}
    assert http.post("/api/generate", content=body, headers=headers).status_code == 200
