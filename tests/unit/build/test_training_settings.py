"""The knobs of training: each is honoured, or refused with a reason."""

import dataclasses

import pytest

from tests.docs.generated import DOCS, wanted
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
        ({"attn_implementation": "magic"}, "it is one of sdpa, eager|attn_implementation"),
        ({"target_modules": [3]}, "target_modules"),
        ({"adapter_type": "ia3", "rank": 8}, "rank has no meaning with adapter_type ia3"),
        ({"adapter_type": "ia3", "use_dora": True}, "use_dora has no meaning"),
        ({"use_dora": "yes"}, "use_dora must be true or false"),
        ({"adapter_type": "ia3", "feedforward_modules": ["up_proj"]}, "must be among target_modules"),
        ({"teacher": "base"}, "teacher has no meaning with method sft"),
        ({"method": "dpo", "metric": "task"}, "metric task has no meaning"),
        ({"metric": "loss", "eval_cases": 9}, "eval_cases has no meaning with metric loss"),
        ({"method": "dpo", "eval_cases": 9}, "eval_cases has no meaning with metric loss"),
        ({"method": "dpo", "completion_only_loss": True}, "completion_only_loss has no meaning"),
        ({"method": "distillation", "teacher": "x", "label_smoothing": 0.1}, "label_smoothing has no meaning"),
        ({"packaging_checkpoint": "final"}, "packaging_checkpoint is unknown"),
        ({"label_smoothing": 0.1, "gradient_accumulation_steps": 2}, "cannot be trained with"),
        ({"label_smoothing": 0.1, "adapter_type": "prompt_tuning"}, "cannot be trained with label_smoothing"),
        ({"method": "distillation", "teacher": "x", "adapter_type": "prompt_tuning"}, "with method distillation"),
    ],
)
def test_values_that_make_no_sense(config, message):
    with pytest.raises(TrainingError, match=message):
        settings(**config)


def test_one_knob_under_two_names_must_agree():
    assert settings(r=4, rank=4).rank == 4
    with pytest.raises(TrainingError, match=r"training\.config\.r contradicts rank|rank contradicts rank"):
        settings(rank=8, r=4)


@pytest.mark.parametrize("knob", sorted(_REFUSED))
def test_a_knob_that_is_off_asks_for_nothing(knob):
    assert settings(**{knob: False}) == settings(**{knob: "none"}) == settings()


def test_a_missing_config_is_named():
    with pytest.raises(TrainingError, match=r"training\.config is missing"):
        training_settings({"training": {}})


def test_older_spellings_of_the_adapter():
    assert settings(adapter_type="lora", use_dora=True).adapter_type == "dora"
    assert settings(adapter_type="lora", use_rslora=True).adapter_type == "rslora"
    assert settings(target_modules="all-linear").target_modules == settings().target_modules
    assert settings(adapter_type="ia3").target_modules == ("k_proj", "v_proj", "down_proj")
    assert settings(adapter_type="ia3", target_modules=["k_proj"]).feedforward_modules == ()
    assert not settings(packing=True).group_by_length
    assert settings(method="dpo").metric == "loss"


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"packaging_chekpoint": "final"}, "did you mean|packaging_chekpoint is unknown"),
        ({"packaging_checkpoint": "latest"}, "'latest' is no checkpoint"),
        ({"packaging_checkpoint": "checkpoint-150"}, "names step 150, where none is written"),
    ],
)
def test_the_packaged_checkpoint_is_known_before_training(section, message):
    with pytest.raises(TrainingError, match=message):
        training_settings({"training": {"config": {}, **section}})


def test_what_is_kept_decides_nothing_of_the_training():
    plain = training_settings({"training": {"config": {}}})
    other = training_settings(
        {"training": {"config": {"save_total_limit": 9, "save_minutes": 0}, "packaging_checkpoint": "final"}}
    )
    assert plain.trained_by() == other.trained_by()


def test_the_table_of_the_docs_is_the_one_of_the_program():
    page = DOCS / "reference" / "training.md"
    document = page.read_text(encoding="utf-8")
    assert document == wanted()[page], "write it with `python -m tests.docs`"
    assert "| `rank` | 16 | 1 to 256 |" in document
