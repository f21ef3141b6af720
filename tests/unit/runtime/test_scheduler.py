"""The scheduler's arithmetic, and the engine under random load: no invariant breaks, every
answer is its single run's."""

import os
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support import models
from xpm_build.base.export import export_base
from xpm_build.base.parity import probe_tokens
from xpm_runtime import AdapterSpec, CapacityError, Engine, Request, SamplingParams
from xpm_runtime.sampler import Sampler
from xpm_runtime.scheduler import Scheduler
from xpm_runtime.sequence import Sequence


def _sequence(length: int, max_tokens: int) -> Sequence:
    return Sequence([1] * length, 0, (), Sampler(SamplingParams(max_tokens=max_tokens)), None)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(("add", "step", "cancel", "move")), st.integers(1, 30)), max_size=60),
    st.sampled_from([96, 34]),
)
def test_random_events_break_no_invariant(events, token_budget):
    """What an engine does to the counters, without a graph: plan, compute, sample, finish, move, cancel."""
    scheduler = Scheduler(num_lanes=3, capacity=32, chunk_tokens=7, token_budget=token_budget)
    for event, number in events:
        if event == "add":
            scheduler.add(_sequence(number, 1 + number % 4))
        elif event == "cancel" and (alive := [*scheduler.running, *scheduler.waiting]):
            scheduler.remove(alive[number % len(alive)])
        elif event == "move" and (gap := scheduler.gap()):
            scheduler.move(gap[1], gap[0])
        elif event == "step":
            _step(scheduler)
        assert scheduler.violations() == []


def _step(scheduler: Scheduler) -> None:
    scheduler.admit()
    plan = scheduler.plan()
    assert not scheduler.waiting or all(scheduler.lanes) or scheduler.token_budget < 96
    assert sum(chunk.stop - chunk.start for chunk in plan.prefill) <= scheduler.chunk_tokens
    for chunk in plan.prefill:
        assert chunk.start < chunk.stop
        chunk.sequence.num_computed = chunk.stop
    fresh = [chunk.sequence for chunk in plan.prefill if chunk.sequence.is_prefilled]
    for sequence in plan.rows:
        assert sequence.lane < plan.num_rows
        sequence.num_computed += 1
    for sequence in (*fresh, *plan.rows):
        sequence.token_ids.append(0)
        full = sequence.num_computed >= scheduler.capacity
        if full or len(sequence.token_ids) >= sequence.sampler.params.max_tokens:
            sequence.finish_reason = "length"
            scheduler.remove(sequence)


def test_what_can_never_fit_is_refused_and_what_does_not_fit_yet_waits():
    scheduler = Scheduler(num_lanes=3, capacity=100, chunk_tokens=50, token_budget=60)
    with pytest.raises(CapacityError, match="there is memory for 60"):
        scheduler.add(_sequence(40, 30))
    first, second = _sequence(30, 10), _sequence(30, 10)
    scheduler.add(first)
    scheduler.add(second)
    _step(scheduler)
    assert (first.lane, second.lane) == (0, None)
    scheduler.remove(first)
    _step(scheduler)
    assert second.lane == 0


def test_a_long_prompt_does_not_hold_up_the_others():
    scheduler = Scheduler(num_lanes=2, capacity=100, chunk_tokens=10)
    short, long = _sequence(5, 50), _sequence(60, 50)
    scheduler.add(short)
    _step(scheduler)
    scheduler.add(long)
    for number in range(1, 7):
        _step(scheduler)
        assert len(short.token_ids) == 1 + number
    assert long.is_prefilled


@pytest.mark.parametrize("variant", ["fp32", "int4"])
def test_soak(variant, tiny_base, tiny_adapter, tmp_path):
    """1,000 random requests: compositions, lengths, shared beginnings, stops and cancels, under a
    budget that evicts adapters.

    No invariant breaks after any step, what is sampled is what a run alone gives, and memory stays flat.
    """
    export_base(tiny_base.source, tmp_path / variant, variant=variant)
    adapters = [tiny_adapter(kind) for kind in ("lora", "dora", "ia3", "prompt", "partial", "lokr")]
    rng = random.Random(11)
    openings = [probe_tokens(models.VOCAB_SIZE, seed=seed, count=48) for seed in range(3)]
    submitted, cancelled, resident = [], set(), []
    with Engine.load(tmp_path / variant, device="cpu", threads=1, max_lanes=4, context=256) as engine:
        reports = [engine.attach(AdapterSpec.read(adapter.name, adapter.slots)) for adapter in adapters]
        engine._adapters._budget = max(report.num_bytes for report in reports)
        while len(submitted) < 1000 or not all(sequence.is_finished for _, sequence in submitted):
            while len(submitted) < 1000 and rng.random() < 0.5:
                opening = rng.choice(openings) if rng.random() < 0.3 else []
                own = probe_tokens(models.VOCAB_SIZE, seed=len(submitted), count=rng.randint(1, 40))
                request = Request(
                    prompt=[*opening, *own],
                    experts=tuple(adapter.name for adapter in rng.sample(adapters, rng.randint(0, 3))),
                    sampling=SamplingParams(max_tokens=rng.randint(1, 12), stop=("e",) if rng.random() < 0.2 else ()),
                )
                submitted.append((request, engine.submit(request)))
            alive = [number for number, (_, sequence) in enumerate(submitted) if not sequence.is_finished]
            if alive and rng.random() < 0.05:
                victim = rng.choice(alive)
                engine.cancel(submitted[victim][1])
                cancelled.add(victim)
            engine.step()
            assert engine.violations() == []
            if len(submitted) % 100 == 0:
                resident.append(_resident_bytes())
        assert cancelled
        assert any(sequence.num_reused for _, sequence in submitted)
        assert engine._adapters.num_loads > len(adapters), "no adapter was ever dropped"
        for number in rng.sample([n for n in range(1000) if n not in cancelled], 60):
            request, sequence = submitted[number]
            engine._prefixes.clear()
            alone = engine.generate(request.prompt, experts=request.experts, sampling=request.sampling)
            assert (alone.token_ids, alone.finish_reason) == (tuple(sequence.token_ids), sequence.finish_reason)
    assert resident[-1] - resident[len(resident) // 2] < 20_000_000, "memory grows"


def _resident_bytes() -> int:
    """Resident bytes of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def test_cancel_frees_the_lane_at_once(tiny_engine):
    running = [tiny_engine.submit(Request(prompt=[5, 6], sampling=SamplingParams(max_tokens=99))) for _ in range(5)]
    tiny_engine.step()
    assert running[4].lane is None
    tiny_engine.cancel(running[0])
    tiny_engine.step()
    assert running[4].lane is not None
    assert running[0].result().finish_reason == "cancelled"


def test_a_stream_is_its_result(tiny_engine):
    sampling = SamplingParams(max_tokens=12, temperature=0.8, seed=3)
    *pieces, result = tiny_engine.stream("abc", sampling=sampling)
    assert "".join(pieces) == result.text == tiny_engine.generate("abc", sampling=sampling).text
    next(tiny_engine.stream("abc", sampling=SamplingParams(max_tokens=50)), None)
    assert tiny_engine.step().num_decoded == 0, "leaving a stream cancels its request"
