"""Positions scaled for one request: what Transformers computes with that scaling, chosen by
length, each request its own."""

import numpy as np
import pytest
import torch
from transformers.models.qwen3.modeling_qwen3 import Qwen3RotaryEmbedding

from tests.support import models
from tests.support.models import tiny_config
from xpm_build.base.export import export_base
from xpm_build.base.parity import probe_tokens, reference_logits
from xpm_runtime import CapacityError, Engine, Request, RequestError, RopeScaling, SamplingParams
from xpm_runtime.rope import rope_tables
from xpm_runtime.rope_cache import RopeTables
from xpm_runtime.rope_scaling import positions_before_scaling

POSITIONS = 256  # that the tiny base was made for
LONG = probe_tokens(models.VOCAB_SIZE, seed=3, count=700)
TOLERANCE = 1e-4
_OF_LLAMA3 = {"low_freq_factor": 1.0, "high_freq_factor": 4.0}
AS_TRANSFORMERS_SAYS = {
    "linear:4": {"rope_type": "linear", "factor": 4.0},
    "yarn:4": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": POSITIONS},
    "yarn": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": POSITIONS},
    "ntk-by-parts:4": {
        "rope_type": "yarn",
        "factor": 4.0,
        "original_max_position_embeddings": POSITIONS,
        "attention_factor": 1.0,
    },
    "llama3:8": {"rope_type": "llama3", "factor": 8.0, "original_max_position_embeddings": POSITIONS, **_OF_LLAMA3},
}


@pytest.fixture(scope="module")
def engine(tiny_base):
    with Engine.load(
        tiny_base.graph, device="cpu", threads=1, max_lanes=4, context=1200, rope=RopeScaling.parse("yarn")
    ) as opened:
        yield opened


def _reference(tiny_base, scaling, tokens):
    model = models.load(tiny_base.source)
    model.config.rope_parameters = {"rope_theta": 10_000.0, **scaling}
    model.config.rope_scaling = model.config.rope_parameters
    model.model.rotary_emb = Qwen3RotaryEmbedding(model.config)
    return reference_logits(model, tokens)


@pytest.mark.parametrize("asked", AS_TRANSFORMERS_SAYS)
def test_a_long_prompt_is_read_as_transformers_reads_it(asked, tiny_base, engine):
    got = engine.logits(LONG, rope=RopeScaling.parse(asked))
    wanted = _reference(tiny_base, AS_TRANSFORMERS_SAYS[asked], LONG)
    unscaled = _reference(tiny_base, {"rope_type": "default"}, LONG)
    assert np.abs(wanted - unscaled).max() > 0.01, "the scaling changes nothing, so parity would say nothing"
    assert np.abs(got - wanted).max() < TOLERANCE


def test_dynamic_scaling_is_that_of_transformers_at_the_requests_length(tiny_base):
    """Its length rounded up to 1,024 here; Transformers scales anew whenever a text grows, and
    leaves older keys as they were."""
    config = tiny_config(rope_scaling={"rope_type": "dynamic", "factor": 1.0}, max_position_embeddings=POSITIONS)
    wanted, _ = Qwen3RotaryEmbedding(config)(torch.zeros(1, 1024, 32), torch.arange(1024)[None])
    scaling = RopeScaling.parse("dynamic").for_length(700, POSITIONS)
    cos, _ = rope_tables(
        head_dim=32,
        theta=10_000.0,
        num_positions=1024,
        scaling=scaling.settings(POSITIONS),
        dtype="float32",
        is_asked=True,
    )
    assert np.abs(cos - wanted[0, :, :16].numpy()).max() < 2e-4


def test_ntk_keeps_the_fastest_dimension_and_divides_the_slowest():
    scaled, plain = (
        rope_tables(head_dim=32, theta=1e4, num_positions=2, scaling=each, dtype="float64", is_asked=True)[1][1]
        for each in ({"rope_type": "ntk", "factor": 4.0}, None)
    )
    assert np.arcsin(scaled[0]) == pytest.approx(np.arcsin(plain[0]))
    assert np.arcsin(scaled[-1]) == pytest.approx(np.arcsin(plain[-1]) / 4)


def test_what_fits_is_not_scaled(tiny_base, engine):
    tokens = LONG[:200]
    wanted = reference_logits(models.load(tiny_base.source), tokens)
    assert np.abs(engine.logits(tokens) - wanted).max() < TOLERANCE
    result = engine.generate(tokens, sampling=SamplingParams(max_tokens=56, temperature=0.0))
    assert result.rope is None
    longer = engine.generate(tokens, sampling=SamplingParams(max_tokens=57, temperature=0.0))
    assert str(longer.rope) == "yarn:2"


def _tokens_of(engine, requests):
    sequences = [engine.submit(request) for request in requests]
    while not all(each.is_finished for each in sequences):
        engine.step()
        assert engine.violations() == []
    return [(each.result().token_ids, str(each.result().rope)) for each in sequences]


def test_requests_of_different_scalings_run_beside_each_other(engine):
    """Each answers as alone, and none finds what another scaling computed of the same prompt."""
    sampling = SamplingParams(max_tokens=20, temperature=1.0, top_k=0, seed=5)
    asked = [
        Request(prompt=LONG[:count], sampling=sampling, rope=None if rope is None else RopeScaling.parse(rope))
        for count, rope in ((600, "yarn"), (600, "linear:4"), (100, None), (600, "dynamic"))
    ]
    alone = [_tokens_of(engine, [request])[0] for request in asked]
    assert [rope for _, rope in alone] == ["yarn:4", "linear:4", "None", "ntk:4"]
    assert len({tokens for tokens, _ in alone}) > 2, "they answer alike, so nothing would be told apart"
    assert _tokens_of(engine, asked) == alone
    assert _tokens_of(engine, asked[::-1]) == alone[::-1]


def test_the_same_prompt_is_reused_under_the_same_scaling_alone(engine):
    sampling = SamplingParams(max_tokens=1)
    prompt = probe_tokens(models.VOCAB_SIZE, seed=11, count=400)
    reused = [
        engine.submit(Request(prompt=prompt, sampling=sampling, rope=RopeScaling.parse(rope)))
        for rope in ("linear:2", "linear:2", "linear:3")
    ]
    while not all(each.is_finished for each in reused):
        engine.step()
    again = [
        engine.generate(prompt, sampling=sampling).num_reused_tokens,
        engine.generate(prompt, sampling=sampling).num_reused_tokens,
    ]
    assert reused[2].num_reused == 0
    assert again == [0, 384]


def test_our_own_kernels_scale_as_the_portable_graph_does(tiny_base, tmp_path):
    export_base(tiny_base.source, tmp_path / "int8", variant="int8")
    found = []
    for kernels in ("portable", "native"):
        with Engine.load(
            tmp_path / "int8", device="cpu", threads=1, context=800, kernels=kernels, rope=RopeScaling.parse("yarn:4")
        ) as opened:
            found.append(opened.logits(LONG))
    assert np.abs(found[0] - found[1]).max() < 0.2
    assert np.corrcoef(found[0].ravel(), found[1].ravel())[0, 1] > 0.999


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("spiral", "'spiral' is no way"),
        ("yarn:", "'yarn:' is no way"),
        ("yarn:1.2.3", "is no way"),
        ("yarn:1", "the factor of yarn is 1"),
        ("yarn:65", "the factor of yarn is 65"),
        ("linear:nan", "is no way"),
        ("dynamic:2", "takes its factor from"),
        ("", "'' is no way"),
    ],
)
def test_what_is_no_scaling_is_refused(text, message):
    with pytest.raises(RequestError, match=message):
        RopeScaling.parse(text)


def test_beyond_its_reach_a_request_is_refused(engine):
    with pytest.raises(CapacityError, match=r"linear:2 reaches 512"):
        engine.submit(Request(prompt=LONG, rope=RopeScaling.parse("linear:2")))
    assert engine.step().num_prefilled == 0


def test_without_scaling_a_lane_holds_what_the_base_was_made_for(tiny_base):
    with Engine.load(tiny_base.graph, device="cpu", context=5000) as opened:
        assert opened.context == POSITIONS
    with Engine.load(tiny_base.graph, device="cpu", context=5000, rope=RopeScaling.parse("yarn:4")) as opened:
        assert opened.context == 4 * POSITIONS


def test_factors_reach_the_length(tiny_base):
    yarn = RopeScaling.parse("yarn")
    factors = {length: yarn.for_length(length, 256) for length in (1, 256, 257, 512, 513, 1024, 1025, 64 * 256)}
    assert {length: each and each.factor for length, each in factors.items()} == {
        1: None,
        256: None,
        257: 2.0,
        512: 2.0,
        513: 4.0,
        1024: 4.0,
        1025: 8.0,
        16384: 64.0,
    }
    with pytest.raises(CapacityError):
        yarn.for_length(64 * 256 + 1, 256)


def test_only_the_latest_tables_are_kept(engine):
    tables = RopeTables(engine.graph, num_positions=32, dtype="float32")
    first = tables.of(RopeScaling("yarn", 2.0))
    for factor in range(3, 9):
        tables.of(RopeScaling("yarn", float(factor)))
    assert tables.of(RopeScaling("yarn", 2.0)) is not first
    assert tables.of(None) is tables.of(None)


@pytest.mark.parametrize(
    ("scaling", "wanted"),
    [
        (None, 4096),
        ({"rope_type": "default", "original_max_position_embeddings": 64}, 4096),
        ({"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 1024}, 1024),
        ({"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 1 << 40}, 4096),
    ],
)
def test_a_base_that_was_scaled_already_is_scaled_from_where_it_began(scaling, wanted):
    assert positions_before_scaling(4096, scaling) == wanted
