"""Streams of one event loop share their steps."""

import asyncio
import threading
import time

import pytest

from tests.support import models
from xpm_build.base.parity import probe_tokens
from xpm_runtime import Request, SamplingParams

PROMPTS = [probe_tokens(models.VOCAB_SIZE, seed=seed, count=4 + seed) for seed in range(4)]
SAMPLING = SamplingParams(max_tokens=16)


def test_concurrent_answers_are_those_of_single_runs_and_share_steps(tiny_engine, monkeypatch):
    steps = []
    step = tiny_engine.step
    monkeypatch.setattr(tiny_engine, "step", lambda: steps.append(1) or step())

    async def ask_all():
        return await asyncio.gather(*(tiny_engine.agenerate(prompt, sampling=SAMPLING) for prompt in PROMPTS))

    together = asyncio.run(ask_all())
    assert len(steps) < 2 * SAMPLING.max_tokens, "each stream stepped for itself"
    assert tiny_engine.violations() == []
    alone = tiny_engine.generate_batch([Request(prompt=prompt, sampling=SAMPLING) for prompt in PROMPTS])
    assert [result.token_ids for result in together] == [result.token_ids for result in alone]


def test_a_stream_is_its_result(tiny_engine):
    async def collect():
        return [piece async for piece in tiny_engine.astream("abc", sampling=SAMPLING)]

    *pieces, result = asyncio.run(collect())
    assert "".join(pieces) == result.text == tiny_engine.generate("abc", sampling=SAMPLING).text


def test_cancelling_a_task_frees_its_lane(tiny_engine):
    async def cut_short():
        task = asyncio.create_task(tiny_engine.agenerate([5, 6], sampling=SamplingParams(max_tokens=200)))
        await asyncio.sleep(0.005)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return await tiny_engine.agenerate([5, 6], sampling=SAMPLING)

    assert asyncio.run(cut_short()).finish_reason in ("length", "stop")
    assert tiny_engine._scheduler.is_idle


def test_cancelling_a_task_whose_request_is_not_submitted_yet_leaves_nothing(tiny_engine, monkeypatch):
    inside, go_on, done = threading.Event(), threading.Event(), threading.Event()
    submit = tiny_engine.submit

    def slow(request):
        inside.set()
        assert go_on.wait(20)
        try:
            return submit(request)
        finally:
            done.set()

    async def cut_short():
        task = asyncio.create_task(tiny_engine.agenerate([5, 6], sampling=SamplingParams(max_tokens=200)))
        assert await asyncio.to_thread(inside.wait, 20)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        go_on.set()

    monkeypatch.setattr(tiny_engine, "submit", slow)
    asyncio.run(cut_short())
    assert done.wait(20)
    deadline = time.monotonic() + 20
    while not tiny_engine._scheduler.is_idle and time.monotonic() < deadline:
        time.sleep(0.01)
    assert tiny_engine._scheduler.is_idle
