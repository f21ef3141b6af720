"""The labelled requests are what they should be, and routing by cards alone is not worse than it was."""

import pytest

from tests.routing.dataset import REQUESTS, cards, judged, labelled, split_accuracy
from xpm_runtime.router.route import Router
from xpm_runtime.router.vectors import own_vectors


def families(split):
    parts = [*REQUESTS["experts"].values(), REQUESTS["general"], *REQUESTS["together"]]
    return {frame for part in parts for frame in part.get(split, ())}


def test_no_family_is_in_two_splits():
    splits = [families(split) for split in ("train", "tune", "held")]
    assert len(set.union(*splits)) == sum(map(len, splits))


def test_there_are_enough():
    assert len(REQUESTS["experts"]) >= 20
    assert sum(len(labelled(split)) for split in ("train", "tune", "held")) >= 2000
    assert {row.prompt for row in labelled("tune")}.isdisjoint(row.prompt for row in labelled("held"))


@pytest.mark.parametrize(("split", "least"), [("tune", 0.9), ("held", 0.72)])
def test_cards_alone(split, least):
    rows = labelled(split)
    shares = split_accuracy(judged(Router(cards(), encoders=[own_vectors()]), rows), rows)
    assert shares["all"] >= least
