"""Anthropic's protocol, through Anthropic's own client."""

import anthropic
import pytest

from tests.server.conftest import ANSWER, QUESTION

USER = [{"role": "user", "content": QUESTION}]
TOOL = {
    "name": "weather",
    "description": "The weather of a city",
    "input_schema": {
        "type": "object",
        "properties": {"city": {"enum": ["Oslo", "Rome"]}},
        "required": ["city"],
        "additionalProperties": False,
    },
}


@pytest.fixture
def client(served, http):
    return anthropic.Anthropic(base_url=served.url, api_key="none", max_retries=0)


def test_an_answer(client):
    reply = client.messages.create(model="auto", max_tokens=64, messages=USER, system="Answer in SQL.")
    assert (reply.content[0].text, reply.stop_reason) == (ANSWER, "end_turn")
    assert reply.usage.output_tokens > 5
    assert [each["id"] for each in reply.xpm["experts"]] == ["expert-sql"]
    cut = client.messages.create(model="expert-sql", max_tokens=2, messages=USER)
    assert (cut.stop_reason, cut.usage.output_tokens) == ("max_tokens", 2)


def test_the_stop_that_ended_it_is_told(client):
    wanted = {"model": "sql", "max_tokens": 64, "messages": USER, "stop_sequences": ["nowhere", " WHERE"]}
    reply = client.messages.create(**wanted)
    assert (reply.content[0].text, reply.stop_reason) == ("SELECT name FROM users", "stop_sequence")
    assert reply.stop_sequence == " WHERE"
    with client.messages.stream(**wanted) as stream:
        assert stream.get_final_message().stop_sequence == " WHERE"


def test_a_stream(client):
    with client.messages.stream(model="auto", max_tokens=64, messages=USER) as stream:
        text = "".join(stream.text_stream)
        final = stream.get_final_message()
    assert text == final.content[0].text == ANSWER
    assert (final.stop_reason, final.usage.output_tokens > 5) == ("end_turn", True)


@pytest.mark.parametrize("choice", [{"type": "any"}, {"type": "tool", "name": "weather"}])
def test_calls(choice, client):
    choice = {**choice, "disable_parallel_tool_use": True}
    wanted = {"model": "base", "max_tokens": 200, "messages": USER, "tools": [TOOL], "tool_choice": choice}
    reply = client.messages.create(**wanted)
    (call,) = reply.content
    assert (call.type, call.name, reply.stop_reason) == ("tool_use", "weather", "tool_use")
    assert call.input["city"] in ("Oslo", "Rome")
    with client.messages.stream(**wanted) as stream:
        kinds = [each.type for each in stream]
        assert stream.get_final_message().content[0].input == call.input
    assert "input_json" in kinds
    after = [
        *USER,
        {"role": "assistant", "content": [call.model_dump()]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": call.id, "content": "rain"}]},
    ]
    assert client.messages.create(model="base", max_tokens=3, messages=after, tools=[TOOL]).usage.output_tokens == 3


def test_tokens_are_counted(client):
    counted = client.messages.count_tokens(model="base", messages=USER).input_tokens
    usage = client.messages.create(model="base", max_tokens=1, messages=USER).usage
    assert counted == usage.input_tokens + usage.cache_read_input_tokens
    assert client.messages.count_tokens(model="base", messages=USER, tools=[TOOL]).input_tokens > counted + 50


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({"model": "nobody"}, anthropic.NotFoundError),
        ({"max_tokens": 0}, anthropic.BadRequestError),
        ({"messages": [{"role": "user", "content": [{"type": "image", "source": {}}]}]}, anthropic.BadRequestError),
        ({"thinking": {"type": "enabled", "budget_tokens": 1024}}, anthropic.BadRequestError),
        ({"tool_choice": {"type": "any"}}, anthropic.BadRequestError),
    ],
)
def test_what_is_wrong_is_told(changes, kind, client):
    with pytest.raises(kind) as caught:
        client.messages.create(**{"model": "base", "max_tokens": 4, "messages": USER, **changes})
    assert caught.value.body["type"] == "error"
    assert caught.value.body["error"]["type"] in ("invalid_request_error", "not_found_error")
