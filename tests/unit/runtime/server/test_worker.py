"""The stepping thread: everybody gets what they would have got alone, nobody waits for
another's fault, nothing is lost."""

import asyncio
import random
import threading
import time
from contextlib import asynccontextmanager

import pytest

from tests.support import models
from xpm_build.base.parity import probe_tokens
from xpm_runtime import AdapterSpec, CapacityError, Engine, Request, RequestError, RopeScaling, SamplingParams
from xpm_runtime.server.work import Limits, Order, Overloaded
from xpm_runtime.server.worker import Worker

PROMPTS = [probe_tokens(models.VOCAB_SIZE, seed=seed, count=5 + seed) for seed in range(8)]


@asynccontextmanager
async def working(engine, **limits):
    worker = Worker(engine, limits=Limits(**limits))
    worker.start()
    try:
        yield worker
    finally:
        await asyncio.to_thread(worker.close, 0)
        assert engine.violations() == []
        assert engine._scheduler.is_idle
        assert not +engine._pinned
        assert worker.snapshot().running == sum(worker.snapshot().waiting) == worker.snapshot().waiting_tokens == 0


def order(prompt=PROMPTS[0], *, experts=(), scales=(), priority=4, timeout_s=None, tenant="", **sampling):
    request = Request(prompt=prompt, experts=experts, scales=scales, sampling=SamplingParams(**sampling))
    return Order(request=request, priority=priority, timeout_s=timeout_s, tenant=tenant)


async def read(ticket):
    """(all text, all token reports, the result, the notes)."""
    text, tokens = "", []
    async for delta in ticket:
        text += delta.text
        tokens += delta.tokens
    return text, tokens, delta.result, delta.notes


async def ask(worker, wanted):
    return await read(await worker.submit(wanted))


def single(engine, wanted):
    return engine.generate_batch([wanted.request])[0]


def test_answers_are_those_of_single_runs(tiny_engine, tiny_adapter):
    for kind in ("lora", "dora"):
        tiny_engine.attach(AdapterSpec.read(kind, tiny_adapter(kind).slots))
    orders = [
        order(PROMPTS[n], experts=experts, scales=scales, max_tokens=10 + n, logprobs=2, temperature=n % 2, seed=n)
        for n, (experts, scales) in enumerate(
            [((), ()), (("lora",), ()), (("lora",), (0.5,)), (("dora", "lora"), (-1, 2)), (("dora",), ()), ((), ())]
        )
    ]
    alone = [single(tiny_engine, each) for each in orders]

    async def ask_all():
        async with working(tiny_engine) as worker:
            answers = await asyncio.gather(*(ask(worker, each) for each in orders))
            return answers, worker.snapshot()

    answers, snapshot = asyncio.run(ask_all())
    for (text, tokens, result, notes), wanted in zip(answers, alone, strict=True):
        assert (text, result.token_ids, result.finish_reason) == (wanted.text, wanted.token_ids, wanted.finish_reason)
        assert [each.id for each in tokens] == list(wanted.token_ids)
        assert (tuple(tokens), notes) == (result.logprobs, ())
    assert snapshot.total_output_tokens == sum(len(each.token_ids) for each in alone)
    assert sum(snapshot.total_finished.values()) == len(orders)


def test_what_can_not_be_answered_is_refused_and_leaves_nothing(tiny_engine):
    async def ask_wrongly():
        async with working(tiny_engine) as worker:
            with pytest.raises(RequestError, match="no expert named nobody"):
                await worker.submit(order(experts=("nobody",)))
            with pytest.raises(CapacityError):
                await worker.submit(order([5] * 300))
            with pytest.raises(RequestError, match="each expert needs a scale"):
                await worker.submit(order(scales=(1,)))

    asyncio.run(ask_wrongly())


def test_a_full_queue_refuses_at_once_and_says_when_to_come_again(tiny_engine):
    async def ask_too_much():
        async with working(tiny_engine, max_queued=3, tenant_queued=2) as worker:
            running = []
            for number in range(4):  # one after the other: three may wait
                running.append(await worker.submit(order(max_tokens=200, tenant=str(number), logit_bias=ENDLESS)))
                while worker.snapshot().running <= number:
                    await asyncio.sleep(0.01)
            queued = [await worker.submit(order(tenant="a")) for _ in range(2)]
            with pytest.raises(Overloaded, match="too many requests of yours"):
                await worker.submit(order(tenant="a"))
            queued.append(await worker.submit(order(tenant="b")))
            started = time.monotonic()
            with pytest.raises(Overloaded, match="the queue is full") as refused:
                await worker.submit(order(tenant="c"))
            assert time.monotonic() - started < 0.05
            assert 1 <= refused.value.retry_after_s <= 60
            assert worker.snapshot().total_refused == 2
            for ticket in running:
                ticket.cancel()
                ticket.cancel()
            results = [(await read(ticket))[2].finish_reason for ticket in [*running, *queued]]
            assert results[:4] == ["cancelled"] * 4
            assert "cancelled" not in results[4:]

    asyncio.run(ask_too_much())


ENDLESS = {2: -100}  # the token that ends an answer


def test_who_is_much_more_important_takes_a_lane_and_gives_it_back(tiny_base):
    low, high = order(PROMPTS[1], max_tokens=200, priority=1, logit_bias=ENDLESS), order(PROMPTS[2], priority=9)
    with Engine.load(tiny_base.graph, device="cpu", threads=1, max_lanes=1, context=256) as engine:
        alone = single(engine, low).token_ids
        ended = []

        async def answer(worker, name, wanted):
            ticket = await worker.submit(wanted)
            answer = await read(ticket)
            ended.append(name)
            return answer[2]

        async def compete():
            async with working(engine) as worker:
                first = asyncio.create_task(answer(worker, "low", low))
                while worker.snapshot().cached_tokens < 20:
                    await asyncio.sleep(0.001)
                await answer(worker, "high", high)
                result = await first
                return result, worker.snapshot().total_preempted

        result, num_preempted = asyncio.run(compete())
    assert (ended, num_preempted, result.token_ids) == (["high", "low"], 1, alone)


def test_deadlines_and_cancels_end_what_runs_and_what_waits(tiny_base):
    async def hurry():
        with Engine.load(tiny_base.graph, device="cpu", threads=1, max_lanes=1, context=256) as engine:
            step = engine.step
            engine.step = lambda: time.sleep(0.01) or step()
            async with working(engine) as worker:
                endless = {"max_tokens": 240, "logit_bias": ENDLESS}
                runs = await worker.submit(order(timeout_s=0.3, **endless))
                late = await worker.submit(order(timeout_s=0.1, **endless))
                gone = await worker.submit(order(**endless))
                gone.cancel()
                results = [(await read(each))[2] for each in (runs, late, gone)]
                assert [each.finish_reason for each in results] == ["timeout", "timeout", "cancelled"]
                assert results[0].token_ids
                assert not results[1].token_ids
                assert runs.queued_ms is not None
                assert runs.first_token_ms >= runs.queued_ms
                assert late.queued_ms is None

    asyncio.run(hurry())


def test_whoever_is_cancelled_while_being_checked_leaves_nothing(tiny_engine, tiny_adapter, monkeypatch):
    tiny_engine.attach(AdapterSpec.read("lora", tiny_adapter("lora").slots))
    inside, go_on = threading.Event(), threading.Event()
    prepare = tiny_engine.prepare
    monkeypatch.setattr(tiny_engine, "prepare", lambda request: (inside.set(), go_on.wait(20), prepare(request))[2])

    async def cut_short():
        async with working(tiny_engine) as worker:
            task = asyncio.create_task(worker.submit(order(experts=("lora",))))
            assert await asyncio.to_thread(inside.wait, 20)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            go_on.set()
            deadline = time.monotonic() + 20
            while +tiny_engine._pinned and time.monotonic() < deadline:
                await asyncio.sleep(0.01)

    asyncio.run(cut_short())
    tiny_engine.detach("lora")


def test_experts_can_not_be_detached_while_an_order_of_theirs_waits(tiny_engine, tiny_adapter):
    tiny_engine.attach(AdapterSpec.read("lora", tiny_adapter("lora").slots))

    async def hold():
        async with working(tiny_engine) as worker:
            tickets = [await worker.submit(order(experts=("lora",), max_tokens=200)) for _ in range(8)]
            with pytest.raises(RequestError, match="lora is in use"):
                tiny_engine.detach("lora")
            for ticket in tickets:
                ticket.cancel()

    asyncio.run(hold())
    tiny_engine.detach("lora")


def test_a_request_by_which_steps_fail_ends_alone(tiny_engine, monkeypatch):
    orders = [order(PROMPTS[n], max_tokens=30, logit_bias=ENDLESS) for n in range(4)]
    alone = [single(tiny_engine, each).token_ids for each in orders]
    step = tiny_engine.step

    def fail():
        if any(len(s.prompt_ids) == 7 and len(s.token_ids) > 3 for s in tiny_engine._scheduler.running):
            raise ValueError("unlucky")
        return step()

    monkeypatch.setattr(tiny_engine, "step", fail)

    async def ask_all():
        async with working(tiny_engine) as worker:
            return [answer[2] for answer in await asyncio.gather(*(ask(worker, each) for each in orders))]

    results = asyncio.run(ask_all())
    assert [each.finish_reason for each in results] == ["length", "length", "error", "length"]
    assert "unlucky" in results[2].error
    assert [each.token_ids for each in results[:2]] == alone[:2]


def test_a_slow_reader_gets_all_at_once(tiny_engine):
    async def read_late():
        async with working(tiny_engine) as worker:
            ticket = await worker.submit(order(max_tokens=100, logit_bias=ENDLESS))
            while worker.snapshot().total_finished.get("length", 0) == 0:
                await asyncio.sleep(0.01)
            return [delta async for delta in ticket]

    (delta,) = asyncio.run(read_late())
    assert (delta.text, len(delta.result.token_ids)) == (delta.result.text, 100)


def test_closing_lets_what_was_accepted_end_and_accepts_nothing_new(tiny_engine):
    async def drain():
        worker = Worker(tiny_engine, limits=Limits())
        worker.start()
        tickets = [await worker.submit(order(PROMPTS[n], max_tokens=20, logit_bias=ENDLESS)) for n in range(8)]
        closing = asyncio.create_task(asyncio.to_thread(worker.close, 30))
        while not worker.is_draining:
            await asyncio.sleep(0.001)
        with pytest.raises(Overloaded, match="shutting down"):
            await worker.submit(order())
        results = [(await read(each))[2].finish_reason for each in tickets]
        await closing
        return results

    assert asyncio.run(drain()) == ["length"] * 8
    assert tiny_engine._scheduler.is_idle


def test_whose_positions_are_scaled_is_told_so_and_has_lost_nothing(tiny_base):
    async def ask_both(engine):
        async with working(engine) as worker:
            answers = [await ask(worker, order(PROMPTS[0], max_tokens=num)) for num in (5, 300)]
            return [notes for *_, notes in answers], worker.snapshot().total_degraded

    with Engine.load(
        tiny_base.graph, device="cpu", threads=1, max_lanes=2, context=600, rope=RopeScaling.parse("yarn")
    ) as engine:
        assert asyncio.run(ask_both(engine)) == ([(), ("positions are scaled: yarn:2",)], 0)


def test_a_closed_engine_ends_everybody(tiny_base):
    async def close_under():
        engine = Engine.load(tiny_base.graph, device="cpu", threads=1, max_lanes=2, context=256)
        worker = Worker(engine, limits=Limits())
        worker.start()
        tickets = [await worker.submit(order(max_tokens=200, logit_bias=ENDLESS)) for _ in range(4)]
        engine.close()
        results = [(await read(each))[2].finish_reason for each in tickets]
        await asyncio.to_thread(worker.close, 0)
        return results

    assert set(asyncio.run(close_under())) <= {"error", "cancelled"}


@pytest.mark.parametrize("seed", range(3))
def test_random_load_breaks_no_invariant(seed, tiny_engine, tiny_adapter, monkeypatch):
    """Orders of all priorities and tenants, cancels, deadlines, preemptions and refusals; after
    each step nothing is broken."""
    for kind in ("lora", "ia3", "prompt"):
        tiny_engine.attach(AdapterSpec.read(kind, tiny_adapter(kind).slots))
    rng, broken, step = random.Random(seed), [], tiny_engine.step

    def watched():
        report = step()
        broken.extend(tiny_engine.violations())
        return report

    monkeypatch.setattr(tiny_engine, "step", watched)

    async def client(worker):
        experts = tuple(rng.sample(("lora", "ia3", "prompt"), rng.randint(0, 2)))
        scales = tuple(1 if name == "prompt" else rng.choice([0, 0.5, 1, -1]) for name in experts)
        wanted = order(
            PROMPTS[rng.randrange(8)] * rng.randint(1, 6),
            experts=experts,
            scales=rng.choice([(), scales]),
            priority=rng.randrange(10),
            tenant=rng.choice("abc"),
            timeout_s=rng.choice([None, None, 0.05]),
            max_tokens=rng.randint(1, 40),
            temperature=rng.choice([0, 1]),
        )
        await asyncio.sleep(rng.random() / 5)  # faster than any machine answers them
        try:
            ticket = await worker.submit(wanted)
        except Overloaded:
            return "refused"
        if rng.random() < 0.2:
            asyncio.get_running_loop().call_later(0.2 * rng.random(), ticket.cancel)
        text, _, result, _ = await read(ticket)
        assert text == result.text
        return result.finish_reason

    async def all_clients():
        limits = {"max_queued": 40, "tenant_running": 3, "preempt_gap": 2, "ageing_s": 0.1, "degrade_from": 0.5}
        async with working(tiny_engine, **limits) as worker:
            return await asyncio.gather(*(client(worker) for _ in range(80))), worker.snapshot()

    reasons, snapshot = asyncio.run(all_clients())
    assert broken == []
    assert set(reasons) <= {"stop", "length", "cancelled", "timeout", "refused"}
    assert snapshot.total_preempted > 0
    assert sum(snapshot.total_finished.values()) == len(reasons) - reasons.count("refused")


def test_what_can_not_be_in_time_is_refused(tiny_base):
    async def hurry():
        with Engine.load(tiny_base.graph, device="cpu", threads=1, max_lanes=1, context=256) as engine:
            step = engine.step
            engine.step = lambda: time.sleep(0.01) or step()
            async with working(engine) as worker:
                slow = {"max_tokens": 30, "logit_bias": ENDLESS}
                await ask(worker, order(timeout_s=0.2, **slow))  # nothing is known yet: it is tried
                tickets = [await worker.submit(order(**slow)) for _ in range(4)]
                with pytest.raises(Overloaded, match=r"and was wanted in 0\.5 s"):
                    await worker.submit(order(timeout_s=0.5, **slow))
                tickets.append(await worker.submit(order(timeout_s=5, priority=9, **slow)))  # before all of them
                tickets.append(await worker.submit(order(timeout_s=60, **slow)))
                for ticket in tickets:
                    ticket.cancel()

    asyncio.run(hurry())
