"""Choosing tokens: filters on known distributions, the penalty, seeds, and settings that are refused."""

import numpy as np
import pytest

from xpm_runtime import RequestError, SamplingParams
from xpm_runtime.errors import EngineError
from xpm_runtime.sampler import Sampler, penalise, survivors

LOGITS = np.log(np.array([0.5, 0.25, 0.15, 0.07, 0.03], np.float32))
NOTHING = np.array([], np.int64)


def kept(**settings):
    return survivors(LOGITS, SamplingParams(temperature=1.0, **settings))[0].tolist()


def plain_survivors(logits, params):
    """The same, by sorting everything."""
    probabilities = np.exp((logits.astype(np.float64) - logits.max()) / params.temperature)
    probabilities /= probabilities.sum()
    order = np.argsort(-logits, kind="stable")
    if params.top_k:
        order = order[: params.top_k]
    ranked = probabilities[order]
    if params.top_p < 1:
        order = order[: max(1, int((np.cumsum(ranked) - ranked < params.top_p * ranked.sum()).sum()))]
    return sorted(order[probabilities[order] >= params.min_p * probabilities[order][0]].tolist())


@pytest.mark.parametrize(
    ("settings", "wanted"),
    [
        ({}, [0, 1, 2, 3, 4]),
        ({"top_k": 2}, [0, 1]),
        ({"top_k": 99}, [0, 1, 2, 3, 4]),
        ({"top_p": 0.5}, [0]),
        ({"top_p": 0.6}, [0, 1]),
        ({"top_p": 1e-9}, [0]),
        ({"min_p": 0.2}, [0, 1, 2]),
        ({"top_k": 4, "top_p": 0.8, "min_p": 0.4}, [0, 1]),
    ],
)
def test_filters_keep_the_likeliest(settings, wanted):
    assert kept(**settings) == wanted


def test_what_survives_keeps_its_ratios():
    ids, weights = survivors(LOGITS, SamplingParams(temperature=1.0, top_k=2))
    assert ids.tolist() == [0, 1]
    assert weights[0] / weights[1] == pytest.approx(2.0, rel=1e-5)


@pytest.mark.parametrize("size", [5, 300, 6_000, 40_000])
@pytest.mark.parametrize("spread", [0.01, 1.0, 9.0])
@pytest.mark.parametrize(
    "settings", [{}, {"top_k": 40}, {"top_p": 0.9}, {"min_p": 0.05}, {"top_k": 50, "top_p": 0.7, "min_p": 0.02}]
)
def test_what_survives_is_what_sorting_everything_would_keep(size, spread, settings):
    rng = np.random.default_rng(size)
    logits = (spread * rng.standard_normal(size)).astype(np.float32)
    logits[rng.integers(0, size, size // 4)] = logits[0]  # equals, also at the border
    for temperature in (0.3, 1.0):
        params = SamplingParams(temperature=temperature, **settings)
        ids, wanted = survivors(logits, params)[0].tolist(), plain_survivors(logits, params)
        # What float32 can't tell from the border of top-p may fall on either side of it.
        assert len(set(ids) ^ set(wanted)) <= (2 if size > 4096 and params.top_p < 1 else 0), temperature


def test_temperature_flattens_and_sharpens():
    def share(temperature):
        weights = survivors(LOGITS, SamplingParams(temperature=temperature))[1]
        return weights[0] / weights.sum()

    assert share(10.0) < 0.3 < 0.99 < share(0.1)


@pytest.mark.parametrize("size", [5, 6_000])
@pytest.mark.filterwarnings("error")
def test_settings_at_the_edge_of_numbers_still_draw(size):
    logits = np.linspace(-30, 30, size, dtype=np.float32)
    penalties = [{"temperature": 1.0, "repetition_penalty": penalty} for penalty in (1e-40, 5e-324)]
    for settings in ({"temperature": 1e-310}, {"temperature": 1e-5}, *penalties):
        sampler = Sampler(SamplingParams(seed=1, **settings))
        assert sampler.choose(logits, np.array([size - 1])) == size - 1, settings


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("temperature", [0.0, 0.7])
def test_logits_that_are_no_numbers_are_refused(bad, temperature):
    logits = LOGITS.copy()
    logits[2] = bad
    with pytest.raises(EngineError, match="not finite"):
        Sampler(SamplingParams(temperature=temperature)).choose(logits, NOTHING)


def test_greedy_takes_the_first_of_the_likeliest():
    sampler = Sampler(SamplingParams())
    assert sampler.choose(np.array([1.0, 3.0, 3.0], np.float32), NOTHING) == 1


def test_the_penalty_pushes_seen_tokens_down_whatever_their_sign():
    logits = np.array([2.0, -2.0, 1.0], np.float32)
    assert penalise(logits, np.array([0, 1, 1, 99]), 2.0).tolist() == [1.0, -4.0, 1.0]
    assert logits.tolist() == [2.0, -2.0, 1.0]
    assert Sampler(SamplingParams(repetition_penalty=4.0)).choose(logits, np.array([0])) == 2


def test_a_seed_repeats_and_none_does_not():
    def draws(seed):
        sampler = Sampler(SamplingParams(temperature=1.0, seed=seed))
        return [sampler.choose(LOGITS, NOTHING) for _ in range(40)]

    assert draws(7) == draws(7)
    assert draws(7) != draws(8)
    assert draws(None) != draws(None)


def test_draws_follow_the_distribution():
    sampler = Sampler(SamplingParams(temperature=1.0, seed=0))
    counts = np.bincount([sampler.choose(LOGITS, NOTHING) for _ in range(4000)], minlength=5) / 4000
    assert np.abs(counts - np.exp(LOGITS)).max() < 0.03


@pytest.mark.parametrize(
    "settings",
    [
        {"max_tokens": 0},
        {"temperature": -1},
        {"temperature": float("nan")},
        {"top_k": -1},
        {"top_p": 0},
        {"top_p": 1.1},
        {"min_p": 1},
        {"repetition_penalty": 0},
        {"stop": ("",)},
        {"seed": -1},
        {"top_k": 2.5},
        {"seed": 1.5},
        {"stop": "ab"},
        {"stop": (5,)},
        {"max_tokens": 2.5},
        {"max_tokens": True},
        {"temperature": "1"},
        {"top_p": None},
        {"stop": None},
    ],
)
def test_settings_out_of_bounds_are_refused(settings):
    with pytest.raises(RequestError, match=next(iter(settings))):
        SamplingParams(**settings)
