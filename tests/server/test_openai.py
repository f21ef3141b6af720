"""OpenAI's protocol, through OpenAI's own client where it has a word for it."""

import json

import openai
import pytest

from tests.server.conftest import ANSWER, QUESTION

USER = [{"role": "user", "content": QUESTION}]
WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "Says what the weather is like (or was).",
        "parameters": {
            "type": "object",
            "properties": {"city": {"enum": ["Oslo", "Rome"]}, "days": {"type": "integer", "minimum": 1, "maximum": 9}},
            "required": ["city", "days"],
            "additionalProperties": False,
        },
    },
}


@pytest.fixture
def client(served, http):
    return openai.OpenAI(base_url=f"{served.url}/v1", api_key="none", max_retries=0)


def test_the_router_chooses_and_the_reply_says_whom(client):
    reply = client.chat.completions.create(model="auto", messages=USER)
    assert reply.choices[0].message.content == ANSWER
    assert reply.choices[0].finish_reason == "stop"
    assert reply.usage.total_tokens == reply.usage.prompt_tokens + reply.usage.completion_tokens
    (expert,) = reply.xpm["experts"]
    assert (expert["id"], expert["scale"]) == ("expert-sql", 1.0)
    assert "topic sql" in expert["reason"]
    assert reply.xpm["confidence"] > 0.9


@pytest.mark.parametrize("model", ["expert-sql", "sql", "expert-sql@0.3.0", "expert-sql:latest"])
def test_an_expert_by_its_name(model, client):
    reply = client.chat.completions.create(model=model, messages=USER)
    assert reply.choices[0].message.content == ANSWER
    assert reply.xpm["reason"] == "named by the client"


@pytest.mark.parametrize("model", ["base", "xpm-tiny"])
def test_the_base_alone(model, client):
    reply = client.chat.completions.create(model=model, messages=USER, max_tokens=4)
    assert reply.xpm["experts"] == []
    assert reply.choices[0].finish_reason == "length"


def test_experts_with_scales(client):
    def ask(*experts, **more):
        options = {"experts": [{"id": id, "scale": scale} for id, scale in experts], **more}
        return client.chat.completions.create(model="auto", messages=USER, max_tokens=12, extra_body={"xpm": options})

    both = ask(("expert-sql", 0.75), ("expert-json", -0.25))
    assert {each["id"]: each["scale"] for each in both.xpm["experts"]} == {"expert-sql": 0.75, "expert-json": -0.25}
    assert ask(("expert-sql", 0)).xpm["experts"] == []
    without = client.chat.completions.create(
        model="auto", messages=USER, max_tokens=1, extra_body={"xpm": {"exclude": ["expert-sql"]}}
    )
    assert "expert-sql" not in [each["id"] for each in without.xpm["experts"]]
    none = client.chat.completions.create(
        model="auto", messages=USER, max_tokens=1, extra_body={"xpm": {"max_experts": 0}}
    )
    assert none.xpm["experts"] == []


def test_a_stream_is_the_whole_in_pieces(client):
    chunks = list(
        client.chat.completions.create(model="auto", messages=USER, stream=True, stream_options={"include_usage": True})
    )
    assert chunks[0].choices[0].delta.role == "assistant"
    assert "".join(each.choices[0].delta.content or "" for each in chunks[:-1]) == ANSWER
    assert chunks[-2].choices[0].finish_reason == "stop"
    assert (chunks[-1].choices, chunks[-1].usage.completion_tokens > 5) == ([], True)
    assert len(chunks) > 6
    assert {each.id for each in chunks} == {chunks[0].id}


def test_several_choices_from_one_seed(client):
    def ask(**more):
        reply = client.chat.completions.create(
            model="base", messages=USER, n=3, seed=7, temperature=1.0, max_tokens=8, **more
        )
        return [each.message.content for each in reply.choices]

    once = ask()
    assert once == ask()
    assert len(set(once)) > 1
    with client.chat.completions.create(
        model="base", messages=USER, n=3, seed=7, temperature=1.0, max_tokens=8, stream=True
    ) as stream:
        texts = ["", "", ""]
        for chunk in stream:
            texts[chunk.choices[0].index] += chunk.choices[0].delta.content or ""
    assert texts == once


def test_stops_and_limits(client):
    cut = client.chat.completions.create(model="expert-sql", messages=USER, stop=[" FROM"])
    assert (cut.choices[0].message.content, cut.choices[0].finish_reason) == ("SELECT name", "stop")
    short = client.chat.completions.create(model="expert-sql", messages=USER, max_completion_tokens=2)
    assert (short.usage.completion_tokens, short.choices[0].finish_reason) == (2, "length")


def test_the_form_of_an_answer(client):
    schema = {
        "type": "object",
        "properties": {"name": {"enum": ["Ann", "Bob"]}},
        "required": ["name"],
        "additionalProperties": False,
    }
    form = {"type": "json_schema", "json_schema": {"name": "person", "schema": schema}}
    reply = client.chat.completions.create(model="base", messages=USER, response_format=form)
    assert json.loads(reply.choices[0].message.content)["name"] in ("Ann", "Bob")
    free = client.chat.completions.create(
        model="base", messages=USER, response_format={"type": "json_object"}, max_tokens=60
    )
    assert isinstance(json.loads(free.choices[0].message.content), dict)
    word = client.chat.completions.create(
        model="base", messages=USER, extra_body={"grammar": {"kind": "regex", "text": "[ab]{3}"}}
    )
    assert set(word.choices[0].message.content) <= set("ab")
    gbnf = client.chat.completions.create(model="base", messages=USER, extra_body={"grammar": 'root ::= "yes" | "no"'})
    assert gbnf.choices[0].message.content in ("yes", "no")


@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "weather"}}])
def test_a_tool_is_called_as_its_schema_says(choice, client):
    reply = client.chat.completions.create(
        model="base", messages=USER, tools=[WEATHER], tool_choice=choice, max_tokens=400
    )
    assert reply.choices[0].finish_reason == "tool_calls"
    assert reply.choices[0].message.content is None
    for call in reply.choices[0].message.tool_calls:
        assert call.function.name == "weather"
        arguments = json.loads(call.function.arguments)
        assert arguments["city"] in ("Oslo", "Rome")
        assert 1 <= arguments["days"] <= 9


@pytest.mark.parametrize("unenforced", [{"not": {"const": "Paris"}}, {"type": "string", "format": "color"}])
def test_a_strict_tool_has_a_schema_that_can_be_held_to(unenforced, client):
    function = {
        "name": "find",
        "parameters": {"type": "object", "properties": {"city": unenforced}, "required": ["city"]},
    }
    asked = {
        "model": "base",
        "messages": USER,
        "tool_choice": "required",
        "parallel_tool_calls": False,
        "max_tokens": 200,
    }
    with pytest.raises(openai.BadRequestError, match="can't be enforced"):
        client.chat.completions.create(**asked, tools=[{"type": "function", "function": {**function, "strict": True}}])
    reply = client.chat.completions.create(**asked, tools=[{"type": "function", "function": function}])
    (call,) = reply.choices[0].message.tool_calls
    assert "city" in json.loads(call.function.arguments)


def test_a_tool_call_is_streamed(client):
    with client.chat.completions.stream(
        model="base", messages=USER, tools=[WEATHER], tool_choice="required", parallel_tool_calls=False, max_tokens=400
    ) as stream:
        events = [each.type for each in stream]
        final = stream.get_final_completion()
    (call,) = final.choices[0].message.tool_calls
    assert json.loads(call.function.arguments)["city"] in ("Oslo", "Rome")
    assert events.count("tool_calls.function.arguments.delta") > 2


def test_a_result_of_a_call_is_told(client):
    call = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Oslo"}'}}
    messages = [
        {"role": "developer", "content": "Be brief."},
        *USER,
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": "rain"},
    ]
    reply = client.chat.completions.create(model="base", messages=messages, tools=[WEATHER], max_tokens=4)
    assert reply.usage.prompt_tokens > 200


def test_completions_continue_a_text(client, served):
    reply = client.completions.create(model="base", prompt="SELECT name", max_tokens=4, echo=True)
    assert reply.choices[0].text.startswith("SELECT name")
    assert reply.usage.prompt_tokens == len(served.service.engine.encode("SELECT name"))
    ids = served.service.engine.encode("SELECT name")
    same = client.completions.create(model="base", prompt=ids, max_tokens=4, echo=True)
    assert same.choices[0].text == reply.choices[0].text
    several = client.completions.create(model="base", prompt=["SELECT name", "SELECT"], max_tokens=2, n=2)
    assert [each.index for each in several.choices] == [0, 1, 2, 3]
    only = client.completions.create(model="base", prompt="SELECT", max_tokens=0, echo=True)
    assert (only.choices[0].text, only.usage.completion_tokens) == ("SELECT", 0)
    pieces = client.completions.create(model="base", prompt="SELECT name", max_tokens=4, echo=True, stream=True)
    assert "".join(each.choices[0].text for each in pieces) == reply.choices[0].text


def test_log_probabilities(client, served):
    reply = client.chat.completions.create(model="expert-sql", messages=USER, logprobs=True, top_logprobs=3)
    tokens = reply.choices[0].logprobs.content
    assert b"".join(bytes(each.bytes) for each in tokens).decode().startswith(ANSWER)
    assert all(each.logprob <= 0 and len(each.top_logprobs) == 3 for each in tokens)
    with client.chat.completions.create(model="expert-sql", messages=USER, logprobs=True, stream=True) as stream:
        streamed = [each.choices[0].logprobs for each in stream]
    assert [t.token for each in streamed if each for t in each.content] == [each.token for each in tokens]
    ids = served.service.engine.encode("SELECT name FROM")
    echoed = client.completions.create(model="base", prompt=ids, max_tokens=1, echo=True, logprobs=2).choices[0]
    assert (echoed.logprobs.token_logprobs[0], echoed.logprobs.top_logprobs[0]) == (None, None)
    assert len(echoed.logprobs.tokens) == len(ids) + 1
    assert all(each <= 0 for each in echoed.logprobs.token_logprobs[1:])
    assert "".join(echoed.logprobs.tokens) == echoed.text
    first = client.completions.create(model="base", prompt=ids[:-1], max_tokens=1, logprobs=20).choices[0]
    last = served.service.engine.decode(ids[-1:])
    if last in first.logprobs.top_logprobs[0]:
        assert first.logprobs.top_logprobs[0][last] == pytest.approx(echoed.logprobs.token_logprobs[-2], abs=1e-3)


def test_penalties_and_biases(client, served):
    (token,) = served.service.engine.encode("SELECT")[:1]
    usual = client.completions.create(model="base", prompt="SELECT name", max_tokens=6)
    banned = client.chat.completions.create(
        model="expert-sql", messages=USER, logit_bias={str(token): -100}, max_tokens=3
    )
    assert not banned.choices[0].message.content.startswith("SELECT")
    other = client.completions.create(
        model="base", prompt="SELECT name", max_tokens=6, frequency_penalty=2, presence_penalty=2
    )
    assert usual.choices[0].text != "" != other.choices[0].text


def test_models(client):
    found = {each.id: each for each in client.models.list()}
    assert {"auto", "xpm-tiny", "expert-sql"} <= found.keys()
    assert found["expert-sql"].parent == "xpm-tiny"
    assert client.models.retrieve("expert-sql@0.3.0").id == "expert-sql"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("nobody")


def test_embeddings_without_an_embedder(client):
    with pytest.raises(openai.APIStatusError, match="no embedder is configured") as caught:
        client.embeddings.create(model="auto", input="x")
    assert caught.value.status_code == 501


@pytest.mark.parametrize(
    ("changes", "message", "kind"),
    [
        ({"model": "nobody"}, "no expert 'nobody'", openai.NotFoundError),
        ({"model": "expert-sql@9.9.9"}, "no expert", openai.NotFoundError),
        ({"model": "../../etc"}, "no expert", openai.NotFoundError),
        ({"n": 9}, "n: ", openai.BadRequestError),
        ({"temperature": -1}, "temperature", openai.BadRequestError),
        ({"temperature": "1"}, "temperature", openai.BadRequestError),
        ({"messages": []}, "messages", openai.BadRequestError),
        ({"messages": [{"role": "user", "content": "x " * 9000}]}, "tokens", openai.BadRequestError),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "image_url", openai.BadRequestError),
        ({"top_logprobs": 2}, "needs logprobs", openai.BadRequestError),
        ({"tool_choice": "required"}, "no tools", openai.BadRequestError),
        ({"tools": [WEATHER, WEATHER]}, "one name", openai.BadRequestError),
        ({"response_format": {"type": "xml"}}, "response_format", openai.BadRequestError),
        ({"extra_body": {"grammar": "root ::= ("}}, "grammar", openai.BadRequestError),
        ({"extra_body": {"xpm": {"experts": [{"id": "sql"}], "exclude": ["sql"]}}}, "excluded", openai.BadRequestError),
        ({"extra_body": {"xpm": {"experts": [{"id": "sql", "scale": 99}]}}}, "scale", openai.BadRequestError),
    ],
)
def test_what_is_wrong_is_told(changes, message, kind, client):
    with pytest.raises(kind, match=message):
        client.chat.completions.create(**{"model": "auto", "messages": USER, **changes})


@pytest.mark.parametrize("body", [b"", b"{", b"[" * 5000, b'{"a": NaN}', b"\xff", b'{"a": "\\ud800"}'])
def test_bodies_that_are_no_json(body, http):
    reply = http.post("/v1/chat/completions", content=body, headers={"content-type": "application/json"})
    assert reply.status_code == 400
    assert reply.json()["error"]["type"] == "invalid_request_error"


def test_a_short_request_is_not_scaled_and_what_is_no_scaling_is_refused(client):
    reply = client.chat.completions.create(
        model="base", messages=USER, max_tokens=2, extra_body={"xpm": {"rope": "yarn"}}
    )
    assert reply.xpm["notes"] == []
    with pytest.raises(openai.BadRequestError, match="'spiral' is no way to scale positions"):
        client.chat.completions.create(model="base", messages=USER, extra_body={"xpm": {"rope": "spiral"}})


def test_how_the_cache_is_kept_is_checked_by_name(client):
    for options, message in (
        ({"kv_cache": "int8"}, "the portable graph keeps all keys and values"),
        ({"window": 64, "sinks": 0}, "the portable graph keeps all keys and values"),
        ({"kv_cache": "int3"}, "kv_cache"),
        ({"sinks": 4}, "without a window"),
        ({"window": 8}, "window"),
    ):
        with pytest.raises(openai.BadRequestError, match=message):
            client.chat.completions.create(model="base", messages=USER, extra_body={"xpm": options})
    plain = client.chat.completions.create(
        model="base", messages=USER, max_tokens=2, extra_body={"xpm": {"kv_cache": "float"}}
    )
    assert plain.xpm["notes"] == []
