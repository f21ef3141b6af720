"""Compiled adapters that are not what they should be are refused, and attach nothing."""

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from xpm_runtime import AdapterMismatchError, AdapterSpec


@pytest.fixture
def adapter(tiny_adapter):
    return tiny_adapter("dora")


def _alter(tensors, metadata, kind):
    name = "slots.0.q_proj.A"
    match kind:
        case "nan":
            tensors[name][0, 0] = np.nan
        case "infinite":
            tensors["scales"][0, 3] = np.inf
        case "shape":
            tensors[name] = tensors[name][:, 1:]
        case "rank":
            tensors[name] = tensors[name][1:]
        case "scales":
            tensors["scales"] = tensors["scales"][:, :-1]
        case "half":
            del tensors[name]
        case "unknown":
            tensors["slots.0.q_proj.C"] = np.zeros(3, np.float32)
        case "layer":
            tensors["slots.99.q_proj.A"] = tensors[name]
        case "path":
            tensors["../../etc/passwd"] = np.zeros(3, np.float32)
        case "integers":
            tensors[name] = tensors[name].astype(np.int32)
        case "scalar soft":
            tensors["soft_embeds"] = np.array(1.0, np.float32)
        case "endless soft":
            tensors["soft_embeds"] = np.zeros((5000, 64), np.float32)
        case "format":
            metadata["format"] = "xpm-slots-9"
        case "base":
            metadata["base_digest"] = "sha256:" + "0" * 64
        case "absurd rank":
            metadata["rank"] = "100000"
        case "endless rank":
            metadata["rank"] = "9" * 5000
        case "negative rank":
            metadata["rank"] = "-1"


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("nan", "not finite"),
        ("infinite", "not finite"),
        ("shape", "has shape"),
        ("rank", "has shape"),
        ("scales", "has shape"),
        ("half", "only one of A and B"),
        ("unknown", "no slot for tensor"),
        ("layer", "no slot for tensor"),
        ("path", "no slot for tensor"),
        ("integers", "holds I32"),
        ("scalar soft", "has shape"),
        ("endless soft", "has shape"),
        ("format", "not a compiled adapter"),
        ("base", "made for another base"),
        ("absurd rank", "is not 0"),
        ("negative rank", "is not 0"),
        ("endless rank", "is not 0"),
    ],
)
def test_altered_adapters_are_refused(kind, message, adapter, tiny_engine, tmp_path):
    tensors = load_file(adapter.slots)
    metadata = {"format": "xpm-slots-1", "base_digest": tiny_engine.graph.base_digest, "rank": "8"}
    _alter(tensors, metadata, kind)
    save_file(tensors, tmp_path / "slots.safetensors", metadata=metadata)
    with pytest.raises(AdapterMismatchError, match=message) as caught:
        tiny_engine.attach(AdapterSpec.read("bad", tmp_path))
    assert caught.value.exit_code == 4
    assert tiny_engine.attached == ()


@pytest.mark.parametrize(
    "damage", [lambda data: data[:100], lambda data: b"", lambda data: b"\xff" * 64, lambda data: data[:-1]]
)
def test_damaged_files_are_refused(damage, adapter, tiny_engine, tmp_path):
    (tmp_path / "slots.safetensors").write_bytes(damage(adapter.slots.read_bytes()))
    with pytest.raises(AdapterMismatchError, match="not a safetensors file"):
        tiny_engine.attach(AdapterSpec.read("bad", tmp_path))


def test_an_absent_file(tiny_engine, tmp_path):
    with pytest.raises(AdapterMismatchError, match="no compiled adapter"):
        tiny_engine.attach(AdapterSpec.read("bad", tmp_path))


def test_what_attach_reports(adapter, tiny_engine):
    report = tiny_engine.attach(AdapterSpec.read("good", adapter.slots))
    assert (report.name, report.rank) == ("good", 8)
    assert report.num_bytes > 8 * 64 * 4
    assert tiny_engine.attached == ("good",)
