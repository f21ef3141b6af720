"""Loading a base: what graph.json may not be, devices that are not there, RoPE tables, and what importing costs."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
from transformers import Qwen3Config
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

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
        ({"rope": {"theta": 1e4, "scaling": {"rope_type": "spiral"}}}, "'spiral' is not supported"),
        ({"rope": {"theta": 1e4, "scaling": {"rope_type": "linear"}}}, "factor"),
    ],
)
def test_a_wrong_graph_description(changes, message, tiny_base, tmp_path):
    with pytest.raises(ModelLoadError, match=message):
        Engine.load(_copy(tiny_base, tmp_path / "base", **changes), device="cpu")


def test_a_folder_that_is_no_base(tmp_path):
    with pytest.raises(ModelLoadError, match="not an exported base"):
        Engine.load(tmp_path)


def test_a_damaged_graph(tiny_base, tmp_path):
    folder = _copy(tiny_base, tmp_path / "base")
    (folder / "model.onnx").write_bytes(b"nothing")
    with pytest.raises(ModelLoadError, match="could not be loaded"):
        Engine.load(folder, device="cpu")


@pytest.mark.skipif(_has_driver(), reason="this machine has a CUDA driver")
def test_cuda_that_is_not_there(tiny_base):
    with pytest.raises(ModelLoadError, match="CUDA provider could not be started") as caught:
        Engine.load(tiny_base.graph, device="cuda")
    assert "--device cpu" in caught.value.hint


def test_importing_is_cheap():
    code = "import sys, xpm_runtime; print([m for m in ('numpy', 'onnxruntime', 'tokenizers') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


@pytest.mark.parametrize(
    "scaling",
    [
        None,
        {"rope_type": "linear", "factor": 4.0},
        {
            "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
            "original_max_position_embeddings": 64,
        },
        {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64},
    ],
    ids=lambda scaling: scaling["rope_type"] if scaling else "default",
)  # fmt: skip
def test_rope_tables_are_those_of_transformers(scaling):
    config = Qwen3Config(head_dim=32, rope_theta=10_000.0, max_position_embeddings=256, rope_scaling=scaling)
    if scaling:
        frequencies, factor = ROPE_INIT_FUNCTIONS[scaling["rope_type"]](config, "cpu")
    else:
        frequencies, factor = ROPE_INIT_FUNCTIONS["default"](config, "cpu")
    cos, sin = rope_tables(head_dim=32, theta=10_000.0, num_positions=256, scaling=scaling, dtype="float32")
    angles = np.outer(np.arange(256), frequencies.numpy())
    assert np.abs(cos - np.cos(angles) * factor).max() < 2e-4
    assert np.abs(sin - np.sin(angles) * factor).max() < 2e-4
