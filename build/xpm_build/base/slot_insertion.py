"""Slots in a graph that was traced: every linear is found by its weight, and computes what
docs/reference/formats/graph.md says.

Rows are not told apart: such a graph is run with a batch of one sequence. Besides slots it gets ``soft_embeds`` behind
the embedding and ``logit_positions`` before the head. Nothing else of it is changed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import helper

from xpm_build.base.architecture import Linear
from xpm_build.base.graph_writer import GraphWriter
from xpm_build.errors import BuildError

_LOOKED_THROUGH = ("Transpose", "Identity", "Cast")
_FLOAT = np.dtype(np.float32)


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """Where a model has what the graph is changed at: paths of modules, and sizes."""

    linears: tuple[Linear, ...]
    embedding: str
    head: str
    embedding_size: int
    vocab_size: int

    @property
    def total_out(self) -> int:
        return sum(linear.num_out for linear in self.linears)

    @property
    def has_bias(self) -> bool:
        return any(linear.has_bias for linear in self.linears)


def insert_slots(traced: onnx.ModelProto, places: Places) -> onnx.ModelProto:
    """The traced graph with slots.

    Raises:
        BuildError: a linear, the embedding or the head can't be found in the graph, or is not computed as it should.
    """
    return _Insertion(traced.graph, places).write()


class _Insertion:
    def __init__(self, graph: onnx.GraphProto, places: Places) -> None:
        self._graph = graph
        self._places = places
        self._g = GraphWriter()
        self._makers = {name: node for node in graph.node for name in node.output}
        self._weights = {tensor.name for tensor in graph.initializer}
        self._linears = {linear.path: linear for linear in places.linears if not linear.is_input}
        self._inputs = {linear.path: linear for linear in places.linears if linear.is_input}
        self._factors: dict[str, str] = {}
        self._offsets: dict[str, str] = {}

    def write(self) -> onnx.ModelProto:
        g = self._g
        for tensor in self._graph.initializer:
            g.initializer(tensor)
        self._declare()
        self._spread_scales()
        last = g.constant(np.array(self._places.vocab_size - 1, np.int64))
        known = g.op("Min", "input_ids", last)
        embedding = self._end_of(self._places.embedding)
        missing = dict(self._linears)
        has_head = False
        for node in self._graph.node:
            node = onnx.NodeProto.FromString(node.SerializeToString())
            node.input[:] = [known if name == "input_ids" else name for name in node.input]
            linear = self._linear_of(node)
            if linear is not None and linear.path in missing:
                del missing[linear.path]
                self._write_linear(node, linear)
            elif node.op_type in ("MatMul", "Gemm") and _is_in(node, self._places.head):
                self._write_head(node)
                has_head = True
            elif node.output[0] == embedding:
                self._write_embedding(node, last)
            else:
                g.node(node)
        if missing or not has_head or not embedding:
            lost = next(iter(missing), "") or (self._places.embedding if has_head else self._places.head)
            raise BuildError(f"the traced graph has no {lost}", context=f"{len(missing)} linears were not found")
        for output in self._graph.output:
            shape = [dimension.dim_param or dimension.dim_value for dimension in output.type.tensor_type.shape.dim]
            if output.name == "logits":
                shape[1] = "num_logits"
            g.output(output.name, _FLOAT, shape)
        return g.model("traced base with slots")

    def _declare(self) -> None:
        g, total = self._g, self._places.total_out
        for value in self._graph.input:
            kind = helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
            shape = [dimension.dim_param or dimension.dim_value for dimension in value.type.tensor_type.shape.dim]
            g.input(value.name, kind, shape)
        g.input("logit_positions", np.int64, ["batch_size", "num_logits"])
        self._default("gate_rank", [1, 1, "rank"], np.dtype(np.bool_))
        self._default("gate_scale", [1, 1, "num_scales"])
        self._default("scales", ["num_scales", total])
        if self._places.has_bias:
            self._default("offsets", ["num_scales", total])
        self._default("soft_embeds", ["num_soft", self._places.embedding_size])
        for linear in self._linears.values():
            self._default(f"slots.{linear.name}.A", ["rank", linear.num_in])
            self._default(f"slots.{linear.name}.B", ["rank", linear.num_out])

    def _default(self, name: str, shape: Sequence[int | str], kind: np.dtype[Any] = _FLOAT) -> None:
        """An input that nobody needs to feed: its named dimension is then empty."""
        empty = [0 if isinstance(dimension, str) else dimension for dimension in shape]
        self._g.input(name, kind, shape)
        self._g.initializer(helper.make_tensor(name, helper.np_dtype_to_tensor_dtype(kind), empty, []))

    def _spread_scales(self) -> None:
        """(1, 1, out) of each slot: what it is multiplied by, and, where it has a bias, what is added."""
        g = self._g
        linears = self._places.linears
        sizes = [linear.num_out for linear in linears]
        factors = g.op("Add", g.op("MatMul", "gate_scale", "scales"), g.constant(np.array(1, np.float32)))
        self._factors = dict(zip([each.name for each in linears], g.split(factors, sizes), strict=True))
        if self._places.has_bias:
            parts = g.split(g.op("MatMul", "gate_scale", "offsets"), sizes)
            self._offsets = {linear.name: part for linear, part in zip(linears, parts, strict=True) if linear.has_bias}

    def _write_linear(self, node: onnx.NodeProto, linear: Linear) -> None:
        """The product without its bias, scaled; then what is added. A Gemm's rows (tokens,
        features) are a batch of one."""
        g, wanted = self._g, node.output[0]
        x = node.input[0]
        before = self._inputs.get(linear.path)
        if before is not None:
            x = g.op("Mul", x, self._factors[before.name])
            x = g.op("Squeeze", x, g.shape(0)) if node.op_type == "Gemm" else x
            node.input[0] = x
        bias = node.input[2] if node.op_type == "Gemm" and len(node.input) > 2 else ""
        if node.op_type == "Gemm":
            _require_plain(node, linear)
            del node.input[2:]
        node.output[0] = g.fresh("product")
        g.node(node)
        y = g.op("Mul", node.output[0], self._factors[linear.name])
        reduced = g.op("MatMul", x, g.op("Transpose", f"slots.{linear.name}.A", perm=[1, 0]))
        chosen = g.op("Where", "gate_rank", reduced, g.constant(np.zeros((), np.float32)))
        added = [g.op("MatMul", chosen, f"slots.{linear.name}.B"), self._offsets.get(linear.name, ""), bias]
        for each in filter(None, added):
            y = g.op("Add", y, each)
        if node.op_type == "Gemm":
            g.op("Squeeze", y, g.shape(0), into=wanted)
        else:
            g.op("Identity", y, into=wanted)

    def _write_head(self, node: onnx.NodeProto) -> None:
        places = self._g.op("Reshape", "logit_positions", self._g.shape(-1))
        axis = 0 if node.op_type == "Gemm" else 1
        node.input[0] = self._g.op("Gather", node.input[0], places, axis=axis)
        self._g.node(node)

    def _write_embedding(self, node: onnx.NodeProto, last: str) -> None:
        """For ids from the vocabulary's size on, rows of ``soft_embeds``, on which nothing
        acts that the module does."""
        g, wanted = self._g, node.output[0]
        node.output[0] = g.fresh("embedded")
        g.node(node)
        zero = g.constant(np.zeros((1, self._places.embedding_size), np.float32))
        ids = g.op("Max", g.op("Sub", "input_ids", last), g.constant(np.array(0, np.int64)))
        soft = g.op("Gather", g.op("Concat", zero, "soft_embeds", axis=0), ids, axis=0)
        is_soft = g.op("Unsqueeze", g.op("Greater", "input_ids", last), g.shape(-1))
        g.op("Where", is_soft, soft, node.output[0], into=wanted)

    def _linear_of(self, node: onnx.NodeProto) -> Linear | None:
        """The linear whose product a node is. The exporter stores equal weights once: then the
        module's path in its name says."""
        if node.op_type not in ("MatMul", "Gemm") or not (weight := self._origin(node.input[1])):
            return None
        by_path = (linear for path, linear in self._linears.items() if _is_in(node, path))
        return next(by_path, None) or self._linears.get(weight.removesuffix(".weight"))

    def _origin(self, name: str) -> str:
        """The initializer that a value is, but for its type and the order of its dimensions; "" if it is computed."""
        while name in self._makers and self._makers[name].op_type in _LOOKED_THROUGH:
            name = self._makers[name].input[0]
        return name if name in self._weights else ""

    def _end_of(self, module: str) -> str:
        """What a module returns: the output of its last node."""
        return next((node.output[0] for node in reversed(self._graph.node) if _is_in(node, module)), "")


def _is_in(node: onnx.NodeProto, module: str) -> bool:
    """Whether a node was traced in a module, by its name: ``/decoder/layers.0/fc1/Gemm`` is in
    ``model.decoder.layers.0.fc1``."""
    scope = node.name.rpartition("/")[0].strip("/").replace("/", ".")
    return bool(scope) and (module == scope or module.endswith(f".{scope}"))


def _require_plain(node: onnx.NodeProto, linear: Linear) -> None:
    attributes = {each.name: helper.get_attribute_value(each) for each in node.attribute}
    if any(attributes.get(name, 1.0) != 1.0 for name in ("alpha", "beta")) or attributes.get("transA"):
        raise BuildError(f"the traced graph computes {linear.path} in another way than x·Wᵀ + bias")
