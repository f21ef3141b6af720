"""``/v1/completions``: texts that are continued as they are, without a chat template."""

import asyncio
import math
from collections.abc import AsyncIterator, Sequence
from typing import Annotated, Any, Literal

from fastapi import Body, Request
from fastapi.responses import Response
from pydantic import Field

from xpm_runtime import RequestError, TokenReport
from xpm_runtime.server.api.fields import OpenAIRequest, Reply, XpmReply, xpm_reply
from xpm_runtime.server.api.openai_chat import Usage, finish_reason, new_id, usage_of
from xpm_runtime.server.api.openai_errors import RESPONSES, openai_error
from xpm_runtime.server.api.routes import new_router
from xpm_runtime.server.api.replies import Document, events, finished, service_of, tenant_of, unless_gone, whole
from xpm_runtime.server.service import Answer, Service
from xpm_runtime.server.wish import Wish

router = new_router("OpenAI")
MAX_PROMPTS = 64
TokenIds = Annotated[list[Annotated[int, Field(ge=0, lt=1 << 31)]], Field(min_length=1)]
TextPrompt = Annotated[str, Field(min_length=1)]
Prompts = Annotated[list[TextPrompt], Field(min_length=1, max_length=MAX_PROMPTS)]
IdPrompts = Annotated[list[TokenIds], Field(min_length=1, max_length=MAX_PROMPTS)]
Reports = Sequence[TokenReport]


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
        return [
            Wish(
                prompt=each,
                model=self.model,
                settings=settings,
                num_choices=self.n or 1,
                **self.xpm.wishes,
            )
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
    prompts = [await asyncio.to_thread(_EchoedPrompt.of, service, each) for each in wishes] if body.echo else []
    answer = await service.begin_all(wishes, tenant=tenant_of(request))
    if body.stream:
        return events(answer, _chunks(answer, body, prompts), openai_error, end="[DONE]")
    done = await finished(request, answer)
    if body.echo and body.logprobs is not None:
        for number, (prompt, wish) in enumerate(zip(prompts, wishes, strict=True)):
            choice = answer.choices[number * wish.num_choices]
            work = asyncio.to_thread(service.score, prompt.ids, choice, num_top=body.logprobs)
            prompt.reports = await unless_gone(request, work)
    choices = []
    for number, each in enumerate(done):
        echoed = prompts[number // (body.n or 1)] if prompts else None
        is_silent = body.max_tokens == 0
        text = (echoed.text if echoed else "") + ("" if is_silent else each.text)
        reports = [*(echoed.reports if echoed else ()), *(() if is_silent else each.tokens)]
        choices.append(
            {
                "index": number,
                "text": text,
                "logprobs": _logprobs(reports, body.logprobs) if body.logprobs is not None else None,
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


class _EchoedPrompt:
    """A prompt as it is given back."""

    def __init__(self, text: str, ids: list[int]) -> None:
        self.text, self.ids = text, ids
        self.reports: Reports = ()

    @classmethod
    def of(cls, service: Service, wish: Wish) -> "_EchoedPrompt":
        if isinstance(wish.prompt, str):
            return cls(wish.prompt, service.engine.encode(wish.prompt))
        ids = [each for each in wish.prompt if isinstance(each, int)]
        return cls(service.engine.decode(ids), ids)


def _head(answer: Answer, body: CompletionRequest) -> dict[str, Any]:
    return {
        "id": new_id("cmpl"),
        "object": "text_completion",
        "created": answer.created,
        "model": body.model,
        "system_fingerprint": None,
    }


async def _chunks(
    answer: Answer, body: CompletionRequest, prompts: Sequence[_EchoedPrompt]
) -> AsyncIterator[tuple[str, Document]]:
    head, results = _head(answer, body), []
    offsets = [0] * answer.num_choices

    def chunk(number: int, text: str, tokens: Sequence[TokenReport] = (), reason: str | None = None) -> dict[str, Any]:
        logprobs = _logprobs(tokens, body.logprobs, start=offsets[number]) if body.logprobs is not None and tokens else None
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


def _logprobs(reports: Reports, num_top: int | None, *, start: int = 0) -> dict[str, Any]:
    """Parallel lists; the first token of an echoed prompt has no probability, as nothing stands before it."""
    tokens = [each.text.decode(errors="replace") for each in reports]
    offsets = []
    for token in tokens:
        offsets.append(start)
        start += len(token)
    return {
        "tokens": tokens,
        "token_logprobs": [_finite(each.logprob) for each in reports],
        "top_logprobs": [_top(each) for each in reports] if num_top else None,
        "text_offset": offsets,
    }


def _top(report: TokenReport) -> dict[str, float] | None:
    if math.isnan(report.logprob):
        return None
    return {text.decode(errors="replace"): max(logprob, -9999.0) for _, text, logprob in reversed(report.top)}


def _finite(logprob: float) -> float | None:
    """NaN stands for none; JSON has no infinity either."""
    return None if math.isnan(logprob) else max(logprob, -9999.0)
