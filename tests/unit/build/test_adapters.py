"""What can't be compiled exactly is refused; the base's digest depends on values alone."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.support import models
from xpm_build.adapters import compile_adapter
from xpm_build.architecture import Architecture
from xpm_build.errors import BuildError
from xpm_build.fingerprint import fingerprint
from xpm_build.peft_files import ADAPTER_CONFIG, ADAPTER_WEIGHTS


@pytest.fixture(scope="module")
def model(tiny_base):
    return models.load(tiny_base.source)


@pytest.fixture
def folder(tiny_adapter, tmp_path):
    shutil.copytree(tiny_adapter("dora").peft, tmp_path / "adapter")
    return tmp_path / "adapter"


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("peft_type", "LOHA", "type LOHA are not supported"),
        ("bias", "all", "bias 'all' is not supported"),
        ("modules_to_save", ["lm_head"], "modules_to_save is not supported"),
        ("fan_in_fan_out", True, "fan_in_fan_out is not supported"),
        ("layer_replication", [[0, 1]], "layer_replication is not supported"),
        ("lora_bias", True, "lora_bias is not supported"),
        ("trainable_token_indices", [1], "trainable_token_indices is not supported"),
    ],
)
def test_options_that_would_be_ignored_are_refused(option, value, message, folder, model):
    config = json.loads((folder / ADAPTER_CONFIG).read_text())
    (folder / ADAPTER_CONFIG).write_text(json.dumps({**config, option: value}))
    with pytest.raises(BuildError, match=message):
        compile_adapter(folder, model)


_FIRST = "base_model.model.model.layers.0.self_attn.q_proj."


def _nan(weights):
    weights[_FIRST + "lora_A.weight"][0, 0] = float("nan")


def _shape(weights):
    weights[_FIRST + "lora_A.weight"] = torch.zeros(8, 63)


def _half(weights):
    del weights[_FIRST + "lora_B.weight"]


def _magnitude(weights):
    del weights[_FIRST + "lora_magnitude_vector"]


def _elsewhere(weights):
    weights["base_model.model.lm_head.lora_A.weight"] = torch.zeros(8, 64)


def _beyond(weights):
    weights[_FIRST.replace("layers.0", "layers.7") + "lora_A.weight"] = torch.zeros(8, 64)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_nan, "not finite"),
        (_shape, "trained on another base|has shape"),
        (_half, "only one of lora_A and lora_B"),
        (_magnitude, "no magnitude vector"),
        (_elsewhere, "adapts nothing that has a slot"),
        (_beyond, "adapts nothing that has a slot"),
    ],
)
def test_damaged_weights_are_refused(damage, message, folder, model):
    weights = load_file(folder / ADAPTER_WEIGHTS)
    damage(weights)
    save_file(weights, folder / ADAPTER_WEIGHTS)
    with pytest.raises(BuildError, match=message):
        compile_adapter(folder, model)


@pytest.mark.parametrize(
    ("name", "message"), [(ADAPTER_CONFIG, "has no adapter_config"), (ADAPTER_WEIGHTS, "has no adapter_model")]
)
def test_missing_files(name, message, folder, model):
    (folder / name).rename(folder / "adapter_model.bin")
    with pytest.raises(BuildError, match=message):
        compile_adapter(folder, model)


def test_damaged_files(folder, model):
    (folder / ADAPTER_WEIGHTS).write_bytes(b"nothing")
    with pytest.raises(BuildError, match="not a safetensors file"):
        compile_adapter(folder, model)
    (folder / ADAPTER_CONFIG).write_text("{")
    with pytest.raises(BuildError, match="not valid JSON"):
        compile_adapter(folder, model)


def test_the_fingerprint_is_of_values(model):
    weights = {name: tensor.to(torch.bfloat16) for name, tensor in model.state_dict().items()}
    rounded = {name: tensor.to(torch.float32) for name, tensor in weights.items()}
    assert fingerprint(weights, model.config) == fingerprint(rounded, model.config)
    assert fingerprint(weights, model.config) != fingerprint(model.state_dict(), model.config)
    without_head = {name: tensor for name, tensor in rounded.items() if name != "lm_head.weight"}
    assert fingerprint(without_head, model.config) == fingerprint(rounded, model.config)


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("use_sliding_window", True, "sliding-window"), ("hidden_act", "gelu", "activation 'gelu'"),
        ("partial_rotary_factor", 0.5, "a part of each head"), ("rope_scaling", {"rope_type": "longrope"}, "'longrope'"),
        ("model_type", "mamba", "'mamba' are not supported"), ("head_dim", 15, "4 heads of 15 dimensions"),
        ("head_dim", 24, "must be a multiple of 16"), ("num_key_value_heads", 3, "over 3 are not supported"),
        ("rope_scaling", ["linear"], "must be an object"), ("rope_scaling", {"rope_type": "linear"}, "lacks a valid 'factor'"),
        ("rope_scaling", {"rope_type": "yarn", "factor": "4"}, "Transformers refuses rope_scaling"),
        ("rope_scaling", {"rope_type": "linear", "factor": 0.0}, "makes no frequencies"),
        ("rope_scaling", {"rope_type": "llama3", "factor": 8.0, "original_max_position_embeddings": 64}, "'low_freq_factor'"),
        ("rope_parameters", {"rope_theta": 1e6, "rope_type": "default"}, "Transformers does not read"),
    ],
)  # fmt: skip
def test_unsupported_bases_are_told(option, value, message):
    config = models.tiny_config()
    setattr(config, option, value)
    with pytest.raises(BuildError) as caught:
        Architecture(config)
    assert message in f"{caught.value.message} {caught.value.hint}"
