"""One thread steps the engine for all; whoever waits for an answer waits for nothing else.

Orders are checked and encoded in other threads, queue here, and come to the engine when it has a lane for them, so that
who is next is decided as late as possible. The stepping thread alone changes what waits and what runs; what event loops
need to know is counted beside, under a lock that is never held while the engine works.

Invariants: every accepted order ends with one result, and its experts are pinned until then.
"""

import asyncio
import threading
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, replace

from xpm_runtime import Engine, GenerationResult, Request, Sequence
from xpm_runtime.errors import EngineError
from xpm_runtime.server.degrading import degrade
from xpm_runtime.server.meter import Meter
from xpm_runtime.server.ticket import Ticket, Waker
from xpm_runtime.server.waiting import Load, Place, Waiting, victims
from xpm_runtime.server.work import PRIORITIES, Limits, Order, Overloaded, Snapshot

__all__ = ["Ticket", "Worker"]

_YIELD_S = 1e-4  # between steps, for those who wait for the engine
_IDLE_S = 0.02  # while others have the engine's lanes
_MEASURE_S = 1.0


@dataclass(slots=True, eq=False)
class _Job:
    sequence: Sequence
    ticket: Ticket
    experts: tuple[str, ...]
    notes: tuple[str, ...]
    deadline: float | None
    started: float | None = None  # when it was last given a lane
    num_delivered: int = 0  # tokens
    is_suspect: bool = False  # a step failed while it ran: it runs alone


class Worker:
    """Accepts orders from any event loop, and steps the engine in a thread of its own."""

    def __init__(self, engine: Engine, *, limits: Limits) -> None:
        self._engine = engine
        self._limits = limits
        self._meter = Meter()
        # The stepping thread's own.
        self._waiting: Waiting[_Job] = Waiting(limits)
        self._running: list[Place[_Job]] = []
        self._to_wake: list[Ticket] = []
        self._memory_bytes, self._measured = 0, 0.0
        # Everybody's, under the lock.
        self._changed = threading.Condition()
        self._accepted: list[Place[_Job]] = []
        self._cancelled: set[Ticket] = set()
        self._load = Load()
        self._num_accepted = self._num_open = self._num_preparing = 0
        self._is_draining = self._is_stopped = False
        self._thread = threading.Thread(target=self._run, name="xpm-worker", daemon=True)
        self._waker = Waker()

    @property
    def is_draining(self) -> bool:
        return self._is_draining

    def start(self) -> None:
        self._waker.start()
        self._thread.start()

    def close(self, drain_s: float = 30.0) -> None:
        """Accept nothing new, let what was accepted end for ``drain_s``, then cancel the rest.

        It waits: call it from a thread if an event loop shall go on reading meanwhile.
        """
        with self._changed:
            self._is_draining = True
            self._changed.wait_for(lambda: not (self._num_open or self._num_preparing), drain_s)
            self._is_stopped = True
            self._changed.notify_all()
        if self._thread.is_alive():
            self._thread.join()
        self._waker.close()

    async def submit(self, order: Order) -> Ticket:
        """Queue an order.

        Raises:
            Overloaded: the queue, or the tenant's share of it, is full, or the worker drains; at once.
            RequestError, CapacityError, ConstraintError: the request can't be answered.
        """
        request, notes = self._reserve(order)
        try:
            sequence = await self._prepared(request)
            return self._accept(order, request, sequence, notes)
        finally:
            with self._changed:
                self._load.change(-1, tenant=order.tenant, priority=order.priority)
                self._num_preparing -= 1
                self._changed.notify_all()

    def snapshot(self) -> Snapshot:
        """How it is doing; waits for no step."""
        with self._changed:
            waiting = tuple(self._load.of_priority[priority] for priority in range(PRIORITIES))
            waiting_tokens = self._load.num_tokens
        sequences, meter = [place.item.sequence for place in self._running.copy()], self._meter
        return Snapshot(
            running=len(sequences),
            waiting=waiting,
            waiting_tokens=waiting_tokens,
            cached_tokens=sum(sequence.num_computed for sequence in sequences),
            token_capacity=self._engine.num_lanes * self._engine.context,
            num_lanes=self._engine.num_lanes,
            attached=self._engine.attached,
            running_by_expert=Counter(name for sequence in sequences for name in sequence.composition),
            tokens_per_s=meter.tokens_per_s(time.monotonic()),
            memory_bytes=self._memory_bytes,
            is_draining=self._is_draining,
            total_prompt_tokens=meter.prompt_tokens,
            total_reused_tokens=meter.reused_tokens,
            total_output_tokens=meter.output_tokens,
            total_preempted=meter.preempted,
            total_refused=meter.refused,
            total_degraded=meter.degraded,
            total_finished=dict(meter.finished),
            total_steps=meter.steps,
        )

    # Accepting, in the event loop's thread

    def _reserve(self, order: Order) -> tuple[Request, tuple[str, ...]]:
        """Hold a place in the queue while an order is checked; its request as it is accepted,
        and notes of what that lost."""
        limits, load = self._limits, self._load
        with self._changed:
            if self._is_draining:
                raise self._overloaded("the server is shutting down")
            if load.count >= limits.max_queued or load.num_tokens >= limits.max_queued_tokens:
                raise self._overloaded("the queue is full")
            if limits.tenant_queued is not None and load.of_tenant[order.tenant] >= limits.tenant_queued:
                raise self._overloaded("too many requests of yours wait")
            timeout_s, needed_s = self._timeout_s(order), self._needed_s(order.priority)
            if timeout_s is not None and needed_s > timeout_s:
                raise self._overloaded(f"an answer would take {needed_s:.1f} s, and was wanted in {timeout_s:.1f} s")
            request, notes = degrade(order.request, limits, fill=load.count / limits.max_queued)
            load.change(1, tenant=order.tenant, priority=order.priority)
            self._num_preparing += 1
        return request, notes

    def _timeout_s(self, order: Order) -> float | None:
        return order.timeout_s if order.timeout_s is not None else self._limits.timeout_s

    def _needed_s(self, priority: int) -> float:
        """How long an answer would take, by what the latest took; 0 if nobody waits before it.

        What can't be in time is refused: it would take lanes from those that can.
        """
        ahead = sum(count for each, count in self._load.of_priority.items() if each >= priority)
        if not ahead or self._meter.service_s is None:
            return 0.0
        return self._meter.service_s * (ahead / self._engine.num_lanes + 1.5)

    def _overloaded(self, message: str) -> Overloaded:
        self._meter.refused += 1
        speed = self._meter.tokens_per_s(time.monotonic())
        wait_s = self._load.num_tokens / speed / 2 if speed else 1.0
        return Overloaded(message, retry_after_s=min(60.0, max(1.0, wait_s)), context=f"{self._load.count} wait")

    async def _prepared(self, request: Request) -> Sequence:
        """The request's sequence, its experts pinned. Whoever is cancelled meanwhile leaves nothing pinned."""
        is_gone = threading.Event()

        def prepare() -> Sequence:
            self._engine.pin(request.experts)
            try:
                sequence = self._engine.prepare(request)
            except BaseException:
                self._engine.unpin(request.experts)
                raise
            if is_gone.is_set():
                self._engine.unpin(request.experts)
            return sequence

        loop = asyncio.get_running_loop()
        preparing = loop.run_in_executor(None, prepare)
        try:
            return await asyncio.shield(preparing)
        except asyncio.CancelledError:
            is_gone.set()
            if preparing.done() and not preparing.cancelled() and preparing.exception() is None:
                loop.run_in_executor(None, self._engine.unpin, request.experts)
            raise

    def _accept(self, order: Order, request: Request, sequence: Sequence, notes: tuple[str, ...]) -> Ticket:
        now = time.monotonic()
        timeout_s = self._timeout_s(order)
        deadline = now + timeout_s if timeout_s is not None else None
        job = _Job(sequence, Ticket(self._cancel), request.experts, (*notes, *_long(sequence)), deadline)
        with self._changed:
            if self._is_stopped:
                asyncio.get_running_loop().run_in_executor(None, self._engine.unpin, request.experts)
                raise self._overloaded("the server is shutting down")
            self._num_accepted += 1
            self._num_open += 1
            self._meter.degraded += bool(notes)
            place = Place(
                item=job,
                number=self._num_accepted,
                accepted=now,
                priority=order.priority,
                tenant=order.tenant,
                experts=sequence.acting,
                num_tokens=self._engine.tokens_of(sequence),
            )
            self._accepted.append(place)
            self._count(place, 1)
            self._changed.notify_all()
        return job.ticket

    def _cancel(self, ticket: Ticket) -> None:
        with self._changed:
            self._cancelled.add(ticket)
            self._changed.notify_all()

    def _count(self, place: Place[_Job], by: int) -> None:
        self._load.change(by, tenant=place.tenant, priority=place.priority, num_tokens=place.num_tokens)

    # Stepping, in the worker's thread

    def _run(self) -> None:
        while not self._is_stopped:
            with self._changed:
                while not (self._running or len(self._waiting) or self._accepted or self._is_stopped):
                    self._cancelled.clear()  # of what has ended
                    self._changed.wait()
                cancelled, self._cancelled = self._cancelled, set()
            try:
                self._turn(cancelled)
            except Exception as error:  # nobody may wait for ever
                for place in [*self._running, *self._waiting]:
                    self._finish(place, "error", error)
            self._wake()
            if not self._running and len(self._waiting):
                time.sleep(_IDLE_S)
            elif self._num_preparing:
                time.sleep(_YIELD_S)
        self._stop()

    def _turn(self, cancelled: set[Ticket]) -> None:
        """Who must ends, who can begins, who runs gets a token."""
        self._take_in()
        self._end_those_that_must(cancelled)
        self._admit()
        if self._running:
            self._step()

    def _take_in(self) -> None:
        with self._changed:
            accepted, self._accepted = self._accepted, []
        for place in accepted:
            self._waiting.add(place)

    def _stop(self) -> None:
        self._take_in()
        for place in [*self._running, *self._waiting]:
            self._finish(place, "cancelled")
        self._wake()

    def _end_those_that_must(self, cancelled: set[Ticket]) -> None:
        """Cancel what was cancelled, and what is past its deadline."""
        now = time.monotonic()
        for place in [*self._running, *self._waiting]:
            if place.item.ticket in cancelled:
                self._finish(place, "cancelled")
            elif place.item.deadline is not None and now > place.item.deadline:
                self._finish(place, "timeout")

    def _admit(self) -> None:
        """Give the engine who is next, as long as it has room or somebody gives way."""
        while place := self._waiting.best(time.monotonic(), self._running):
            job = place.item
            if self._running and (job.is_suspect or any(each.item.is_suspect for each in self._running)):
                return
            if self._is_too_late(job):
                self._finish(place, "timeout")
                continue
            try:
                if not self._make_room(place):
                    return
                self._engine.enqueue(job.sequence)
            except EngineError as error:
                self._finish(place, "error", error)
                continue
            self._waiting.remove(place)
            self._running.append(place)
            with self._changed:
                self._count(place, -1)
            job.started = time.monotonic()
            if job.ticket.queued_ms is None:
                job.ticket.queued_ms = 1e3 * (job.started - place.accepted)

    def _is_too_late(self, job: _Job) -> bool:
        """Whether an answer that has not begun can hardly be in time any more, while others wait that can."""
        usual_s = self._meter.service_s
        if job.deadline is None or usual_s is None or job.started is not None or len(self._waiting) < 2:
            return False
        return time.monotonic() + usual_s > job.deadline

    def _make_room(self, place: Place[_Job]) -> bool:
        """Whether the engine has room for an order, made if need be by preempting as few as do."""
        sequence = place.item.sequence
        if self._engine.has_room(sequence):
            return True
        lower = victims(place, self._running, self._limits.preempt_gap)
        for count in range(1, len(lower) + 1):
            if self._engine.has_room(sequence, without=[each.item.sequence for each in lower[:count]]):
                for each in lower[:count]:
                    self._preempt(each)
                return True
        return False

    def _preempt(self, place: Place[_Job]) -> None:
        self._engine.preempt(place.item.sequence)
        self._running.remove(place)
        self._waiting.add(place)
        self._meter.preempted += 1
        with self._changed:
            self._count(place, 1)

    def _step(self) -> None:
        try:
            self._engine.step()
        except Exception as error:  # nobody knows whose fault it is
            self._part(error)
            return
        now = time.monotonic()
        self._meter.step(now, sum(self._deliver(place, now) for place in self._running.copy()))
        if now - self._measured > _MEASURE_S:
            self._memory_bytes, self._measured = self._engine.memory().total, now

    def _part(self, error: Exception) -> None:
        """After a step that failed as a whole: who ran alone ends, others start anew, each alone until its end."""
        is_alone = len(self._running) == 1
        for place in self._running.copy():
            place.item.is_suspect = True
            if is_alone or place.item.sequence.is_finished:
                self._finish(place, "error", error)
            else:
                self._preempt(place)

    def _deliver(self, place: Place[_Job], now: float) -> int:
        """Hand over what a step brought; how many tokens that was."""
        job = place.item
        sequence, ticket = job.sequence, job.ticket
        num_tokens = len(sequence.token_ids) - job.num_delivered
        if num_tokens and ticket.first_token_ms is None:
            ticket.first_token_ms = 1e3 * (now - place.accepted)
        if sequence.is_finished:
            self._finish(place, sequence.finish_reason or "error")
        elif num_tokens:
            self._hand_over(job, final=False)
        return num_tokens

    def _hand_over(self, job: _Job, *, final: bool) -> None:
        sequence = job.sequence
        reports = sequence.reports[job.num_delivered :]
        piece = sequence.text.take(final=final)
        self._meter.output_tokens += len(sequence.token_ids) - job.num_delivered
        job.num_delivered = len(sequence.token_ids)
        if (piece or reports) and job.ticket.put(piece, reports):
            self._to_wake.append(job.ticket)

    def _finish(self, place: Place[_Job], reason: str, error: Exception | None = None) -> None:
        """End an order, wherever it is, with its result."""
        job = place.item
        self._engine.cancel(job.sequence)
        self._engine.unpin(job.experts)
        result = _result(job.sequence, reason, error)
        with suppress(Exception):  # what can't be decoded is in the result's error
            self._hand_over(job, final=True)
        self._meter.finish(result)
        is_waiting = place in self._waiting
        if is_waiting:
            self._waiting.remove(place)
        else:
            self._running.remove(place)
            if job.started is not None and reason in ("stop", "length", "timeout"):
                self._meter.serve(time.monotonic() - job.started)
        with self._changed:
            self._num_open -= 1
            if is_waiting:
                self._count(place, -1)
            self._changed.notify_all()
        if job.ticket.end(result, job.notes):
            self._to_wake.append(job.ticket)

    def _wake(self) -> None:
        """Tell readers."""
        if self._to_wake:
            self._waker.wake(self._to_wake)
            self._to_wake = []


def _long(sequence: Sequence) -> tuple[str, ...]:
    """What a client is told of positions and of the cache, () if they are as the base has them."""
    return (
        *(() if sequence.rope is None else (f"positions are scaled: {sequence.rope}",)),
        *(() if sequence.cache is None else (f"keys and values are kept: {sequence.cache}",)),
    )


def _result(sequence: Sequence, reason: str, error: Exception | None) -> GenerationResult:
    """What a sequence became, ended for a reason that the engine does not know, or by an error."""
    try:
        result = sequence.result()
    except Exception as unmade:  # a tokenizer's, or a grammar's
        error = error or unmade
        result = GenerationResult(
            text=sequence.text.text,
            token_ids=tuple(sequence.token_ids),
            experts=sequence.composition,
            finish_reason="error",
            num_prompt_tokens=len(sequence.prompt_ids),
            num_reused_tokens=sequence.num_reused,
            prefill_ms=sequence.prefill_ms,
            decode_ms=sequence.decode_ms,
        )
    if reason == "timeout":
        return replace(result, finish_reason="timeout")
    if error is not None:
        said = error.message if isinstance(error, EngineError) else f"{type(error).__name__}: {error}"
        return replace(result, finish_reason="error", error=said)
    return result
