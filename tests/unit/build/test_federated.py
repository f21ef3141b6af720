"""Federated averaging: how rows are spread, that the rounds are Flower's mean, and what is refused."""

import json
import math
import shutil

import numpy as np
import pytest

from xpm_build.errors import TrainingError
from xpm_build.federated.options import FederatedOptions, epsilon_of, require_sense
from xpm_build.federated.shares import spread
from xpm_build.rows import write_rows

_ROWS = [{"prompt": f"p {number}", "completion": "c", "family": f"f{number % 4}"} for number in range(400)]


def test_rows_are_spread_evenly_or_not():
    for concentration in (None, 0.1, 100.0):
        shares = spread(_ROWS, 10, concentration=concentration, seed=1)
        assert shares == spread(_ROWS, 10, concentration=concentration, seed=1)
        assert shares != spread(_ROWS, 10, concentration=concentration, seed=2)
        spread_out = sorted(row["prompt"] for share in shares for row in share)
        assert spread_out == sorted(row["prompt"] for row in _ROWS)
        assert all(shares)
    assert {len(share) for share in spread(_ROWS, 10, concentration=None, seed=1)} == {40}

    def largest(concentration):
        """The mean over kinds of the largest share of a kind that one client has."""
        shares = spread(_ROWS, 10, concentration=concentration, seed=1)
        return np.mean(
            [max(sum(row["family"] == f"f{kind}" for row in share) for share in shares) for kind in range(4)]
        )

    assert largest(0.1) > 50 > 20 > largest(100.0)


def test_spreading_has_bounds():
    assert [len(share) for share in spread(_ROWS[:3], 3, concentration=None, seed=1)] == [1, 1, 1]
    assert all(spread(_ROWS[:4], 4, concentration=0.01, seed=1))
    with pytest.raises(TrainingError, match="2 rows are too few for 3"):
        spread(_ROWS[:2], 3, concentration=None, seed=1)
    with pytest.raises(TrainingError, match="one family"):
        spread(_ROWS[::4], 3, concentration=1.0, seed=1)


def test_what_privacy_costs():
    assert epsilon_of(0.0, 5) == math.inf
    assert epsilon_of(1.0, 1) == pytest.approx(0.5 + math.sqrt(2 * math.log(1e5)))
    assert epsilon_of(2.0, 5) < epsilon_of(1.0, 5) < epsilon_of(1.0, 6)


@pytest.mark.parametrize(
    "options",
    [{"clients": 1}, {"clients": 1001}, {"rounds": 0}, {"steps": 0}, {"noise": -1.0}, {"noise": math.nan}]
    + [{"clip": 0.0}, {"clip": math.inf}, {"concentration": 0.0}, {"concentration": math.nan}],
    ids=str,
)
def test_options_have_bounds(options):
    with pytest.raises(TrainingError, match="sense"):
        require_sense(FederatedOptions(**options))


@pytest.fixture
def folder(tmp_path):
    """An expert's folder with rows and without an adapter."""
    made = tmp_path / "expert"
    write_rows(made / "data/train.jsonl", _ROWS[:40])
    write_rows(made / "data/valid.jsonl", _ROWS[40:48])

    def write(**config):
        document = {
            "schema_version": "2.0",
            "name": "expert-facts",
            "version": "0.1.0",
            "base_models": [{"name": "tiny"}],
            "training": {"config": {"rank": 2, "batch_size": 4, "learning_rate": 5e-3, **config}},
        }
        (made / "manifest.json").write_text(json.dumps(document))
        return made

    return write


def test_the_last_average_is_the_adapter(folder, tiny_base):
    pytest.importorskip("flwr", reason="needs the federated extra")
    import safetensors.numpy

    from xpm_build.federated.run import federate

    options = FederatedOptions(clients=3, rounds=2, steps=2)
    place, said, kept = folder(), [], []
    for _ in range(2):
        found = federate(place, tiny_base.source, options, report=said.append)
        kept.append(safetensors.numpy.load_file(place / "adapter_model.safetensors"))
    assert all(np.allclose(each, kept[1][name], atol=1e-6) for name, each in kept[0].items()), "it is repeatable"
    assert found.rows == (14, 13, 13)
    assert found.losses[2] < found.losses[0]
    assert said[0].startswith("round 0/2  validation loss ")
    document = json.loads((place / "training/federated.json").read_text())
    assert document["options"]["clients"] == 3
    assert document["epsilon"] is None
    frozen = federate(place, tiny_base.source, FederatedOptions(clients=3, rounds=1, steps=1, freeze_a=True))
    b_alone = safetensors.numpy.load_file(place / "adapter_model.safetensors")
    first = {name: each for name, each in b_alone.items() if "lora_A" in name}
    federate(place, tiny_base.source, FederatedOptions(clients=3, rounds=2, steps=2, freeze_a=True))
    later = safetensors.numpy.load_file(place / "adapter_model.safetensors")
    assert all(np.array_equal(each, later[name]) for name, each in first.items()), "A stays as it was drawn"
    assert frozen.losses[1] < frozen.losses[0]


def test_a_round_is_the_mean_of_what_clients_send_and_noise_is_bounded_by_the_clip(tiny_base):
    pytest.importorskip("flwr", reason="needs the federated extra")
    from xpm_build.federated.client import Learner
    from xpm_build.federated.server import rounds_of
    from xpm_build.training.adapter import with_adapter
    from xpm_build.training.settings import training_settings

    class Adds(Learner):
        """A client's training adds 0.01 times its number of rows."""

        def train(self, rows, label):
            self.put([each + np.float32(0.01 * len(rows)) for each in self.arrays()])
            return 0.0

    settings = training_settings({"training": {"config": {"rank": 2}}})
    model = with_adapter(settings, tiny_base.source)
    learner = Adds(model, learning_rate=1e-3, batch_size=1, steps=1, seed=1)
    before, size = learner.arrays(), sum(each.size for each in learner.arrays())
    row = ([5, 6], [7])

    def moved(options):
        learner.put(before)
        rounds_of(learner, [[row], [row] * 3], [row], options, report=lambda text: None)
        return np.concatenate([(now - then).ravel() for now, then in zip(learner.arrays(), before, strict=True)])

    plain = moved(FederatedOptions(clients=2, rounds=1))
    assert np.allclose(plain, (1 * 0.01 + 3 * 0.03) / 4, atol=1e-6), "clients count by their rows"
    options = FederatedOptions(clients=2, rounds=1, noise=0.5, clip=0.1)
    np.random.seed(1)
    noised = moved(options)
    assert noised.std() == pytest.approx(0.5 * 0.1 / 2, rel=0.1)
    assert abs(noised.mean() - 0.1 / math.sqrt(size)) < 0.2 * 0.5 * 0.1 / 2, "both updates are cut to the clip"


def test_what_is_not_averaged_is_refused(folder, tiny_base, tmp_path):
    from xpm_build.federated.run import federate

    options = FederatedOptions(clients=3, rounds=1, steps=1)
    for config in ({"adapter_type": "dora"}, {"adapter_type": "ia3", "rank": None}, {"method": "dpo"}):
        with pytest.raises(TrainingError, match="not trained in rounds"):
            federate(folder(**config), tiny_base.source, options)
    shutil.rmtree(folder() / "data")
    with pytest.raises(TrainingError, match="does not exist"):
        federate(folder(), tiny_base.source, options)
    assert not (tmp_path / "expert/training").exists()
