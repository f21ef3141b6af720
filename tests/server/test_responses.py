"""OpenAI's responses, through OpenAI's own client."""

import json

import openai
import pytest

from tests.server.conftest import ANSWER, QUESTION

TOOL = {
    "type": "function",
    "name": "weather",
    "parameters": {
        "type": "object",
        "properties": {"city": {"enum": ["Oslo", "Rome"]}},
        "required": ["city"],
        "additionalProperties": False,
    },
}


@pytest.fixture
def client(served, http):
    return openai.OpenAI(base_url=f"{served.url}/v1", api_key="none", max_retries=0)


def test_an_answer(client):
    reply = client.responses.create(model="auto", input=QUESTION, instructions="Answer in SQL.")
    assert reply.output_text == ANSWER
    assert (reply.status, reply.store) == ("completed", False)
    assert reply.usage.total_tokens == reply.usage.input_tokens + reply.usage.output_tokens
    assert [each["id"] for each in reply.xpm["experts"]] == ["expert-sql"]
    cut = client.responses.create(model="sql", input=[{"role": "user", "content": QUESTION}], max_output_tokens=2)
    assert (cut.status, cut.incomplete_details.reason) == ("incomplete", "max_output_tokens")


def test_a_stream(client):
    with client.responses.stream(model="auto", input=QUESTION) as stream:
        events = list(stream)
        final = stream.get_final_response()
    assert final.output_text == ANSWER
    assert [each.sequence_number for each in events] == list(range(len(events)))
    kinds = [each.type for each in events if each.type != "response.output_text.delta"]
    assert kinds == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ]


def test_calls(client):
    wanted = {"model": "base", "input": QUESTION, "tools": [TOOL], "tool_choice": "required", "max_output_tokens": 200}
    reply = client.responses.create(**wanted, parallel_tool_calls=False)
    (call,) = reply.output
    assert (call.type, call.name, call.status) == ("function_call", "weather", "completed")
    assert json.loads(call.arguments)["city"] in ("Oslo", "Rome")
    with client.responses.create(**wanted, parallel_tool_calls=False, stream=True) as stream:
        events = list(stream)
    assert events[-1].response.output[0].arguments == call.arguments
    assert "response.function_call_arguments.done" in [each.type for each in events]
    after = [
        {"role": "user", "content": QUESTION},
        call.model_dump(),
        {"type": "function_call_output", "call_id": call.call_id, "output": "rain"},
    ]
    assert client.responses.create(model="base", input=after, max_output_tokens=3).output[0].type == "message"


def test_the_form_of_an_answer(client):
    schema = {"type": "object", "properties": {}, "additionalProperties": False}
    form = {"format": {"type": "json_schema", "name": "empty", "schema": schema}}
    assert json.loads(client.responses.create(model="base", input="x", text=form).output_text) == {}


@pytest.mark.parametrize(
    "changes",
    [{"previous_response_id": "resp_1"}, {"background": True}, {"tools": [{"type": "web_search"}]}, {"input": []}],
)
def test_what_is_not_done_is_refused(changes, client):
    with pytest.raises(openai.BadRequestError):
        client.responses.create(**{"model": "base", "input": "x", **changes})
