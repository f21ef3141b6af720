"""``/v1/completions``: texts that are continued as they are, without a chat template."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from fastapi import Body, Request
from fastapi.responses import Response
from pydantic import Field

from xpm_runtime import Engine, RequestError, TokenReport
from xpm_runtime.server.api.fields import OpenAIRequest, Reply, XpmReply, xpm_reply
from xpm_runtime.server.api.openai_chat import FINGERPRINT, Usage, finish_reason, finite, new_id, usage_of
from xpm_runtime.server.api.openai_errors import RESPONSES, openai_error
from xpm_runtime.server.api.replies import Document, events, finished, service_of, tenant_of, whole
from xpm_runtime.server.api.routes import new_router
from xpm_runtime.server.service import Answer
from xpm_runtime.server.wish import Wish

router = new_router("OpenAI")
MAX_PROMPTS = 64
TokenIds = Annotated[list[Annotated[int, Field(ge=0, lt=1 << 31)]], Field(min_length=1)]
TextPrompt = Annotated[str, Field(min_length=1)]
Prompts = Annotated[list[TextPrompt], Field(min_length=1, max_length=MAX_PROMPTS)]
IdPrompts = Annotated[list[TokenIds], Field(min_length=1, max_length=MAX_PROMPTS)]


class CompletionRequest(OpenAIRequest):
    prompt: TextPrompt | Prompts | TokenIds | IdPrompts
    echo: bool | None = None
    logprobs: int | None = Field(None, ge=0, le=20)
    best_of: int | None = Field(None, ge=1, le=20)
    suffix: str | None = None

    @property
    def prompts(self) -> list[str | list[int]]:
        prompt: Any = self.prompt
        return [prompt] if isinstance(prompt, str) or isinstance(prompt[0], int) else list(prompt)

    @property
    def wishes(self) -> list[Wish]:
        """One for each prompt; raises RequestError where fields contradict each other or ask for what can't be done."""
        if self.suffix:
            raise RequestError("suffix is not supported", hint="this server continues texts, it does not fill gaps")
        if self.best_of is not None and self.best_of != (self.n or 1):
            raise RequestError("best_of must be n", hint="leave it out")
        if self.echo and self.stream and self.logprobs is not None:
            raise RequestError("echo with logprobs can't be streamed", hint="set stream to false")
        if self.max_tokens == 0 and not self.echo:
            raise RequestError("max_tokens is 0, and nothing is echoed", hint="set echo to true")
        settings = self.settings | self.grammar_settings
        if self.max_tokens is not None:
            settings["max_tokens"] = max(1, self.max_tokens)
        if self.logprobs is not None:
            settings["logprobs"] = self.logprobs
            settings["prompt_logprobs"] = bool(self.echo)
        return [
            Wish(prompt=each, model=self.model, settings=settings, num_choices=self.n or 1, **self.xpm.wishes)
            for each in self.prompts
        ]


class CompletionLogprobs(Reply):
    """``text_offset`` counts characters from the beginning of ``text``."""

    tokens: list[str]
    token_logprobs: list[float | None]
    top_logprobs: list[dict[str, float] | None] | None
    text_offset: list[int]


class CompletionChoice(Reply):
    index: int
    text: str
    logprobs: CompletionLogprobs | None = None
    finish_reason: Literal["stop", "length"] | None


class CompletionReply(Reply):
    id: str
    object: Literal["text_completion"] = "text_completion"
    created: int
    model: str
    choices: list[CompletionChoice]
    usage: Usage | None = None
    system_fingerprint: str | None = None
    xpm: XpmReply | None = None


@router.post(
    "/v1/completions",
    response_model=CompletionReply,
    responses={**RESPONSES, 200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}}},
    summary="Continue texts",
)
async def completions(request: Request, body: Annotated[CompletionRequest, Body()]) -> Response:
    service = service_of(request)
    wishes = body.wishes
    prompts = [await asyncio.to_thread(_Echoed.of, service.engine, each) for each in body.prompts if body.echo]
    answer = await service.begin_all(wishes, tenant=tenant_of(request))
    if body.stream:
        return events(answer, _chunks(answer, body, prompts), openai_error, end="[DONE]")
    done = await finished(request, answer)
    choices = []
    for number, each in enumerate(done):
        echoed = prompts[number // (body.n or 1)] if prompts else None
        is_silent = body.max_tokens == 0
        text = (echoed.text if echoed else "") + ("" if is_silent else each.text)
        tokens: list[tuple[str, TokenReport | None]] = []
        if echoed and body.logprobs is not None:
            tokens = list(zip(echoed.tokens, each.result.prompt_logprobs, strict=True))
        tokens += [] if is_silent else _said(each.tokens)
        choices.append(
            {
                "index": number,
                "text": text,
                "logprobs": _logprobs(tokens, body.logprobs) if body.logprobs is not None else None,
                "finish_reason": "length" if is_silent else finish_reason(each.result),
            }
        )
    results = [each.result for each in done]
    usage = usage_of(results)
    usage["prompt_tokens"] = sum(each.num_prompt_tokens for each in results[:: body.n or 1])
    usage["completion_tokens"] = 0 if body.max_tokens == 0 else usage["completion_tokens"]
    usage["total_tokens"] = usage["prompt_tokens"] + usage["completion_tokens"]
    notes = tuple(note for each in done for note in each.notes)
    told_by = xpm_reply(answer.choice, notes=notes, finish_reason=results[0].finish_reason)
    return whole({**_head(answer, body), "choices": choices, "usage": usage, "xpm": told_by.model_dump()})


@dataclass(frozen=True, slots=True)
class _Echoed:
    """A prompt as it is given back, whole and token by token."""

    text: str
    tokens: tuple[str, ...]

    @classmethod
    def of(cls, engine: Engine, prompt: str | Sequence[int]) -> "_Echoed":
        ids = engine.encode(prompt) if isinstance(prompt, str) else prompt
        text = prompt if isinstance(prompt, str) else engine.decode(ids)
        return cls(text, tuple(engine.decode([each]) for each in ids))


def _head(answer: Answer, body: CompletionRequest) -> dict[str, Any]:
    return {
        "id": new_id("cmpl"),
        "object": "text_completion",
        "created": answer.created,
        "model": body.model,
        "system_fingerprint": FINGERPRINT,
    }


async def _chunks(
    answer: Answer, body: CompletionRequest, prompts: Sequence[_Echoed]
) -> AsyncIterator[tuple[str, Document]]:
    head, results = _head(answer, body), []
    offsets = [0] * answer.num_choices

    def chunk(number: int, text: str, tokens: Sequence[TokenReport] = (), reason: str | None = None) -> dict[str, Any]:
        logprobs = (
            _logprobs(_said(tokens), body.logprobs, start=offsets[number])
            if body.logprobs is not None and tokens
            else None
        )
        offsets[number] += len(text)
        choice = {"index": number, "text": text, "logprobs": logprobs, "finish_reason": reason}
        return {**head, "choices": [choice], **({"usage": None} if body.includes_usage else {})}

    for number in range(answer.num_choices if prompts else 0):
        yield "", chunk(number, prompts[number // (body.n or 1)].text)
    async for number, delta in answer.deltas():
        reason = finish_reason(delta.result) if delta.result is not None else None
        if delta.text or delta.tokens or reason:
            told = chunk(number, delta.text, delta.tokens, reason)
            if delta.result is not None:
                results.append(delta.result)
                told["xpm"] = xpm_reply(answer.choices[number], notes=delta.notes).model_dump()
            yield "", told
    if body.includes_usage:
        yield "", {**head, "choices": [], "usage": usage_of(results)}


def _said(tokens: Sequence[TokenReport]) -> list[tuple[str, TokenReport | None]]:
    return [(each.text.decode(errors="replace"), each) for each in tokens]


def _logprobs(
    tokens: Sequence[tuple[str, TokenReport | None]], num_top: int | None, *, start: int = 0
) -> dict[str, Any]:
    """Parallel lists; the first token of a prompt has no probability, as nothing stands before it."""
    offsets = []
    for text, _ in tokens:
        offsets.append(start)
        start += len(text)
    return {
        "tokens": [text for text, _ in tokens],
        "token_logprobs": [finite(each.logprob) if each else None for _, each in tokens],
        "top_logprobs": [_top(each) if each else None for _, each in tokens] if num_top else None,
        "text_offset": offsets,
    }


def _top(report: TokenReport) -> dict[str, float]:
    """By text: of tokens that read the same, the likelier counts."""
    return {text.decode(errors="replace"): finite(logprob) for _, text, logprob in reversed(report.top)}
