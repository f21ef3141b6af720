"""From a wish to answers: who answers is chosen, attached and asked, and what comes is counted."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from xpm_runtime import (
    CapacityError,
    Engine,
    GenerationResult,
    Message,
    Request,
    RequestError,
    SamplingParams,
    TokenReport,
)
from xpm_runtime.server.documents import shown_beside, with_shown
from xpm_runtime.server.errors import ApiError
from xpm_runtime.server.host import Choice, Host
from xpm_runtime.server.metrics import Metrics
from xpm_runtime.server.tools import Tools
from xpm_runtime.server.traces import Tracer, carrier
from xpm_runtime.server.wish import Wish
from xpm_runtime.server.work import Delta, Order
from xpm_runtime.server.worker import Ticket, Worker


@dataclass(slots=True, kw_only=True)
class Finished:
    """One answer, whole."""

    text: str = ""
    tokens: list[TokenReport] = field(default_factory=list)
    result: GenerationResult
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """A choice that has ended, with what it took: in the queue, until something came, in all, and between pieces."""

    result: GenerationResult
    queued_s: float
    first_s: float
    whole_s: float
    gaps_s: Sequence[float]


class Answer:
    """What was asked for and is being written: one ticket for each choice.

    What comes is read from the tickets at once, and to their ends, whether or not anybody iterates:
    so everything is counted.
    """

    def __init__(
        self, tools: Tools, choices: Sequence[Choice], tickets: Sequence[Ticket], ended: Callable[[Ended], None]
    ) -> None:
        """
        Args:
            choices: who answers, for each ticket.
            ended: told of each choice's end.
        """
        self.tools, self.choices = tools, choices
        self.created, self.begun = int(time.time()), time.perf_counter()
        self._tickets = tickets
        self._ended = ended
        self._arrived: asyncio.Queue[tuple[int, Delta | Exception]] = asyncio.Queue()
        self.readers = [asyncio.create_task(self._read(number, each)) for number, each in enumerate(tickets)]

    @property
    def choice(self) -> Choice:
        """Who gives the first answer."""
        return self.choices[0]

    @property
    def num_choices(self) -> int:
        return len(self._tickets)

    @property
    def queued_ms(self) -> float:
        return max(each.queued_ms or 0.0 for each in self._tickets)

    @property
    def elapsed_ms(self) -> float:
        return 1e3 * (time.perf_counter() - self.begun)

    def cancel(self) -> None:
        for each in self._tickets:
            each.cancel()

    async def deltas(self) -> AsyncIterator[tuple[int, Delta]]:
        """(number of the choice, what came), as it comes, once. Leaving the loop cancels all.

        Raises:
            ApiError: an answer broke off.
        """
        left = len(self._tickets)
        try:
            while left:
                number, delta = await self._arrived.get()
                if isinstance(delta, Exception):
                    raise delta
                if delta.result is not None:
                    left -= 1
                    if delta.result.finish_reason == "error":
                        raise _broken(delta.result)
                yield number, delta
        finally:
            self.cancel()

    async def finished(self) -> list[Finished]:
        """Every choice, when all are written."""
        texts: list[list[str]] = [[] for _ in self._tickets]
        tokens: list[list[TokenReport]] = [[] for _ in self._tickets]
        done: dict[int, Delta] = {}
        async for number, delta in self.deltas():
            texts[number].append(delta.text)
            tokens[number] += delta.tokens
            if delta.result is not None:
                done[number] = delta
        return [
            Finished(text="".join(texts[number]), tokens=tokens[number], result=result, notes=done[number].notes)
            for number in range(len(self._tickets))
            if (result := done[number].result) is not None
        ]

    async def _read(self, number: int, ticket: Ticket) -> None:
        gaps: list[float] = []
        last, first_s = self.begun, 0.0
        try:
            async for delta in ticket:
                now = time.perf_counter()
                if first_s:
                    gaps.append(now - last)
                else:
                    first_s = now - self.begun
                last = now
                if delta.result is not None:
                    queued_s = (ticket.queued_ms or 0.0) / 1e3
                    self._ended(
                        Ended(
                            result=delta.result,
                            queued_s=queued_s,
                            first_s=first_s,
                            whole_s=now - self.begun,
                            gaps_s=gaps,
                        )
                    )
                self._arrived.put_nowait((number, delta))
        except Exception as error:  # the reader's to raise
            self._arrived.put_nowait((number, error))


class Service:
    """The one way from any protocol to the worker."""

    def __init__(
        self,
        engine: Engine,
        worker: Worker,
        host: Host,
        metrics: Metrics,
        *,
        spend: Callable[[str, int], None] = lambda tenant, num_tokens: None,
        priority_of: Callable[[str, int], int] = lambda tenant, wanted: wanted,
        tracer: Tracer | None = None,
        speculative: str | None = None,
    ) -> None:
        """
        Args:
            speculative: how every answer is guessed ahead of (``SamplingParams``).
            spend: told of the tokens that were computed for a tenant.
            priority_of: what a tenant gets who wants a priority.
        """
        self.priority_of = priority_of
        self.engine, self.worker, self.host, self.metrics = engine, worker, host, metrics
        self._spend, self._tracer, self._speculative = spend, tracer, speculative
        self._reading: set[asyncio.Task[None]] = set()
        self._cutting = asyncio.Lock()  # documents of one request at a time: others need the processors, too

    async def begin(self, wish: Wish, *, tenant: str = "") -> Answer:
        """Choose, attach and submit.

        Raises:
            ApiError: the server is going down. Overloaded: the queue is full. EngineError, or an error of the host: the
                wish can't be granted; nothing was computed.
        """
        return await self.begin_all([wish], tenant=tenant)

    async def begin_all(self, wishes: Sequence[Wish], *, tenant: str = "") -> Answer:
        """The same for several prompts at once, whose choices follow one another; none is asked if one can't be."""
        if self.worker.is_draining:
            raise ApiError(503, "the server is going down", "draining", retry_after_s=5)
        tickets: list[Ticket] = []
        choices: list[Choice] = []
        try:
            for wish in wishes:
                choice, more = await self._submit(wish, tenant)
                tickets += more
                choices += [choice] * wish.num_choices
        except BaseException:
            for each in tickets:
                each.cancel()
            raise
        answer = Answer(wishes[0].tools, choices, tickets, partial(self._count, tenant, carrier.get()))
        for reader in answer.readers:  # which outlive whoever has gone
            self._reading.add(reader)
            reader.add_done_callback(self._reading.discard)
        return answer

    async def _submit(self, wish: Wish, tenant: str, *, is_anew: bool = False) -> tuple[Choice, list[Ticket]]:
        """(who answers, a ticket for each choice); chosen anew, once, if an expert left the
        engine at that very moment."""
        async with self._cutting if wish.documents else nullcontext():
            choice, request = await asyncio.to_thread(self._prepare, wish)
        tickets, priority = list[Ticket](), self.priority_of(tenant, wish.priority)
        try:
            for number in range(wish.num_choices):
                order = Order(
                    request=_seeded(request, number), priority=priority, timeout_s=wish.timeout_s, tenant=tenant
                )
                tickets.append(await self.worker.submit(order))
        except BaseException as error:
            for each in tickets:
                each.cancel()
            if is_anew or not isinstance(error, RequestError) or set(request.experts) <= set(self.engine.attached):
                raise
            return await self._submit(wish, tenant, is_anew=True)
        return choice, tickets

    def _count(self, tenant: str, carried: Mapping[str, str], ended: Ended) -> None:
        result = ended.result
        if self._tracer is not None:
            self._tracer.record(ended, result.experts, carried)
        self._spend(tenant, result.num_prompt_tokens - result.num_reused_tokens + len(result.token_ids))
        self.metrics.count_end(ended)

    async def choose(self, wish: Wish) -> Choice:
        """Who would answer; nothing is attached and nothing computed."""
        return await asyncio.to_thread(self._choose, wish)

    def count_tokens(self, wish: Wish) -> int:
        """Of a prompt, with what is told of its tools."""
        return self.engine.count_tokens(self._prompt(wish))

    def stopped_by(self, result: GenerationResult, stops: Sequence[str]) -> str | None:
        """The stop text that ended an answer, which is not part of it; None if something else did."""
        if not stops or result.finish_reason != "stop":
            return None
        behind = self.engine.decode(result.token_ids)[len(result.text) :]
        return next((each for each in stops if behind.startswith(each)), None)

    def _choose(self, wish: Wish) -> Choice:
        started = time.perf_counter()
        choice = self.host.route(
            wish.last_turn,
            model=wish.model,
            forced=wish.experts,
            excluded=wish.exclude,
            max_experts=wish.max_experts,
            earlier=wish.earlier_turns,
        )
        self.metrics.count_choice(choice, time.perf_counter() - started)
        return choice

    def _prepare(self, wish: Wish) -> tuple[Choice, Request]:
        choice = self._choose(wish)
        settings: dict[str, Any] = {"speculative": self._speculative, **choice.settings, **wish.settings}
        if (grammar := wish.tools.grammar) is not None:
            settings["grammar"] = grammar
        prompt = self._prompt(wish)
        if wish.documents:
            shown = shown_beside(self.engine, wish, prompt, SamplingParams(**settings))
            prompt, asked = with_shown(prompt, shown)
            choice = replace(choice, context=shown)
            if choice.grammar_of is not None and settings.get("grammar") is choice.settings.get("grammar"):
                settings["grammar"] = choice.grammar_of(asked)
        if wish.context is not None:
            settings["max_tokens"] = self._within(wish.context, prompt, settings.get("max_tokens"))
        sampling = SamplingParams(**settings)
        keys = [each.key for each in choice.experts]
        if keys:
            self.metrics.attach.observe(self.host.attach(keys) / 1e3)
        scales = tuple(each.scale for each in choice.experts)
        return choice, Request(
            prompt=prompt, experts=tuple(keys), scales=scales, sampling=sampling, rope=wish.rope, cache=wish.cache
        )

    def _within(self, context: int, prompt: Sequence[Message] | Sequence[int], wanted: int | None) -> int:
        """How many tokens may be written so that prompt and answer are at most ``context``."""
        num_prompt = self.engine.count_tokens(prompt)
        if num_prompt >= context:
            raise CapacityError(f"the prompt has {num_prompt} tokens, context_size is {context}")
        return min(context - num_prompt, wanted or context)

    def _prompt(self, wish: Wish) -> Sequence[Message] | Sequence[int]:
        if isinstance(wish.prompt, str):
            return self.engine.encode(wish.prompt)
        if not wish.tools.told:
            return wish.prompt
        messages = [each for each in wish.prompt if isinstance(each, Message)]
        first = messages[0]
        if first.role == "system":
            return [replace(first, content=f"{first.content}\n\n{wish.tools.told}"), *messages[1:]]
        return [Message("system", wish.tools.told), *messages]


def _seeded(request: Request, number: int) -> Request:
    """The request of a choice: drawn from another seed than the others', but the same again the next time."""
    seed = request.sampling.seed
    return (
        request
        if seed is None or not number
        else replace(request, sampling=replace(request.sampling, seed=seed + number))
    )


def _broken(result: GenerationResult) -> ApiError:
    return ApiError(500, f"the answer broke off after {len(result.token_ids)} tokens: {result.error}", "broken_off")
