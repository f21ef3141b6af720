"""Replicas by affinity: keys, the ring's promises, and bounds on loads."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xpm_runtime.server.affinity import Ring, composition_key

REPLICAS = [f"r{number}" for number in range(20)]
KEYS = [f"expert-{number}" for number in range(3000)]


@pytest.mark.parametrize(
    ("experts", "scales", "key"),
    [
        ((), (), ""),
        (("b", "a"), (), "a+b"),
        (("b", "a"), (1, 0.5), "a*0.5+b"),
        (("b", "a"), (1, 0), "b"),
        (("a",), (-2.0,), "a*-2"),
    ],
)
def test_a_key_says_what_acts(experts, scales, key):
    assert composition_key(experts, scales) == key


def test_nobody_is_chosen_of_none():
    assert Ring().choose("a", {}) is None


def test_a_replica_that_comes_or_goes_moves_only_what_is_its_own():
    ring = Ring(REPLICAS)
    before = {key: ring.choose(key, {}) for key in KEYS}
    shares = Counter(before.values())
    assert max(shares.values()) < 2 * len(KEYS) / len(REPLICAS) < 4 * min(shares.values())
    ring.add("new")
    after = {key: ring.choose(key, {}) for key in KEYS}
    moved = [key for key in KEYS if after[key] != before[key]]
    assert 0 < len(moved) < 2 * len(KEYS) / len(REPLICAS)
    assert {after[key] for key in moved} == {"new"}
    ring.remove("new")
    assert {key: ring.choose(key, {}) for key in KEYS} == before


@given(st.lists(st.sampled_from(KEYS[:5]), max_size=200), st.sampled_from([1.05, 1.25, 2.0]))
def test_nobody_has_more_than_its_share_and_one_more(keys, bound):
    ring, loads = Ring(REPLICAS), Counter()
    for key in keys:
        loads[ring.choose(key, loads, bound=bound)] += 1
    assert max(loads.values(), default=0) <= bound * len(keys) / len(REPLICAS) + 1
    assert set(ring.order("x")) == set(REPLICAS)
