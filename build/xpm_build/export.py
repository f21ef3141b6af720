"""Export a base to ONNX with universal slots, through Optimum.

The result is a folder: ``model.onnx``, ``model.onnx_data`` (weights, mapped at load), ``graph.json`` and the tokenizer
files. Slot inputs become initializers of rank zero that a caller may override: a base-only run feeds none of them.
"""

import contextlib
import io
import json
import logging
import shutil
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import onnx
import torch
from onnx import TensorProto, helper
from onnx.external_data_helper import uses_external_data
from optimum.exporters.onnx import export as optimum_export
from optimum.exporters.onnx.base import OnnxConfig
from optimum.utils import NormalizedTextConfig
from transformers import AutoConfig, AutoModelForCausalLM

from xpm_build.errors import BuildError
from xpm_build.fingerprint import fingerprint
from xpm_build.graph_spec import Shape, graph_document
from xpm_build.slot_model import SlotModel

OPSET = 18
GRAPH = "model.onnx"
GRAPH_DATA = "model.onnx_data"
TOKENIZER_FILES = (
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "chat_template.jinja",
)
_INLINE_BYTES = 65_536  # ONNX Runtime's shape inference can't read e.g. Split sizes from external data


def load_model(source: Path) -> Any:
    """The Hugging Face model of a folder, in float32, on the CPU.

    Raises:
        BuildError: the folder holds no model that Transformers can load without running code from it.
    """
    if not (source / "config.json").is_file():
        raise BuildError(
            f"{source} is not a model folder",
            context="it has no config.json",
            hint="name a Hugging Face model's folder",
        )
    try:
        Shape(AutoConfig.from_pretrained(source, local_files_only=True))
        model = AutoModelForCausalLM.from_pretrained(
            source, dtype=torch.float32, local_files_only=True, use_safetensors=True, trust_remote_code=False
        )
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise BuildError(f"the model in {source} could not be loaded", context=str(error)[:300]) from error
    return model.eval()


def export_graph(model: Any, source: Path, out: Path) -> None:
    """Export ``model`` (from ``load_model(source)``) to the folder ``out``, in float32."""
    out.mkdir(parents=True, exist_ok=True)
    wrapper = SlotModel(model).eval()
    with quiet(), torch.no_grad():
        optimum_export(wrapper, _SlotOnnxConfig(wrapper), out / GRAPH, opset=OPSET, disable_dynamic_axes_fix=True)
    _finalise(out, wrapper.shape)
    document = graph_document(wrapper.shape, base_digest=fingerprint(model.state_dict(), model.config), variant="fp32")
    (out / "graph.json").write_text(json.dumps(document, indent=2) + "\n")
    copy_tokenizer(source, out)


def copy_tokenizer(source: Path, out: Path) -> None:
    for name in TOKENIZER_FILES:
        if (source / name).is_file():
            shutil.copyfile(source / name, out / name)


def slot_defaults(shape: Shape) -> Mapping[str, tuple[int, ...]]:
    """The overridable inputs and the zero-rank shapes they have if nobody feeds them."""
    defaults: dict[str, tuple[int, ...]] = {
        "gate_rank": (1, 1, 0),
        "gate_scale": (1, 1, 0),
        "scales": (0, shape.total_out),
        "soft_embeds": (0, shape.config.hidden_size),
    }
    for linear in shape.linears():
        defaults |= {f"slots.{linear.name}.A": (0, linear.num_in), f"slots.{linear.name}.B": (0, linear.num_out)}
    return defaults


class _SlotOnnxConfig(OnnxConfig):
    """Tells Optimum the names, dynamic axes and example values of the graph's inputs."""

    NORMALIZED_CONFIG_CLASS = NormalizedTextConfig
    DEFAULT_ONNX_OPSET = OPSET

    def __init__(self, model: SlotModel) -> None:
        self._shape = model.shape
        super().__init__(model.config, task="text-generation")

    def _cache_names(self, prefix: str) -> list[str]:
        return [f"{prefix}.{layer}.{part}" for layer in range(self._shape.num_layers) for part in ("key", "value")]

    @property
    def inputs(self) -> dict[str, dict[int, str]]:
        axes: dict[str, dict[int, str]] = {"input_ids": {0: "batch", 1: "seq"}}
        axes |= {name: {0: "batch", 2: "capacity"} for name in self._cache_names("past_key_values")}
        axes |= {"seqlens_k": {0: "batch"}, "total_sequence_length": {}}
        axes |= {
            "rope_cos": {0: "max_pos"},
            "rope_sin": {0: "max_pos"},
            "logit_positions": {0: "batch", 1: "num_logits"},
        }
        axes |= {"gate_rank": {0: "gate_batch", 2: "rank"}, "gate_scale": {0: "gate_batch", 2: "num_scales"}}
        axes |= {"scales": {0: "num_scales"}, "soft_embeds": {0: "num_soft"}}
        for linear in self._shape.linears():
            axes |= {f"slots.{linear.name}.A": {0: "rank"}, f"slots.{linear.name}.B": {0: "rank"}}
        return axes

    @property
    def outputs(self) -> dict[str, dict[int, str]]:
        cache = {name: {0: "batch", 2: "capacity"} for name in self._cache_names("present")}
        return {"logits": {0: "batch", 1: "num_logits"}, **cache}

    @property
    def values_override(self) -> None:
        return None

    def generate_dummy_inputs(self, framework: str = "pt", **kwargs: Any) -> dict[str, Any]:
        c = self._shape.config
        batch, seq, capacity, rank, num_scales = 2, 3, 8, 4, 2
        cache = (batch, c.num_key_value_heads, capacity, c.head_dim)
        return {
            "input_ids": torch.ones(batch, seq, dtype=torch.int64),
            "past_key_values": [torch.zeros(cache) for _ in self._cache_names("past_key_values")],
            "seqlens_k": torch.full((batch,), seq - 1, dtype=torch.int32),
            "total_sequence_length": torch.tensor(seq, dtype=torch.int32),
            "rope_cos": torch.ones(16, c.head_dim // 2),
            "rope_sin": torch.ones(16, c.head_dim // 2),
            "logit_positions": torch.zeros(batch, 2, dtype=torch.int64),
            "gate_rank": torch.ones(batch, 1, rank),
            "gate_scale": torch.ones(batch, 1, num_scales),
            "scales": torch.zeros(num_scales, self._shape.total_out),
            "soft_embeds": torch.zeros(5, c.hidden_size),
            "slots": [
                torch.zeros(rank, size) for linear in self._shape.linears() for size in (linear.num_in, linear.num_out)
            ],
        }

    def rename_ambiguous_inputs(self, inputs: dict[str, Any]) -> dict[str, Any]:
        return inputs


def _finalise(out: Path, shape: Shape) -> None:
    """Inline small tensors, keep large ones in the data file, and add the zero-rank defaults."""
    model = onnx.load(out / GRAPH, load_external_data=False)
    if (out / GRAPH_DATA).is_file():
        _inline_small(model, out / GRAPH_DATA)
    for name, dims in slot_defaults(shape).items():
        model.graph.initializer.append(helper.make_tensor(name, TensorProto.FLOAT, dims, []))
    if (out / GRAPH_DATA).is_file():
        (out / GRAPH).write_bytes(model.SerializeToString())
    else:
        save_graph(model, out)


def save_graph(model: onnx.ModelProto, out: Path) -> None:
    """Write a graph whose tensors are in memory: large ones to the data file, small ones inline."""
    (out / GRAPH_DATA).unlink(missing_ok=True)
    onnx.save_model(
        model,
        out / GRAPH,
        save_as_external_data=True,
        location=GRAPH_DATA,
        size_threshold=_INLINE_BYTES,
        convert_attribute=False,
    )


def _inline_small(model: onnx.ModelProto, data_file: Path) -> None:
    constants = [attribute.t for node in model.graph.node for attribute in node.attribute if attribute.HasField("t")]
    with data_file.open("rb") as data:
        for tensor in [*model.graph.initializer, *constants]:
            place = {entry.key: entry.value for entry in tensor.external_data}
            if uses_external_data(tensor) and int(place["length"]) <= _INLINE_BYTES:
                data.seek(int(place.get("offset", 0)))
                tensor.raw_data = data.read(int(place["length"]))
                del tensor.external_data[:]
                tensor.data_location = TensorProto.DEFAULT


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """The exporters warn and print about what is meant so; errors still raise."""
    root = logging.getLogger()
    level = root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
