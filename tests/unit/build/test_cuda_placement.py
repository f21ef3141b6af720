"""Every node of the graphs for CUDA has a kernel there, and no shape depends on data: checked without a device.

The table is of ONNX Runtime's published kernels (docs/OperatorKernels.md, CUDAExecutionProvider), for the operators
that are used, at opset 18; `make gpu` has seen each run there. A node without a kernel would run on the CPU, and end
the capture of a CUDA graph.
"""

from collections.abc import Iterator

import onnx
import pytest
from onnx import TensorProto

from tests.support import models
from xpm_build.base.export import export_base

_FLOATS = {TensorProto.FLOAT, TensorProto.FLOAT16}
_INTEGERS = {TensorProto.INT32, TensorProto.INT64}
_ANY = {*_FLOATS, *_INTEGERS, TensorProto.BOOL, TensorProto.UINT8}
_HALF = {TensorProto.FLOAT16}
# operator → the types of its first input (of Where its second) that have a kernel
_KERNELS = {
    "Add": _FLOATS | _INTEGERS,
    "ArgMax": _FLOATS,
    "Cast": _ANY,
    "Concat": _ANY,
    "Expand": _ANY,
    "Gather": _ANY,
    "GatherElements": _ANY,
    "Gemm": _FLOATS,
    "Greater": _FLOATS | _INTEGERS,
    "MatMul": _FLOATS,
    "Max": _FLOATS | {TensorProto.INT64},
    "Min": _FLOATS | {TensorProto.INT64},
    "Mul": _FLOATS | _INTEGERS,
    "ReduceSum": _FLOATS | {TensorProto.INT32, TensorProto.INT64},
    "Reshape": _ANY,
    "SimplifiedLayerNormalization": _FLOATS,
    "Split": _ANY,
    "Sub": _FLOATS | _INTEGERS,
    "Transpose": _ANY,
    "Unsqueeze": _ANY,
    "Where": _FLOATS | {TensorProto.INT32, TensorProto.INT64, TensorProto.UINT8},
    "GatherBlockQuantized": {TensorProto.UINT8, TensorProto.UINT4, TensorProto.INT4},
    "GroupQueryAttention": _HALF,
    "MatMulNBits": _FLOATS,
    "QuickGelu": _FLOATS,
    "SkipSimplifiedLayerNormalization": _FLOATS,
}
_SHAPED_BY = {"Reshape": 1, "Expand": 1, "Unsqueeze": 1, "Split": 1, "ReduceSum": 1}  # the input that says the shape
_TYPE_OF_INPUT = {"Where": 1, "GatherBlockQuantized": 2}  # whose type the output has; the first input's otherwise


@pytest.fixture(
    scope="module", params=[(a, v) for a in ("qwen3", "qwen2", "llama") for v in ("fp16", "int8", "int4")], ids=str
)
def graphs(request, tmp_path_factory):
    architecture, variant = request.param
    root = tmp_path_factory.mktemp("cuda")
    export_base(models.save_tiny_model(root / "source", architecture=architecture), root / "base", variant=variant)
    found = {
        path.name: onnx.load(path, load_external_data=False) for path in sorted((root / "base").glob("cuda*.onnx"))
    }
    assert len(found) == 3
    return found


def typed_nodes(graph: onnx.GraphProto) -> Iterator[tuple[onnx.NodeProto, list[int]]]:
    """Each node with the types of its inputs, in the order of the graph, which is that of execution."""
    types = {each.name: each.type.tensor_type.elem_type for each in graph.input}
    types |= {each.name: each.data_type for each in graph.initializer} | {"": 0}
    for node in graph.node:
        given = [types[name] for name in node.input]
        made = given[_TYPE_OF_INPUT.get(node.op_type, 0)] if given else 0
        if node.op_type == "Cast":
            made = next(each.i for each in node.attribute if each.name == "to")
        elif node.op_type == "ArgMax":
            made = TensorProto.INT64
        elif node.op_type == "Greater":
            made = TensorProto.BOOL
        types |= dict.fromkeys(node.output, made)
        yield node, given


def test_every_node_has_a_kernel(graphs):
    for name, model in graphs.items():
        assert {each.domain: each.version for each in model.opset_import} == {"": 18, "com.microsoft": 1}
        for node, types in typed_nodes(model.graph):
            assert node.op_type in _KERNELS, f"{name}: {node.op_type} has no place in the table"
            judged = types[1] if node.op_type == "Where" else types[0]
            shown = TensorProto.DataType.Name(judged)
            assert judged in _KERNELS[node.op_type], f"{name}: {node.name} {node.op_type} takes {shown}"


def test_attention_is_in_half_precision(graphs):
    """In float32 it would run on the CPU without a word."""
    for model in graphs.values():
        kinds = [
            set(types[:3]) - {0} for node, types in typed_nodes(model.graph) if node.op_type == "GroupQueryAttention"
        ]
        assert kinds
        assert all(each == _HALF for each in kinds)


def test_no_shape_depends_on_data(graphs):
    """What is captured has one shape: those that nodes are told are constants, or come from outside."""
    for name, model in graphs.items():
        fixed = {each.name for each in model.graph.initializer} | {each.name for each in model.graph.input} | {""}
        for node in model.graph.node:
            place = _SHAPED_BY.get(node.op_type)
            if place is not None and len(node.input) > place:
                assert node.input[place] in fixed, f"{name}: the shape of {node.op_type} {node.name} is computed"


def test_a_node_without_a_kernel_is_found(graphs):
    """The check itself: attention in float32, and a shape that is computed."""
    model = onnx.ModelProto()
    model.CopyFrom(next(iter(graphs.values())))
    attention = next(node for node in model.graph.node if node.op_type == "GroupQueryAttention")
    cast = onnx.helper.make_node("Cast", [attention.input[0]], ["wide"], to=TensorProto.FLOAT)
    model.graph.node.insert(list(model.graph.node).index(attention), cast)
    attention.input[0] = "wide"
    with pytest.raises(AssertionError, match="GroupQueryAttention takes FLOAT"):
        test_every_node_has_a_kernel({"altered": model})
