"""Export a base to ONNX with universal slots: weights are read from the checkpoint, the graph is written node by node.

The result is a folder: ``model.onnx`` (and ``native.onnx`` for a quantised base, ``cuda*.onnx`` for all but float32)
over one ``model.onnx_data``, ``graph.json`` and the tokenizer files. No more than one matrix is in memory at a time. A
model whose graph is not written here is traced (``xpm_build.base.optimum_export``).
"""

import json
from pathlib import Path

from xpm_build.base.architecture import Architecture
from xpm_build.base.base_tensors import BaseTensors
from xpm_build.base.checkpoint import Checkpoint, FolderCheckpoint
from xpm_build.base.cuda_graph import CudaGraph, has_cuda_graphs
from xpm_build.base.exporters import TRACED_VARIANTS, exporter_for
from xpm_build.base.fingerprint import fingerprint
from xpm_build.base.gguf import SUFFIX as GGUF_SUFFIX
from xpm_build.base.gguf import GgufCheckpoint
from xpm_build.base.native_graph import NativeGraph, has_native_graph
from xpm_build.base.portable_graph import PortableGraph
from xpm_build.base.quantize import BITS
from xpm_build.base.quantizers import quantizer_for
from xpm_build.base.text_files import end_token_ids
from xpm_build.errors import BuildError
from xpm_runtime.graph import CUDA_FILES, GRAPH_FILE, NATIVE_GRAPH, PORTABLE_GRAPH, WEIGHTS

DEFAULT_BLOCK = 32


def open_checkpoint(source: Path) -> Checkpoint:
    """The model in a Hugging Face folder or a GGUF file.

    Raises:
        BuildError: there is none, or one that is not supported.
    """
    is_gguf = source.suffix == GGUF_SUFFIX and source.is_file()
    checkpoint = GgufCheckpoint(source) if is_gguf else FolderCheckpoint(source)
    Architecture(checkpoint.configuration)
    return checkpoint


def export_base(
    source: Path | Checkpoint,
    out: Path,
    *,
    variant: str = "fp32",
    block: int = DEFAULT_BLOCK,
    digest: str = "",
    quantizer: str = "nearest",
    exporter: str = "auto",
) -> None:
    """Export the model in ``source``, a folder or a GGUF file, to the folder ``out``.

    Args:
        variant: fp32, fp16, int8 or int4.
        block: weights per scale of a quantised variant; 32 for quality, 128 for speed and size.
        digest: the base's digest, if it is known already.
        quantizer: how weights are rounded that are not in blocks of integers already, one of ``METHODS``.
        exporter: one of ``EXPORTERS``; "auto" writes the graph where it can.
    Raises:
        BuildError: the model is not supported, or its weights are incomplete or not finite.
    """
    if isinstance(source, Path) and exporter_for(source, exporter) == "optimum":
        _export_traced(source, out, variant, digest)
        return
    checkpoint = source if isinstance(source, Checkpoint) else open_checkpoint(source)
    architecture = Architecture(checkpoint.configuration)
    out.mkdir(parents=True, exist_ok=True)
    checkpoint.write_text_files(out)
    rounding = quantizer_for(quantizer, variant, block, checkpoint, out) if variant in BITS else None
    tensors = BaseTensors(checkpoint, architecture, out / WEIGHTS, variant=variant, block=block, quantizer=rounding)
    (out / PORTABLE_GRAPH).write_bytes(PortableGraph(tensors).write().SerializeToString(deterministic=True))
    is_native = has_native_graph(tensors)
    if is_native:
        (out / NATIVE_GRAPH).write_bytes(NativeGraph(tensors).write().SerializeToString(deterministic=True))
    if has_cuda_graphs(tensors):
        for kind, name in CUDA_FILES.items():
            (out / name).write_bytes(CudaGraph(tensors, kind).write().SerializeToString(deterministic=True))
    document = architecture.graph_document(
        base_digest=digest or fingerprint(checkpoint, checkpoint.configuration),
        variant=variant,
        dtype=tensors.dtype.name,
        native_kv=is_native,
        eos_token_ids=end_token_ids(out, checkpoint.configuration),
    )
    (out / GRAPH_FILE).write_text(json.dumps(document, indent=2) + "\n")


def _export_traced(source: Path, out: Path, variant: str, digest: str) -> None:
    if variant not in TRACED_VARIANTS:
        raise BuildError(
            f"there is no {variant} of a base that is exported through Optimum",
            hint="its graph is in float32: use fp32",
        )
    from xpm_build.base.optimum_export import export_traced
    from xpm_build.base.parity import load_model

    export_traced(source, out, load_model(source), digest=digest)
