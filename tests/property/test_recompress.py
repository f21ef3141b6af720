"""A sum of updates of low rank, re-compressed: exact at full rank, within the error asked for,
and the same in any order."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from xpm_build.adapter.recompress import spectrum_of


@st.composite
def updates(draw):
    """Some (A, B) over one linear, which may be narrower than their ranks together; one of them may be zero."""
    num_in, num_out = draw(st.integers(1, 24)), draw(st.integers(1, 24))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    pairs = []
    for rank in draw(st.lists(st.integers(1, 8), min_size=1, max_size=4)):
        a, b = rng.normal(size=(rank, num_in)), rng.normal(size=(rank, num_out))
        scale = draw(st.sampled_from([0.0, 1e-3, 1.0, 50.0]))
        pairs.append((a.astype(np.float32), (scale * b).astype(np.float32)))
    return pairs


def delta(pairs):
    return sum(b.astype(np.float64).T @ a.astype(np.float64) for a, b in pairs)


def distance(first, second):
    return np.linalg.norm(first - second) / max(np.linalg.norm(second), 1e-30)


@given(updates())
def test_nothing_is_lost_at_full_rank(pairs):
    spectrum = spectrum_of(pairs)
    assert spectrum.rank <= sum(a.shape[0] for a, _ in pairs)
    wanted = delta(pairs)
    if np.linalg.norm(wanted):
        assert distance(delta([spectrum.pair(spectrum.rank)]), wanted) < 1e-5
    else:
        assert spectrum.rank == 0


@given(updates(), st.floats(0, 0.99))
def test_the_error_asked_for_is_kept_by_the_least_rank(pairs, error):
    spectrum = spectrum_of(pairs)
    rank = spectrum.rank_for(error)
    wanted = delta(pairs)
    if not np.linalg.norm(wanted):
        return
    assert distance(delta([spectrum.pair(rank)]), wanted) <= error + 1e-5
    if rank:  # one less, and the best update there is of that rank is too far off
        values = np.linalg.svd(wanted, compute_uv=False)
        less = np.sqrt(np.square(values[rank - 1 :]).sum() / np.square(values).sum())
        assert less > error - 1e-5 or less < 1e-5


@settings(max_examples=50)
@given(updates(), st.integers(1, 12), st.randoms())
def test_the_order_does_not_matter(pairs, rank, random):
    shuffled = list(pairs)
    random.shuffle(shuffled)
    first, second = spectrum_of(pairs), spectrum_of(shuffled)
    np.testing.assert_allclose(first.values, second.values, atol=1e-9 * (1 + first.values.max(initial=0)))
    gap = first.values[rank - 1 : rank + 1]
    if len(gap) == 2 and gap[0] - gap[1] > 1e-3 * first.values[0]:  # else the best of that rank is not the only one
        found = [delta([each.pair(rank)]) for each in (first, second)]
        assert distance(*found) < 1e-4


@given(updates(), st.integers(1, 40))
def test_a_pair_has_the_rank_asked_for(pairs, rank):
    a, b = spectrum_of(pairs).pair(rank)
    assert (a.shape, b.shape) == ((rank, pairs[0][0].shape[1]), (rank, pairs[0][1].shape[1]))
    assert a.dtype == b.dtype == np.float32
