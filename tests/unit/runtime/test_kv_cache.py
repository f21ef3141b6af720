"""A request's keys and values in fewer bits and within a window: what it changes, what it
does not, and what it takes."""

import numpy as np
import pytest
import torch

from tests.support import models
from xpm_build.base.export import export_base
from xpm_build.base.parity import probe_tokens, reference_logits
from xpm_runtime import CacheSettings, CapacityError, Engine, Request, RequestError, RopeScaling, SamplingParams
from xpm_runtime.native import library

needs_kernels = pytest.mark.skipif(library() is None, reason="this machine can't run the native kernels")
LONG = probe_tokens(models.VOCAB_SIZE, seed=3, count=200)
POSITIONS = 256  # that the tiny base was made for
INT8, K8V4 = CacheSettings(kind="int8"), CacheSettings(kind="k8v4")
WINDOW = CacheSettings(window=32, sinks=4)
KINDS = (None, INT8, K8V4, WINDOW, CacheSettings(kind="k8v4", window=48, sinks=0))


@pytest.fixture(scope="module")
def quantised(tiny_base, tmp_path_factory):
    out = tmp_path_factory.mktemp("quantised")
    export_base(tiny_base.source, out, variant="int8")
    return out


@pytest.fixture(scope="module")
def engine(quantised):
    with Engine.load(quantised, device="cpu", threads=1, max_lanes=5, context=POSITIONS) as opened:
        yield opened


def _run(engine, requests):
    sequences = [engine.submit(request) for request in requests]
    while not all(each.is_finished for each in sequences):
        engine.step()
        assert engine.violations() == []
    return [each.result() for each in sequences]


def _divergence(wanted, got):
    """Mean Kullback-Leibler divergence of rows of logits."""
    p, q = (torch.log_softmax(torch.tensor(each, dtype=torch.float64), -1) for each in (wanted, got))
    return float((p.exp() * (p - q)).sum(-1).mean())


@needs_kernels
@pytest.mark.parametrize(("settings", "bound"), [(INT8, 1e-4), (K8V4, 5e-3)])
def test_fewer_bits_cost_little(settings, bound, engine):
    plain, packed = engine.logits(LONG), engine.logits(LONG, cache=settings)
    assert 0 < _divergence(plain, packed) < bound
    assert np.corrcoef(plain.ravel(), packed.ravel())[0, 1] > 0.99


@needs_kernels
def test_a_window_without_sinks_is_that_of_transformers(tiny_base, engine):
    model = models.load(tiny_base.source)
    everything = reference_logits(model, LONG)
    model.config.sliding_window = 32
    model.config.layer_types = ["sliding_attention"] * model.config.num_hidden_layers
    for layer in model.model.layers:
        layer.attention_type, layer.self_attn.sliding_window = "sliding_attention", 32
    model.model.has_sliding_layers = True
    wanted = reference_logits(model, LONG)
    assert np.abs(wanted - everything).max() > 0.5, "the window changes nothing, so parity would say nothing"
    got = engine.logits(LONG, cache=CacheSettings(window=32, sinks=0))
    assert _divergence(wanted, got) < 20 * max(_divergence(everything, engine.logits(LONG)), 1e-6)
    assert _divergence(wanted, got) < 0.02 * _divergence(wanted, everything)


@needs_kernels
def test_a_window_that_hides_nothing_changes_nothing(engine):
    assert np.array_equal(engine.logits(LONG), engine.logits(LONG, cache=CacheSettings(window=len(LONG))))


@needs_kernels
def test_requests_of_all_kinds_answer_beside_each_other_as_alone(engine):
    sampling = SamplingParams(max_tokens=24, temperature=1.0, top_k=0, seed=5)
    asked = [Request(prompt=LONG[: 120 + n], sampling=sampling, cache=each) for n, each in enumerate(KINDS)]
    alone = []
    for request in asked:
        engine._prefixes.clear()
        alone += _run(engine, [request])
    engine._prefixes.clear()
    together = _run(engine, asked)
    assert [each.token_ids for each in together] == [each.token_ids for each in alone]
    assert [each.cache for each in together] == list(KINDS)
    assert len({each.token_ids for each in together}) > 2, "they answer alike, so nothing would be told apart"


@needs_kernels
def test_prefixes_are_not_shared_between_kinds(engine):
    prompt = probe_tokens(models.VOCAB_SIZE, seed=21, count=40)
    sampling = SamplingParams(max_tokens=6)

    def reused(settings):
        (result,) = _run(engine, [Request(prompt=prompt, sampling=sampling, cache=settings)])
        return result.num_reused_tokens, result.token_ids

    first = {settings: reused(settings) for settings in KINDS}
    assert [count for count, _ in first.values()] == [0] * len(KINDS)
    again = {settings: reused(settings) for settings in KINDS}
    assert [count for count, _ in again.values()] == [32] * len(KINDS)
    assert [ids for _, ids in again.values()] == [ids for _, ids in first.values()]
    assert engine._prefixes.num_bytes == sum(
        part.nbytes for block in engine._prefixes._blocks.values() for part in block
    )


@needs_kernels
def test_what_left_a_window_is_given_back_and_never_reused(quantised):
    """As if it were kept: the same answer as of one prompt that is computed at once."""
    settings = CacheSettings(window=64, sinks=4)
    prompt = probe_tokens(models.VOCAB_SIZE, seed=22, count=900)
    with Engine.load(quantised, device="cpu", threads=1, max_lanes=2, context=1200, cache=settings) as opened:
        assert opened.context == 1200, "a window that the base was made for reaches any length"
        sequence = opened.submit(Request(prompt=prompt, sampling=SamplingParams(max_tokens=40, temperature=0)))
        held = []
        while not sequence.is_finished:
            opened.step()
            if sequence.lane is not None:
                held.append(opened._lanes.num_dropped(sequence.lane))
        assert held[-1] >= 768 - 64
        assert opened._lanes.num_dropped(0) == 0
        again = _run(opened, [Request(prompt=prompt, sampling=SamplingParams(max_tokens=1))])[0]
        assert again.num_reused_tokens == 0
        logits = opened.logits([*prompt, *sequence.token_ids[:-1]])[len(prompt) - 1 :]
        assert [int(np.argmax(row)) for row in logits] == sequence.token_ids


@needs_kernels
def test_beams_and_preempted_requests_keep_their_kind(engine):
    for settings in (INT8, WINDOW):
        engine._prefixes.clear()
        sampling = SamplingParams(max_tokens=12, temperature=0, num_beams=1)
        request = Request(prompt=LONG[:100], sampling=sampling, cache=settings)
        (wanted,) = _run(engine, [request])
        sequence = engine.submit(request)
        for _ in range(6):
            engine.step()
        engine.preempt(sequence)
        others = [engine.submit(Request(prompt=LONG[:50], sampling=SamplingParams(max_tokens=30)))]
        engine.step()
        engine.enqueue(sequence)
        while not sequence.is_finished:
            engine.step()
        engine.cancel(others[0])
        assert sequence.result().token_ids == wanted.token_ids
        beams = [
            engine.search(
                Request(
                    prompt=LONG[:100], sampling=SamplingParams(max_tokens=8, temperature=0, num_beams=3), cache=each
                )
            )
            for each in (settings, None)
        ]
        assert beams[0][0].cache == settings
        assert beams[1][0].cache is None


@needs_kernels
def test_memory_is_what_the_formula_says(quantised):
    """For each token and head: the numbers, and two bytes for the scale of a key and of a value."""
    with Engine.load(quantised, device="cpu", threads=1, max_lanes=4, context=POSITIONS) as opened:
        graph, lanes = opened.graph, opened._lanes
        heads = graph.num_layers * graph.num_kv_heads
        of = {each: lanes.bytes_of(each, 100) / 100 / heads for each in (None, INT8, K8V4)}
        assert of == {None: 4 * graph.head_dim, INT8: 2 * graph.head_dim + 4, K8V4: graph.head_dim * 3 / 2 + 4}
        assert lanes.bytes_of(WINDOW, 10**6) == (32 + 4 + 512) * lanes.bytes_per_token
        sequence = opened.submit(Request(prompt=LONG, sampling=SamplingParams(max_tokens=5), cache=INT8))
        opened.step()
        assert opened.memory().cache == len(LONG) * heads * (2 * graph.head_dim + 4)
        opened.cancel(sequence)


@needs_kernels
def test_a_budget_admits_more_in_fewer_bits(quantised):
    with Engine.load(quantised, device="cpu", threads=1, max_lanes=4, context=POSITIONS) as opened:
        opened._scheduler.token_budget = 256
        sampling = SamplingParams(max_tokens=28)
        requests = [Request(prompt=LONG[:100], sampling=sampling, cache=each) for each in (None, INT8, K8V4)]
        sequences = [opened.prepare(request) for request in requests]
        assert [opened.tokens_of(each) for each in sequences] == [128, 68, 52]
        for each in sequences:
            opened.enqueue(each)
        opened.step()
        assert [each.lane for each in sequences] == [0, 1, 2]
        assert opened.violations() == []
        for each in sequences:
            opened.cancel(each)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kind": "int4"}, "'int4' is no way to keep"),
        ({"sinks": 4}, "without a window"),
        ({"window": 15}, "the window is 15"),
        ({"window": (1 << 24) + 1}, "the window is"),
        ({"window": -1}, "the window is -1"),
        ({"window": 16, "sinks": 9}, "9 sinks"),
        ({"window": 16, "sinks": -1}, "-1 sinks"),
    ],
)
def test_what_is_no_way_to_keep_a_cache_is_refused(settings, message):
    with pytest.raises(RequestError, match=message):
        CacheSettings(**settings)


def test_a_graph_that_can_not_says_so(tiny_base):
    with pytest.raises(RequestError, match="the portable graph keeps all keys and values"):
        Engine.load(tiny_base.graph, device="cpu", cache=INT8)
    with Engine.load(tiny_base.graph, device="cpu", threads=1, max_lanes=1, context=64) as opened:
        for settings in (INT8, CacheSettings(window=16)):
            with pytest.raises(RequestError, match="keeps all keys and values as they are"):
                opened.submit(Request(prompt=LONG[:5], cache=settings))
        assert opened.generate(LONG[:5], sampling=SamplingParams(max_tokens=1)).cache is None
        (result,) = _run(
            opened, [Request(prompt=LONG[:5], sampling=SamplingParams(max_tokens=1), cache=CacheSettings())]
        )
        assert result.cache is None


@needs_kernels
def test_beyond_what_the_base_was_made_for_only_windows_reach_without_scaling(quantised):
    with Engine.load(quantised, device="cpu", threads=1, max_lanes=1, context=600, cache=WINDOW) as opened:
        sampling = SamplingParams(max_tokens=8)
        assert _run(opened, [Request(prompt=LONG * 2, sampling=sampling)])[0].rope is None
        with pytest.raises(CapacityError, match="the base was made for 256"):
            opened.submit(Request(prompt=LONG * 2, sampling=sampling, cache=INT8))
        yarn = Request(prompt=LONG * 2, sampling=sampling, cache=INT8, rope=RopeScaling.parse("yarn"))
        assert str(_run(opened, [yarn])[0].rope) == "yarn:2"
    wide = CacheSettings(window=POSITIONS, sinks=4)
    with Engine.load(quantised, device="cpu", context=600, cache=wide) as opened:
        assert opened.context == POSITIONS, "within such a window tokens are farther apart than the base knows"
