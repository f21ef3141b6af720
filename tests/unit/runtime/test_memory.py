"""What is kept, what is dropped, and that neither changes an answer: the prefix cache, adapters, budgets."""

import numpy as np
import pytest

from tests.support import models
from xpm_build.base.export import export_base
from xpm_build.base.parity import probe_tokens
from xpm_runtime import AdapterSpec, CapacityError, Engine, RequestError, SamplingParams

OPENING = probe_tokens(models.VOCAB_SIZE, seed=1, count=40)
SAMPLING = SamplingParams(max_tokens=8)


@pytest.fixture(scope="module", params=["fp32", "int4"])
def graph(request, tiny_base, tmp_path_factory):
    out = tmp_path_factory.mktemp(request.param)
    export_base(tiny_base.source, out, variant=request.param)
    return out


@pytest.fixture
def engine(graph):
    with Engine.load(graph, device="cpu", threads=1, max_lanes=2, context=256) as engine:
        yield engine


def _attach(engine, *adapters):
    for adapter in adapters:
        engine.attach(AdapterSpec.read(adapter.name, adapter.slots))
    return [adapter.name for adapter in adapters]


def _prompts(count):
    return [[*OPENING, *probe_tokens(models.VOCAB_SIZE, seed=50 + n, count=5 + n)] for n in range(count)]


def test_a_shared_beginning_is_computed_once(engine):
    results = [engine.generate(prompt, sampling=SAMPLING) for prompt in _prompts(4)]
    assert [result.num_reused_tokens for result in results] == [0, 32, 32, 32]
    engine._prefixes.clear()
    assert [engine.generate(prompt, sampling=SAMPLING).token_ids for prompt in _prompts(4)] == [
        result.token_ids for result in results
    ]


def test_a_prompt_that_is_known_whole_still_computes_its_last_token(engine):
    prompt = OPENING[:32]
    first, second = (engine.generate(prompt, sampling=SAMPLING) for _ in range(2))
    assert (first.num_reused_tokens, second.num_reused_tokens) == (0, 16)
    assert first.token_ids == second.token_ids


def test_of_a_prompt_that_is_too_long_to_keep_the_beginning_is_kept(engine):
    engine._prefixes._budget = 3 * engine._prefixes._block_bytes
    long = probe_tokens(models.VOCAB_SIZE, seed=9, count=100)
    first, again = (engine.generate(long, sampling=SAMPLING) for _ in range(2))
    assert (first.num_reused_tokens, again.num_reused_tokens) == (0, 48)
    assert first.token_ids == again.token_ids
    other = engine.generate(OPENING, sampling=SAMPLING)
    assert other.num_reused_tokens == 0
    assert engine.generate(long, sampling=SAMPLING).num_reused_tokens == 16, "the newest use went first, from its end"
    assert engine.violations() == []


def test_nothing_is_reused_between_compositions(engine, tiny_adapter):
    names = _attach(engine, tiny_adapter("lora"), tiny_adapter("prompt"))
    results = [engine.generate(OPENING, experts=experts, sampling=SAMPLING) for experts in ((), names[:1], names)]
    assert [result.num_reused_tokens for result in results] == [0, 0, 0]
    again = [engine.generate(OPENING, experts=experts, sampling=SAMPLING) for experts in ((), names[:1], names)]
    assert all(result.num_reused_tokens > 0 for result in again)
    assert [result.token_ids for result in again] == [result.token_ids for result in results]


def test_nothing_is_reused_after_an_adapter_was_replaced(engine, tiny_adapter):
    other = tiny_adapter("lora", 2)
    name = _attach(engine, tiny_adapter("lora", 1))[0]
    engine.generate(OPENING, experts=[name], sampling=SAMPLING)
    engine.detach(name)
    engine.attach(AdapterSpec.read(name, other.slots))
    replaced = engine.generate(OPENING, experts=[name], sampling=SAMPLING)
    assert replaced.num_reused_tokens == 0
    engine._prefixes.clear()
    assert engine.generate(OPENING, experts=[name], sampling=SAMPLING).token_ids == replaced.token_ids


def test_the_least_used_adapter_is_dropped_and_loaded_again(engine, tiny_adapter):
    adapters = [tiny_adapter("lora", seed) for seed in (1, 2, 3)]
    wanted = {}
    for adapter in adapters:
        name = _attach(engine, adapter)
        wanted[adapter.name] = engine.logits(OPENING, experts=name)
        engine.detach(adapter.name)
    size = engine.attach(AdapterSpec.read("x", adapters[0].slots)).num_bytes
    engine.detach("x")
    engine._adapters._recent.clear()
    engine._adapters._budget = 2 * size
    names = _attach(engine, *adapters)
    assert engine._adapters.resident == tuple(names[1:])
    for name in (names[0], names[2], names[1], names[0]):
        assert np.array_equal(engine.logits(OPENING, experts=[name]), wanted[name])
        assert engine._adapters.num_bytes <= 2 * size
        assert engine.violations() == []
    engine.prefetch([names[2], names[1], names[0]])
    assert set(engine._adapters.resident) == {names[2], names[1]}, "the first named are the most important"


def test_a_file_attached_lately_is_not_read_again(engine, tiny_adapter, monkeypatch):
    adapter = tiny_adapter("lora")
    wanted = engine.logits(OPENING, experts=_attach(engine, adapter))
    engine.detach(adapter.name)
    monkeypatch.setattr(
        "xpm_runtime.forms.form.load_adapter", lambda *args, **options: pytest.fail("it was read again")
    )
    engine.attach(AdapterSpec.read("renamed", adapter.slots))
    assert np.array_equal(engine.logits(OPENING, experts=["renamed"]), wanted)


def test_an_adapter_that_alone_exceeds_the_budget_is_refused(engine, tiny_adapter):
    engine._adapters._budget = 1000
    with pytest.raises(CapacityError, match="budget for experts is"):
        _attach(engine, tiny_adapter("lora"))
    assert engine.attached == ()


def test_a_budget_refuses_the_base_or_divides_what_is_left(graph):
    with pytest.raises(CapacityError, match="too small for this base"):
        Engine.load(graph, device="cpu", memory=1_000_000)
    per_token = 2 * 2 * 2 * 32 * (2 if "int4" in str(graph) else 4)
    with Engine.load(graph, device="cpu", threads=1, max_lanes=8, context=256, memory=(130 << 20)) as engine:
        assert engine._lanes.bytes_per_token in (per_token, 2 * per_token)
        report = engine.memory()
        assert report.total <= 130 << 20
        assert engine.generate([5, 6], sampling=SAMPLING).finish_reason in ("length", "stop")


def test_a_conversation_computes_only_what_is_new(engine, tiny_adapter):
    name = _attach(engine, tiny_adapter("lora"))[0]
    with engine.session(experts=[name], system="be brief, and never say more than you must") as session:
        first = session.generate("what is this about", sampling=SAMPLING)
        *pieces, second = session.stream("and that", sampling=SAMPLING)
        assert first.experts == second.experts == (name,)
        assert "".join(pieces) == second.text
        assert second.num_reused_tokens > first.num_prompt_tokens // 2
        assert [message.role for message in session.messages] == ["system", *["user", "assistant"] * 2]
        with pytest.raises(RequestError, match="in use"):
            engine.detach(name)
        session.reset()
        assert session.generate("what is this about", sampling=SAMPLING).token_ids == first.token_ids
    engine.detach(name)
    with pytest.raises(RequestError, match="was released"):
        session.generate("more")


def test_a_lane_gives_its_memory_back(graph):
    with Engine.load(graph, device="cpu", threads=1, max_lanes=1, context=256) as engine:
        engine.generate(OPENING, sampling=SAMPLING)
        array = engine._lanes._layers[0].buffer.array
        assert array.any()
        engine._lanes._layers[0].buffer.release_row(0)
        assert not array[0].reshape(-1)[: 4096 // array.itemsize].any()


def test_a_closed_engine_says_so(graph):
    engine = Engine.load(graph, device="cpu", threads=1)
    engine.close()
    engine.close()
    for call in (lambda: engine.generate([5]), lambda: engine.logits([5]), engine.step):
        with pytest.raises(RequestError, match="was closed"):
            call()
