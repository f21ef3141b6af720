"""The knobs of training: each is honoured, or refused with a reason."""

import dataclasses

import pytest

from xpm_build.errors import TrainingError
from xpm_build.training.settings import _REFUSED, TrainingSettings, training_settings


def settings(**config):
    return training_settings({"training": {"config": config}})


def test_defaults_are_whole():
    found = settings()
    assert found.method == "sft"
    assert found.alpha == 2 * found.rank
    assert {field.name for field in dataclasses.fields(TrainingSettings)} == set(TrainingSettings.__slots__)


@pytest.mark.parametrize("knob", sorted(_REFUSED))
def test_what_is_not_supported_says_why(knob):
    with pytest.raises(TrainingError, match=rf"training\.config\.{knob} is not supported") as caught:
        settings(**{knob: "x"})
    assert caught.value.context


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"learning_rat": 1e-3}, "did you mean learning_rate|is unknown"),
        ({"method": "rlhf"}, "rlhf is not supported"),
        ({"method": "magic"}, "method 'magic' is unknown"),
        ({"method": "distillation"}, "teacher is missing"),
        ({"rank": 0}, "rank must be 1 to 256"),
        ({"rank": 1.5}, "rank must be a whole number"),
        ({"learning_rate": -1}, "learning_rate must be more than 0"),
        ({"dropout": 1.5}, "dropout must be between"),
        ({"packing": "yes"}, "packing must be true or false"),
        ({"save_steps": 50, "eval_steps": 100}, "save_steps must equal eval_steps"),
        ({"method": "dpo", "packing": True}, "packing has no meaning"),
        ({"packing": True, "group_by_length": True}, "group_by_length has no meaning"),
        ({"adapter_type": "prompt_tuning", "target_modules": ["q_proj"]}, "target_modules has no meaning"),
        ({"lr_scheduler": "magic"}, "lr_scheduler"),
        ({"target_modules": [3]}, "target_modules"),
    ],
)
def test_values_that_make_no_sense(config, message):
    with pytest.raises(TrainingError, match=message):
        settings(**config)


def test_a_missing_config_is_named():
    with pytest.raises(TrainingError, match=r"training\.config is missing"):
        training_settings({"training": {}})


def test_older_spellings_of_the_adapter():
    assert settings(adapter_type="lora", use_dora=True).adapter_type == "dora"
    assert settings(adapter_type="lora", use_rslora=True).adapter_type == "rslora"
    assert settings(target_modules="all-linear").target_modules == settings().target_modules
    assert settings(adapter_type="ia3").target_modules == ("k_proj", "v_proj", "down_proj")
    assert not settings(packing=True).group_by_length
