"""An answer that breaks off: each protocol says so in its own form, whether it is whole or a stream."""

import json
from dataclasses import replace

import anthropic
import ollama
import openai
import pytest

from tests.server.conftest import QUESTION

USER = [{"role": "user", "content": QUESTION}]


class Breaking:
    """A ticket whose answer ends in an error."""

    def __init__(self, ticket):
        self._ticket = ticket
        self.queued_ms = self.first_token_ms = 0.0

    async def __aiter__(self):
        async for delta in self._ticket:
            result = delta.result and replace(delta.result, finish_reason="error", error="the logits are not finite")
            yield replace(delta, result=result)

    def cancel(self):
        self._ticket.cancel()


@pytest.fixture
def broken(served, http, monkeypatch):
    submit = served.service.worker.submit

    async def breaking(order):
        return Breaking(await submit(order))

    monkeypatch.setattr(served.service.worker, "submit", breaking)
    return served.url


def test_openai(broken):
    client = openai.OpenAI(base_url=f"{broken}/v1", api_key="none", max_retries=0)
    with pytest.raises(openai.InternalServerError, match="not finite"):
        client.chat.completions.create(model="sql", messages=USER)
    with pytest.raises(openai.APIError, match="not finite"):
        list(client.chat.completions.create(model="sql", messages=USER, stream=True))
    *events, last = client.responses.create(model="sql", input=QUESTION, stream=True)
    assert (last.type, "not finite" in last.message) == ("error", True)
    assert last.sequence_number == len(events)


def test_anthropic(broken):
    client = anthropic.Anthropic(base_url=broken, api_key="none", max_retries=0)
    with pytest.raises(anthropic.InternalServerError, match="not finite"):
        client.messages.create(model="sql", max_tokens=64, messages=USER)
    with pytest.raises(anthropic.APIStatusError, match="not finite"):
        list(client.messages.create(model="sql", max_tokens=64, messages=USER, stream=True))


def test_ollama(broken):
    client = ollama.Client(host=broken)
    with pytest.raises(ollama.ResponseError, match="not finite"):
        client.generate(model="sql", prompt=QUESTION)
    with pytest.raises(ollama.ResponseError, match="not finite"):
        list(client.generate(model="sql", prompt=QUESTION, stream=True))


def test_our_own(broken, http):
    with http.stream("POST", "/v1/infer", json={"prompt": QUESTION, "stream": True}) as reply:
        *_, last = reply.read().decode().strip().split("\n\n")
    name, data = last.split("\n")
    assert name == "event: error"
    assert json.loads(data.removeprefix("data: "))["error"]["type"] == "api_error"
