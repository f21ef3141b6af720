"""Training beside frozen experts: they act as they would, the loss holds their answers, and a run goes on as it was."""

import json
import shutil

import pytest
import safetensors.numpy
import torch
from numpy.testing import assert_array_equal

from xpm_build.adapter.together import Together
from xpm_build.errors import BuildError, TrainingError
from xpm_build.prompts import end_of_turn, load_tokenizer
from xpm_build.rows import write_rows
from xpm_build.training.adapter import with_adapter
from xpm_build.training.beside import divergence, read_others
from xpm_build.training.run import train
from xpm_build.training.settings import training_settings

_CONFIG = {
    "rank": 2,
    "learning_rate": 5e-3,
    "batch_size": 2,
    "gradient_accumulation_steps": 2,
    "max_steps": 4,
    "eval_steps": 2,
    "metric": "loss",
    "bf16": False,
    "beside": ["../expert-a", "../expert-b"],
}


def document(**config):
    return {
        "schema_version": "2.0",
        "name": "expert-new",
        "version": "0.1.0",
        "base_models": [{"name": "tiny"}],
        "training": {"config": {**_CONFIG, **config}},
    }


@pytest.fixture
def expert(tiny_adapter, tmp_path):
    """``expert(name, seed)``: a folder with rows, and with a random adapter unless ``seed`` is 0."""

    def make(name, seed=0, kind="lora", **config):
        folder = tmp_path / name
        if seed:
            shutil.copytree(tiny_adapter(kind, seed).peft, folder)
        rows = [{"prompt": f"{name} {number}", "completion": f"yes {number}"} for number in range(12)]
        write_rows(folder / "data/train.jsonl", rows[:8])
        write_rows(folder / "data/valid.jsonl", rows[8:])
        (folder / "manifest.json").write_text(json.dumps({**document(**config), "name": name}))
        return folder

    return make


@pytest.fixture
def folder(expert):
    expert("expert-a", 1)
    expert("expert-b", 2)
    return expert("expert-new")


def beside(folder, base, **config):
    settings = training_settings(document(**config))
    model = with_adapter(settings, base).eval()
    tokenizer = load_tokenizer(base)
    others = read_others(folder, settings, base, tokenizer, end_of_turn(base, tokenizer))
    others.hook(model)
    return model, others


def test_the_others_act_as_they_would(folder, tiny_base, tmp_path):
    model, others = beside(folder, tiny_base.source)
    folders = {name: folder.parent / name for name in ("expert-a", "expert-b")}
    together = Together(tiny_base.source, folders, tmp_path)
    ids = torch.arange(20, 32)[None]
    with torch.no_grad():
        for acting in ((), (0,), (1,), (0, 1)):
            together.set_scales(torch.tensor([float(number in acting) for number in range(2)]))
            with others.at_work(frozenset(acting)):  # the new adapter changes nothing yet
                got = model(input_ids=ids).logits
            assert torch.allclose(got, together.model(input_ids=ids).logits, atol=1e-4)
        assert not others.acting
    assert not any("expert" in name or "beside" in name for name, _ in model.named_parameters())


def test_what_the_others_say_is_held(folder, tiny_base):
    model, others = beside(folder, tiny_base.source)
    assert divergence(model, others, 1, others.rows[1][:2]).item() == pytest.approx(0, abs=1e-6)
    with torch.no_grad():
        for name, each in model.named_parameters():
            if ".lora_B." in name:
                each.normal_(std=0.1)
    lost = divergence(model, others, 1, others.rows[1][:2])
    assert lost.item() > 1e-3
    lost.backward()
    grads = {name: each.grad for name, each in model.named_parameters() if each.grad is not None}
    assert grads
    assert all(".lora_" in name for name in grads)
    alone = divergence(model, others, 0, others.rows[0][:2])
    assert alone.item() != lost.item()


def test_a_run_goes_on_as_it_was(folder, tiny_base):
    train(folder, tiny_base.source)
    whole = safetensors.numpy.load_file(folder / "adapter_model.safetensors")
    assert not any("beside" in name for name in whole)
    shutil.rmtree(folder / "training/checkpoints/checkpoint-4")
    report = train(folder, tiny_base.source)
    assert report.steps == 4
    for name, each in safetensors.numpy.load_file(folder / "adapter_model.safetensors").items():
        assert_array_equal(each, whole[name])
    rows = [{"prompt": "other", "completion": "row"}]
    write_rows(folder.parent / "expert-a/data/train.jsonl", rows)
    with pytest.raises(TrainingError, match="other settings, data or base"):
        train(folder, tiny_base.source)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"adapter_type": "dora"}, "beside has no meaning with adapter_type dora"),
        ({"adapter_type": "ia3", "rank": None}, "beside has no meaning with adapter_type ia3"),
        ({"method": "dpo", "metric": None}, "beside has no meaning with method dpo"),
        ({"gradient_checkpointing": True}, "cannot be had with beside"),
        ({"torch_compile": True}, "cannot be had with beside"),
        ({"beside": [], "beside_weight": 1}, "no meaning without beside"),
        ({"beside_weight": -1}, "beside_weight must be 0 or more"),
        ({"beside": "../expert-a"}, "beside"),
    ],
    ids=str,
)
def test_settings_that_make_no_sense(config, message):
    with pytest.raises(TrainingError, match=message):
        training_settings(document(**config))


def test_nothing_of_it_is_in_what_a_run_without_it_belongs_to():
    settings = training_settings(document(beside=None))
    assert not {"beside", "beside_weight"} & settings.trained_by().keys()


def test_experts_that_cannot_act_beside_are_refused(expert, tiny_base):
    made = expert("expert-new")
    expert("expert-ia3", 1, kind="ia3")
    expert("expert-bare", 1)
    shutil.rmtree(made.parent / "expert-bare/data")
    for named, kind, message in (
        (["../none"], TrainingError, "../none is no expert's folder"),
        (["../expert-ia3", "../expert-ia3"], TrainingError, "names an expert twice"),
        (["../expert-ia3"], BuildError, "expert-ia3 is no plain update"),
        (["../expert-bare"], TrainingError, "expert-bare has no rows"),
    ):
        (made / "manifest.json").write_text(json.dumps(document(beside=named)))
        with pytest.raises(kind, match=message):
            train(made, tiny_base.source)
        assert not (made / "training").exists()
