"""Quantise an exported base: weights to 8 or 4 bits in blocks, slots untouched.

The slots' zero-rank defaults are taken out meanwhile: the quantiser must not mistake them for weights. The embedding table
is quantised too (GatherBlockQuantized), which for a tied vocabulary is half of what a small base weighs.
"""

import json
from pathlib import Path

import onnx
from onnxruntime.quantization.matmul_nbits_quantizer import DefaultWeightOnlyQuantConfig, MatMulNBitsQuantizer

from xpm_build.errors import BuildError
from xpm_build.export import GRAPH, copy_tokenizer, quiet, save_graph

BITS = {"int8": 8, "int4": 4}
_ACCURACY_INT8_ACTIVATIONS = 4  # activations in 8 bits inside the product: the fast CPU kernels


def quantize_graph(source: Path, out: Path, variant: str, *, block: int) -> None:
    """Write the ``variant`` (int8 or int4) of the exported float32 base in ``source`` to the folder ``out``.

    Args:
        block: weights per scale; 32 for quality, 128 for speed and size.
    """
    if variant not in BITS:
        raise BuildError(f"variant {variant!r} is unknown", hint=f"choose fp32, {', '.join(BITS)} or source")
    out.mkdir(parents=True, exist_ok=True)
    bits = BITS[variant]
    model = onnx.load(source / GRAPH)
    defaults = _take_out_defaults(model)
    with quiet():
        quantizer = MatMulNBitsQuantizer(
            model,
            algo_config=DefaultWeightOnlyQuantConfig(
                block_size=block,
                is_symmetric=True,
                bits=bits,
                accuracy_level=_ACCURACY_INT8_ACTIVATIONS,
                op_types_to_quantize=("MatMul", "Gather") if bits == 4 else ("MatMul",),
                quant_axes=(("MatMul", 0), ("Gather", 1)),
            ),
        )
        quantizer.process()
    quantizer.model.model.graph.initializer.extend(defaults)
    save_graph(quantizer.model.model, out)
    document = json.loads((source / "graph.json").read_text())
    (out / "graph.json").write_text(json.dumps({**document, "variant": variant}, indent=2) + "\n")
    copy_tokenizer(source, out)


def _take_out_defaults(model: onnx.ModelProto) -> list[onnx.TensorProto]:
    """Remove the initializers that are also inputs (the slots' defaults) and return them."""
    inputs = {each.name for each in model.graph.input}
    defaults = [each for each in model.graph.initializer if each.name in inputs]
    for each in defaults:
        model.graph.initializer.remove(each)
    return defaults
