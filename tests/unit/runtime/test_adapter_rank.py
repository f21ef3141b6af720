"""Adapters cut to a lower rank, and what of a composition acts within bytes."""

import numpy as np
import pytest

from xpm_runtime.adapter_rank import MAX_ERROR, RankProfile, cut, errors_by_rank, plan_ranks
from xpm_runtime.errors import CapacityError

RANK = 6


@pytest.fixture
def update():
    """(A, B) of two linears, the second of which is smaller than the rank."""
    rng = np.random.default_rng(1)
    sizes = {"q": (20, 30), "k": (4, 9)}
    a = {name: rng.normal(size=(RANK, num_in)).astype(np.float32) for name, (num_in, _) in sizes.items()}
    b = {name: rng.normal(size=(RANK, num_out)).astype(np.float32) for name, (_, num_out) in sizes.items()}
    return a, b


@pytest.mark.parametrize("rank", range(RANK + 1))
def test_a_cut_is_the_best_of_its_rank_and_its_error_is_told(rank, update):
    a, b = update
    made_a, made_b = cut(a, b, rank)
    lost = whole = 0.0
    for name in a:
        wanted = b[name].T @ a[name]
        assert made_a[name].shape == (rank, a[name].shape[1])
        assert made_a[name].flags.c_contiguous
        off = np.linalg.norm(made_b[name].T @ made_a[name] - wanted)
        values = np.linalg.svd(wanted, compute_uv=False)
        assert off == pytest.approx(np.linalg.norm(values[rank:]), abs=1e-4)
        lost, whole = lost + off**2, whole + np.linalg.norm(wanted) ** 2
    assert errors_by_rank(a, b)[rank] == pytest.approx((lost / whole) ** 0.5, abs=1e-5)


def test_number_types_stay(update):
    a, b = update
    half = {name: each.astype(np.float16) for name, each in a.items()}
    made_a, made_b = cut(half, b, 3)
    assert {each.dtype for each in made_a.values()} == {np.dtype(np.float16)}
    assert {each.dtype for each in made_b.values()} == {np.dtype(np.float32)}


def test_of_an_update_that_is_zero_nothing_is_lost():
    zero = {"q": np.zeros((2, 4), np.float32)}
    assert errors_by_rank(zero, zero) == (0.0, 0.0, 0.0)


def profile(name, *errors, fixed=0, per_rank=10):
    return RankProfile(name=name, fixed_bytes=fixed, bytes_per_rank=per_rank, errors=errors)


FLAT = profile("flat", 1.0, 0.8, 0.6, 0.4, 0.0)  # each rank matters
STEEP = profile("steep", 1.0, 0.2, 0.1, 0.05, 0.0)  # the first one does


def test_what_fits_is_left_as_it_is():
    plan = plan_ranks([FLAT, STEEP], [0.9, 0.1], budget=80)
    assert (plan.ranks, plan.dropped, plan.notes) == ({"flat": 4, "steep": 4}, (), ())


@pytest.mark.parametrize(("budget", "rank"), [(79, 3), (70, 3), (69, 2), (60, 2), (50, 1)])
def test_ranks_are_cut_where_that_loses_least(budget, rank):
    plan = plan_ranks([FLAT, STEEP], [0.1, 0.9], budget=budget)
    assert (plan.ranks, plan.dropped) == ({"flat": 4, "steep": rank}, ())
    (note,) = plan.notes
    assert f"steep acts at rank {rank} of 4, which loses {STEEP.errors[rank]:.1%} of it" in note
    assert STEEP.errors[rank] <= MAX_ERROR


@pytest.mark.parametrize(
    ("scores", "ranks", "dropped"),
    [((0.1, 0.9), {"steep": 4}, "flat"), ((0.9, 0.1), {"flat": 4}, "steep"), ((1, 1), {"flat": 4}, "steep")],
)
def test_then_the_least_likely_is_left_out_and_ranks_come_back(scores, ranks, dropped):
    plan = plan_ranks([FLAT, STEEP], scores, budget=49)
    assert (plan.ranks, plan.dropped) == (ranks, (dropped,))
    assert plan.notes == (f"experts have 0.0 MB: {dropped} did not act",)


def test_one_that_does_not_fit_alone_is_refused():
    with pytest.raises(CapacityError, match="flat needs"):
        plan_ranks([FLAT], [1.0], budget=39)
    whole = profile("dora", 0.0, fixed=100, per_rank=0)
    assert plan_ranks([whole], [1.0], budget=100).ranks == {"dora": 0}
    with pytest.raises(CapacityError):
        plan_ranks([whole], [1.0], budget=99)
