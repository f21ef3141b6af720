"""Loading a base: what graph.json may not be, devices that are not there, RoPE tables, and what importing costs."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from transformers import Qwen3Config
from transformers.models.qwen3.modeling_qwen3 import Qwen3RotaryEmbedding

from xpm_build.base.architecture import Architecture
from xpm_runtime import Engine, ModelLoadError
from xpm_runtime.rope import rope_tables
from xpm_runtime.session import _has_driver


def _copy(tiny_base, folder, **changes):
    shutil.copytree(tiny_base.graph, folder, dirs_exist_ok=True)
    document = json.loads((folder / "graph.json").read_text())
    (folder / "graph.json").write_text(
        json.dumps({key: value for key, value in (document | changes).items() if value != "-"})
    )
    return folder


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": "other"}, "has format"),
        ({"dtype": "int3"}, "dtype 'int3'"),
        ({"num_layers": "-"}, "malformed"),
        ({"linears": [{"name": 1}]}, "malformed"),
        ({"num_layers": 0}, "num_layers"),
        ({"head_dim": 2.5}, "head_dim"),
        ({"vocab_size": float("inf")}, "vocab_size"),
        ({"hidden_size": True}, "hidden_size"),
        ({"eos_token_ids": ["a"]}, "eos_token_ids"),
        ({"eos_token_ids": [-1]}, "eos_token_ids"),
        ({"linears": [{"name": "0.q_proj", "in": 64, "out": -1}]}, "out"),
        ({"rope": []}, "malformed"),
        ({"rope": {"theta": "many"}}, "malformed"),
        ({"rope": {"theta": 0.0}}, "no frequencies"),
        ({"rope": {"theta": 1e4, "scaling": 5}}, "malformed"),
        ({"rope": {"theta": 1e4, "scaling": {"rope_type": "spiral"}}}, "'spiral' is not supported"),
        ({"rope": {"theta": 1e4, "scaling": {"rope_type": "linear"}}}, "factor"),
        ({"rope": {"theta": 1e4, "scaling": {"rope_type": "linear", "factor": 0}}}, "no frequencies"),
        ({"rope": {"theta": 1e4, "scaling": {"rope_type": "linear", "factor": float("nan")}}}, "no frequencies"),
        ({"rope": {"theta": 1e4, "scaling": {"rope_type": "yarn", "factor": 4.0}}}, "original_max_position_embeddings"),
    ],
)
def test_a_wrong_graph_description(changes, message, tiny_base, tmp_path):
    with pytest.raises(ModelLoadError) as caught:
        Engine.load(_copy(tiny_base, tmp_path / "base", **changes), device="cpu")
    assert message in f"{caught.value.message} {caught.value.context}"


def test_a_folder_that_is_no_base(tmp_path):
    with pytest.raises(ModelLoadError, match="not an exported base"):
        Engine.load(tmp_path)


@pytest.mark.parametrize("content", [b"\xff", b"[]", b"5", b"[" * 100_000, b'{"format": 1e999}', b""])
def test_a_graph_description_that_is_none(content, tiny_base, tmp_path):
    folder = _copy(tiny_base, tmp_path / "base")
    (folder / "graph.json").write_bytes(content)
    with pytest.raises(ModelLoadError, match=r"graph\.json (is malformed|has format)"):
        Engine.load(folder, device="cpu")


def test_a_graph_description_that_is_a_folder(tiny_base, tmp_path):
    folder = _copy(tiny_base, tmp_path / "base")
    (folder / "graph.json").unlink()
    (folder / "graph.json").mkdir()
    with pytest.raises(ModelLoadError, match=r"graph\.json could not be read"):
        Engine.load(folder, device="cpu")


def test_a_damaged_graph(tiny_base, tmp_path):
    folder = _copy(tiny_base, tmp_path / "base")
    (folder / "model.onnx").write_bytes(b"nothing")
    with pytest.raises(ModelLoadError, match="could not be loaded"):
        Engine.load(folder, device="cpu")


@pytest.mark.skipif(_has_driver(), reason="this machine has a CUDA driver")
def test_cuda_that_is_not_there(tiny_base):
    with pytest.raises(ModelLoadError, match="CUDAExecutionProvider could not be started") as caught:
        Engine.load(tiny_base.graph, device="cuda")
    assert "--device cpu" in caught.value.hint


def test_importing_is_cheap():
    code = "import sys, xpm_runtime; print([m for m in ('numpy', 'onnxruntime', 'tokenizers') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


_YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64}
SCALINGS = {
    "default": None,
    "default, stated": {"rope_type": "default"},
    "linear": {"rope_type": "linear", "factor": 4.0},
    "linear, by its older name": {"type": "linear", "factor": 4.0},
    "dynamic": {"rope_type": "dynamic", "factor": 4.0},
    "llama3": {
        "rope_type": "llama3",
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 64,
    },
    "yarn": _YARN,
    "yarn without the original positions": {"rope_type": "yarn", "factor": 4.0},
    "yarn, not truncated": {**_YARN, "truncate": False},
    "yarn with mscale": {**_YARN, "mscale": 0.707},
    "yarn with mscale over mscale_all_dim": {**_YARN, "mscale": 1.0, "mscale_all_dim": 0.5},
    "yarn with the same of both": {**_YARN, "mscale": 0.707, "mscale_all_dim": 0.707},
    "yarn with an attention factor": {**_YARN, "attention_factor": 1.5},
    "yarn with an attention factor of nothing": {**_YARN, "attention_factor": 0.0},
    "yarn with betas": {**_YARN, "beta_fast": 16, "beta_slow": 2},
    "yarn with betas that are null": {**_YARN, "beta_fast": None, "beta_slow": None},
    "yarn that stretches nothing": {**_YARN, "factor": 0.5},
}


@pytest.mark.parametrize("name", SCALINGS)
def test_positions_turn_as_in_transformers(name):
    """From config.json through graph.json to the tables, beside the embedding that the model itself uses."""
    config = Qwen3Config(
        head_dim=32,
        rope_theta=10_000.0,
        max_position_embeddings=256,
        rope_scaling=SCALINGS[name],
        num_attention_heads=4,
        num_key_value_heads=2,
        num_hidden_layers=1,
    )
    document = Architecture(config).graph_document(
        base_digest="", variant="fp32", dtype="float32", native_kv=False, eos_token_ids=[]
    )
    rope = json.loads(json.dumps(document["rope"]))
    cos, sin = rope_tables(
        head_dim=32, theta=rope["theta"], num_positions=256, scaling=rope["scaling"], dtype="float32"
    )
    wanted_cos, wanted_sin = Qwen3RotaryEmbedding(config)(torch.zeros(1, 256, 32), torch.arange(256)[None])
    assert np.abs(cos - wanted_cos[0, :, :16].numpy()).max() < 2e-4
    assert np.abs(sin - wanted_sin[0, :, :16].numpy()).max() < 2e-4
