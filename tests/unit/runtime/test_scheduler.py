"""The scheduler's arithmetic, and the engine under random load: no invariant breaks, every answer is its single run's."""

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support import models
from xpm_build.parity import probe_tokens
from xpm_runtime import AdapterSpec, Request, SamplingParams
from xpm_runtime.sampler import Sampler
from xpm_runtime.scheduler import Scheduler
from xpm_runtime.sequence import Sequence


def _sequence(length: int, max_tokens: int) -> Sequence:
    return Sequence([1] * length, 0, (), Sampler(SamplingParams(max_tokens=max_tokens)), None)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(("add", "step", "cancel", "move")), st.integers(1, 30)), max_size=60))
def test_random_events_break_no_invariant(events):
    """What an engine does to the counters, without a graph: plan, compute, sample, finish, move, cancel."""
    scheduler = Scheduler(num_lanes=3, capacity=32, chunk_tokens=7)
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
    plan = scheduler.schedule()
    assert not scheduler.waiting or all(scheduler.lanes)
    if plan.prefill:
        assert 0 < plan.prefill.stop - plan.prefill.start <= scheduler.chunk_tokens
        plan.prefill.sequence.num_computed = plan.prefill.stop
    fresh = [plan.prefill.sequence] if plan.prefill and plan.prefill.sequence.is_prefilled else []
    for sequence in plan.rows:
        assert sequence.lane < plan.num_rows
        sequence.num_computed += 1
    for sequence in (*fresh, *plan.rows):
        sequence.token_ids.append(0)
        full = sequence.num_computed >= scheduler.capacity
        if full or len(sequence.token_ids) >= sequence.sampler.params.max_tokens:
            sequence.finish_reason = "length"
            scheduler.remove(sequence)


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


def test_soak(tiny_engine, tiny_adapter):
    """150 random requests with random compositions, lengths, stops and cancels, stepped by hand."""
    adapters = [tiny_adapter(kind) for kind in ("lora", "dora", "ia3", "prompt")]
    for adapter in adapters:
        tiny_engine.attach(AdapterSpec.read(adapter.name, adapter.slots))
    rng = random.Random(11)
    submitted, cancelled = [], set()
    while len(submitted) < 150 or not all(sequence.is_finished for _, sequence in submitted):
        while len(submitted) < 150 and rng.random() < 0.5:
            request = Request(
                prompt=probe_tokens(models.VOCAB_SIZE, seed=len(submitted), count=rng.randint(1, 40)),
                experts=tuple(adapter.name for adapter in rng.sample(adapters, rng.randint(0, 3))),
                sampling=SamplingParams(max_tokens=rng.randint(1, 12), stop=("e",) if rng.random() < 0.2 else ()),
            )
            submitted.append((request, tiny_engine.submit(request)))
        alive = [number for number, (_, sequence) in enumerate(submitted) if not sequence.is_finished]
        if alive and rng.random() < 0.05:
            victim = rng.choice(alive)
            tiny_engine.cancel(submitted[victim][1])
            cancelled.add(victim)
        tiny_engine.step()
        assert tiny_engine.violations() == []
    assert cancelled
    for number in rng.sample([n for n in range(150) if n not in cancelled], 40):
        request, sequence = submitted[number]
        alone = tiny_engine.generate(request.prompt, experts=request.experts, sampling=request.sampling)
        assert (alone.token_ids, alone.finish_reason) == (tuple(sequence.token_ids), sequence.finish_reason)


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
