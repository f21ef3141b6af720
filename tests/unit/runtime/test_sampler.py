"""Choosing tokens: filters on known distributions, the penalty, seeds, and settings that are refused."""

import numpy as np
import pytest

from xpm_runtime import RequestError, SamplingParams
from xpm_runtime.sampler import Sampler, filtered_probabilities, penalise

LOGITS = np.log(np.array([0.5, 0.25, 0.15, 0.07, 0.03], np.float32))
NOTHING = np.array([], np.int64)


def kept(**settings):
    params = SamplingParams(temperature=1.0, **settings)
    return np.flatnonzero(filtered_probabilities(LOGITS, params)).tolist()


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


def test_filtered_probabilities_sum_to_one_and_keep_their_ratios():
    probabilities = filtered_probabilities(LOGITS, SamplingParams(temperature=1.0, top_k=2))
    assert probabilities.sum() == pytest.approx(1.0)
    assert probabilities[0] / probabilities[1] == pytest.approx(2.0, rel=1e-5)


def test_temperature_flattens_and_sharpens():
    hot, cold = (filtered_probabilities(LOGITS, SamplingParams(temperature=t))[0] for t in (10.0, 0.1))
    assert hot < 0.3 < 0.99 < cold


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
        {"max_tokens": 0}, {"temperature": -1}, {"temperature": float("nan")}, {"top_k": -1}, {"top_p": 0}, {"top_p": 1.1},
        {"min_p": 1}, {"repetition_penalty": 0}, {"stop": ("",)}, {"seed": -1},
    ],
)  # fmt: skip
def test_settings_out_of_bounds_are_refused(settings):
    with pytest.raises(RequestError, match=next(iter(settings))):
        SamplingParams(**settings)
