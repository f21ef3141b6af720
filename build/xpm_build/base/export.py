"""Export a base to ONNX with universal slots: weights are read from the checkpoint, the graph is written node by node.

The result is a folder: ``model.onnx`` (and ``native.onnx`` for a quantised base, ``cuda*.onnx`` for all but float32) over one
``model.onnx_data``, ``graph.json`` and the tokenizer files. Nothing is traced, and no more than one matrix is in memory at a time.
"""

import json
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from xpm_build.base.architecture import Architecture
from xpm_build.base.base_tensors import BaseTensors
from xpm_build.base.checkpoint import Weights
from xpm_build.base.cuda_graph import CudaGraph, has_cuda_graphs
from xpm_build.base.fingerprint import fingerprint
from xpm_build.base.native_graph import NativeGraph, has_native_graph
from xpm_build.base.portable_graph import PortableGraph
from xpm_build.base.text_files import copy_text_files, end_token_ids
from xpm_build.errors import BuildError
from xpm_runtime.graph import CUDA_FILES

GRAPH = "model.onnx"
GRAPH_DATA = "model.onnx_data"
NATIVE_GRAPH = "native.onnx"
DEFAULT_BLOCK = 32


def load_config(source: Path) -> Any:
    """The Hugging Face configuration of a model folder.

    Raises:
        BuildError: the folder holds no model, or one that is not supported.
    """
    if not (source / "config.json").is_file():
        raise BuildError(
            f"{source} is not a model folder",
            context="it has no config.json",
            hint="name a Hugging Face model's folder",
        )
    try:
        config = AutoConfig.from_pretrained(source, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        raise BuildError(f"{source}/config.json could not be read", context=str(error)[:300]) from error
    Architecture(config)
    return config


def load_model(source: Path) -> Any:
    """The Hugging Face model of a folder, in float32, on the CPU.

    Raises:
        BuildError: the folder holds no model that Transformers can load without running code from it.
    """
    load_config(source)
    try:
        model = AutoModelForCausalLM.from_pretrained(
            source, dtype=torch.float32, local_files_only=True, use_safetensors=True, trust_remote_code=False
        )
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise BuildError(f"the model in {source} could not be loaded", context=str(error)[:300]) from error
    return model.eval()


def export_base(
    source: Path, out: Path, *, variant: str = "fp32", block: int = DEFAULT_BLOCK, digest: str = ""
) -> None:
    """Export the model folder ``source`` to the folder ``out``.

    Args:
        variant: fp32, fp16, int8 or int4.
        block: weights per scale of a quantised variant; 32 for quality, 128 for speed and size.
        digest: the base's digest, if it is known already.
    Raises:
        BuildError: the model is not supported, or its weights are incomplete or not finite.
    """
    config = load_config(source)
    architecture, weights = Architecture(config), Weights(source)
    out.mkdir(parents=True, exist_ok=True)
    tensors = BaseTensors(weights, architecture, out / GRAPH_DATA, variant=variant, block=block)
    (out / GRAPH).write_bytes(PortableGraph(tensors).write().SerializeToString(deterministic=True))
    is_native = has_native_graph(tensors)
    if is_native:
        (out / NATIVE_GRAPH).write_bytes(NativeGraph(tensors).write().SerializeToString(deterministic=True))
    if has_cuda_graphs(tensors):
        for kind, name in CUDA_FILES.items():
            (out / name).write_bytes(CudaGraph(tensors, kind).write().SerializeToString(deterministic=True))
    document = architecture.graph_document(
        base_digest=digest or fingerprint(weights, config),
        variant=variant,
        dtype=tensors.dtype.name,
        native_kv=is_native,
        eos_token_ids=end_token_ids(source, config),
    )
    (out / "graph.json").write_text(json.dumps(document, indent=2) + "\n")
    copy_text_files(source, out)
