"""What can't be compiled exactly is refused; the base's digest depends on values alone."""

import json
import re
import shutil

import numpy as np
import pytest
import torch
from peft import get_peft_model
from safetensors.torch import load_file, save_file

from tests.support import models
from xpm_build.adapter.compile import compile_adapter
from xpm_build.adapter.peft_files import ADAPTER_CONFIG, ADAPTER_WEIGHTS
from xpm_build.base.architecture import Architecture
from xpm_build.base.fingerprint import fingerprint
from xpm_build.base.model_slots import adaptable
from xpm_build.base.parity import probe_tokens, reference_logits
from xpm_build.errors import BuildError
from xpm_build.packages import build_expert
from xpm_index.archive import extract_archive
from xpm_runtime import AdapterSpec, Engine


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
        ("peft_type", None, "peft_type is missing"),
        ("use_dora", "false", "use_dora must be true or false"),
        ("layer_replication", [[0, 1]], "layer_replication is not supported"),
        ("lora_bias", True, "lora_bias is not supported"),
        ("trainable_token_indices", [1], "trainable_token_indices is not supported"),
    ],
)
def test_options_that_would_be_ignored_are_refused(option, value, message, folder, model):
    config = json.loads((folder / ADAPTER_CONFIG).read_text())
    (folder / ADAPTER_CONFIG).write_text(json.dumps({**config, option: value}))
    with pytest.raises(BuildError, match=message):
        compile_adapter(folder, adaptable(model))


@pytest.mark.parametrize("kind", ["lora", "rslora"])
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"lora_alpha": None}, "lora_alpha is missing"),
        ({"lora_alpha": "16"}, "lora_alpha must be a number"),
        ({"lora_alpha": float("nan")}, "lora_alpha must be a number"),
        ({"alpha_pattern": {"q_proj(": 3}}, r"alpha_pattern has 'q_proj\(', which is no pattern"),
        ({"alpha_pattern": ["q_proj"]}, "alpha_pattern must be an object"),
        ({"alpha_pattern": {"q_proj": None}}, r"alpha_pattern\.q_proj is missing"),
        ({"rank_pattern": {"q_proj": "8"}}, r"rank_pattern\.q_proj must be a number"),
        ({"r": 4}, "are of different adapters"),
        ({"r": None}, "r is missing"),
        ({"r": 0}, "r must be a number above 0"),
    ],
)
def test_a_configuration_that_does_not_say_the_scale_is_refused(kind, changes, message, tiny_adapter, model, tmp_path):
    folder = shutil.copytree(tiny_adapter(kind).peft, tmp_path / "adapter")
    config = json.loads((folder / ADAPTER_CONFIG).read_text()) | changes
    (folder / ADAPTER_CONFIG).write_text(json.dumps({key: value for key, value in config.items() if value is not None}))
    with pytest.raises(BuildError, match=message) as caught:
        compile_adapter(folder, adaptable(model))
    assert ADAPTER_CONFIG in caught.value.message


@pytest.mark.parametrize(
    ("kind", "changes", "message"),
    [
        ("lokr", {"alpha": "x"}, "alpha must be a number"),
        ("lokr", {"r": 0}, "r must be a number above 0"),
        ("lokr", {"alpha_pattern": {"[": 1}}, "which is no pattern"),
        ("lora", {"alora_invocation_tokens": []}, "must be 1 to 64 token ids"),
        ("lora", {"alora_invocation_tokens": [1.5]}, "must be 1 to 64 token ids"),
        ("lora", {"alora_invocation_tokens": "abc"}, "must be 1 to 64 token ids"),
        ("dora", {"alora_invocation_tokens": [1]}, "can't be a DoRA"),
        ("adalora", {"init_r": "six"}, "init_r must be a number"),
        ("adalora", {"lora_alpha": [1]}, "lora_alpha must be a number"),
    ],
)
def test_so_is_one_of_another_method(kind, changes, message, tiny_adapter, model, tmp_path):
    folder = shutil.copytree(tiny_adapter(kind).peft, tmp_path / "adapter")
    config = json.loads((folder / ADAPTER_CONFIG).read_text()) | changes
    (folder / ADAPTER_CONFIG).write_text(json.dumps(config))
    with pytest.raises(BuildError, match=message):
        compile_adapter(folder, adaptable(model))


@pytest.mark.parametrize(
    ("files", "config", "message"),
    [
        (["adapters.safetensors"], {"fine_tune_type": "lora", "lora_parameters": {"rank": 8, "scale": 20.0}}, "mlx-lm"),
        (["adapters.safetensors"], None, "mlx-lm"),
        ([], {"lora_parameters": {"rank": 8}}, "mlx-lm"),
        (["adapter_model.bin"], {"peft_type": "LORA"}, "pickle"),
        (["model-lora.gguf"], None, r"llama\.cpp"),
    ],
)
def test_another_programs_adapter_is_named(files, config, message, model, tmp_path):
    for name in files:
        (tmp_path / name).write_bytes(b"")
    if config is not None:
        (tmp_path / ADAPTER_CONFIG).write_text(json.dumps(config))
    with pytest.raises(BuildError) as caught:
        compile_adapter(tmp_path, adaptable(model))
    assert re.search(message, f"{caught.value.message} {caught.value.context}")
    assert caught.value.hint


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
        compile_adapter(folder, adaptable(model))


@pytest.mark.parametrize(
    ("name", "message"), [(ADAPTER_CONFIG, "has no adapter_config"), (ADAPTER_WEIGHTS, "has no adapter_model")]
)
def test_missing_files(name, message, folder, model):
    (folder / name).rename(folder / "adapter_model.bin")
    with pytest.raises(BuildError, match=message):
        compile_adapter(folder, adaptable(model))


def test_damaged_files(folder, model):
    (folder / ADAPTER_WEIGHTS).write_bytes(b"nothing")
    with pytest.raises(BuildError, match="not a safetensors file"):
        compile_adapter(folder, adaptable(model))
    (folder / ADAPTER_CONFIG).write_text("{")
    with pytest.raises(BuildError, match="not valid JSON"):
        compile_adapter(folder, adaptable(model))


@pytest.mark.parametrize("dtype", [torch.int8, torch.bool, torch.complex64, torch.int64])
def test_weights_that_are_no_floats_are_refused_for_that(dtype, folder, model):
    weights = load_file(folder / ADAPTER_WEIGHTS)
    weights[_FIRST + "lora_A.weight"] = torch.ones(8, 64).to(dtype)
    save_file(weights, folder / ADAPTER_WEIGHTS)
    with pytest.raises(BuildError, match=f"holds {str(dtype).removeprefix('torch.')}, not floating-point") as caught:
        compile_adapter(folder, adaptable(model))
    assert "quantised" in caught.value.hint


def test_eight_bit_floats_are_cast(tiny_adapter, tiny_base, tmp_path):
    folder = shutil.copytree(tiny_adapter("lora").peft, tmp_path / "adapter")
    weights = {name: each.to(torch.float8_e4m3fn) for name, each in load_file(folder / ADAPTER_WEIGHTS).items()}
    save_file(weights, folder / ADAPTER_WEIGHTS)
    assert _built(folder, tiny_base, tmp_path).max_logit_error < 1e-4
    weights[_FIRST + "lora_A.weight"][0, 0] = float("nan")
    save_file(weights, folder / ADAPTER_WEIGHTS)
    with pytest.raises(BuildError, match="not finite"):
        compile_adapter(folder, adaptable(models.load(tiny_base.source)))


@pytest.mark.parametrize(
    "options",
    [{"fan_in_fan_out": True}, {"layers_pattern": "layers", "layers_to_transform": [1], "target_modules": ["q_proj"]}],
)
def test_options_without_effect_are_accepted(options, tiny_base, tiny_adapter, tmp_path):
    kind = "some-layers" if "layers_pattern" in options else "lora"
    folder = shutil.copytree(tiny_adapter(kind).peft, tmp_path / "adapter")
    config = json.loads((folder / ADAPTER_CONFIG).read_text())
    (folder / ADAPTER_CONFIG).write_text(json.dumps(config | options | {"target_modules": config["target_modules"]}))
    assert _built(folder, tiny_base, tmp_path).max_logit_error < 1e-4


def test_what_peft_itself_refuses_is_told(tiny_base, tiny_adapter, tmp_path):
    folder = shutil.copytree(tiny_adapter("lora").peft, tmp_path / "adapter")
    config = json.loads((folder / ADAPTER_CONFIG).read_text())
    (folder / ADAPTER_CONFIG).write_text(
        json.dumps(config | {"layers_pattern": "layers"})
    )  # and no layers_to_transform
    with pytest.raises(BuildError, match="PEFT itself can't load") as caught:
        _built(folder, tiny_base, tmp_path)
    assert "layers_to_transform" in caught.value.context


def _built(adapter, base, tmp_path):
    """The expert of one adapter, built and compared with PEFT."""
    document = {"name": "expert-x", "version": "0.1.0", "base_models": [{"name": "tiny"}]}
    (adapter / "manifest.json").write_text(json.dumps(document))
    return build_expert(adapter, tmp_path / "dist", base=base.source)


def _trained(base, folder, method, **options):
    """An adapter that ``method`` initialised, before and after something like training; the model's logits then."""
    config = models.lora(4, init_lora_weights=method, **options)
    model = get_peft_model(models.load(base.source), config)
    first, last = folder / f"{method.split('_')[0]}_init", folder / "trained"
    model.peft_config["default"].init_lora_weights = True
    model.save_pretrained(first)
    model.peft_config["default"].init_lora_weights = method
    generator = torch.Generator().manual_seed(5)
    for name, parameter in model.named_parameters():
        if "lora_" in name:
            parameter.data = parameter.data + 0.05 * torch.randn(parameter.shape, generator=generator)
    model.save_pretrained(last)
    return first, last, reference_logits(model.eval(), _TOKENS)


_TOKENS = probe_tokens(models.VOCAB_SIZE, seed=9, count=12)


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("pissa", {}),
        ("pissa_niter_4", {}),
        ("olora", {}),
        ("pissa", {"use_rslora": True}),
        ("olora", {"rank_pattern": {"q_proj": 6}, "alpha_pattern": {"q_proj": 3}}),
    ],
)
def test_an_altered_base_is_subtracted_where_the_beginning_is_known(method, options, tiny_base, tmp_path):
    first, last, wanted = _trained(tiny_base, tmp_path, method, **options)
    built = _built(last, tiny_base, tmp_path)
    extract_archive(built.path, tmp_path / "unpacked")
    with Engine.load(tiny_base.graph, device="cpu", threads=1) as engine:
        engine.attach(AdapterSpec.read("x", tmp_path / "unpacked"))
        assert np.abs(engine.logits(_TOKENS, experts=["x"]) - wanted).max() < 1e-3
    shutil.move(first, last / first.name)  # within the folder will do as well
    assert _built(last, tiny_base, tmp_path / "again").digest == built.digest


def test_an_altered_base_without_its_beginning_is_refused(tiny_base, tmp_path):
    first, last, _ = _trained(tiny_base, tmp_path, "olora")
    (first / ADAPTER_WEIGHTS).rename(tmp_path / "kept.safetensors")
    save_file({_FIRST + "lora_A.weight": torch.zeros(4, 64)}, first / ADAPTER_WEIGHTS)
    with pytest.raises(BuildError, match="is not what the adapter began as"):
        _built(last, tiny_base, tmp_path)
    shutil.rmtree(first)
    with pytest.raises(BuildError, match="initialised with OLoRA, which took a part out of the base") as caught:
        _built(last, tiny_base, tmp_path)
    assert "olora_init/" in caught.value.hint
    assert "path_initial_model_for_weight_conversion" in caught.value.hint


def test_the_fingerprint_is_of_values(model):
    rounded = {name: tensor.to(torch.bfloat16).float().numpy() for name, tensor in model.state_dict().items()}
    as_float64 = {name: tensor.astype(np.float64) for name, tensor in rounded.items()}
    assert fingerprint(as_float64, model.config) == fingerprint(rounded, model.config)
    exact = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    assert fingerprint(rounded, model.config) != fingerprint(exact, model.config)
    without_head = {name: tensor for name, tensor in rounded.items() if name != "lm_head.weight"}
    assert fingerprint(without_head, model.config) == fingerprint(rounded, model.config)


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("use_sliding_window", True, "sliding-window"),
        ("hidden_act", "gelu", "activation 'gelu'"),
        ("partial_rotary_factor", 0.5, "a part of each head"),
        ("rope_scaling", {"rope_type": "longrope"}, "'longrope'"),
        ("model_type", "mamba", "'mamba' are not supported"),
        ("head_dim", 15, "4 heads of 15 dimensions"),
        ("head_dim", 24, "must be a multiple of 16"),
        ("num_key_value_heads", 3, "over 3 are not supported"),
        ("rope_scaling", ["linear"], "must be an object"),
        ("rope_scaling", {"rope_type": "linear"}, "lacks a valid 'factor'"),
        ("rope_scaling", {"rope_type": "yarn", "factor": "4"}, "is '4', not a number"),
        ("rope_scaling", {"rope_type": "linear", "factor": 0.0}, "makes no frequencies"),
        (
            "rope_scaling",
            {"rope_type": "llama3", "factor": 8.0, "original_max_position_embeddings": 64},
            "'low_freq_factor'",
        ),
        ("rope_parameters", {"rope_theta": 1e6, "rope_type": "default"}, "Transformers does not read"),
    ],
)
def test_unsupported_bases_are_told(option, value, message):
    config = models.tiny_config()
    setattr(config, option, value)
    with pytest.raises(BuildError) as caught:
        Architecture(config)
    assert message in f"{caught.value.message} {caught.value.hint}"
