"""Builds an ONNX graph node by node. Values get names of their own; equal constants are stored once."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

MICROSOFT = "com.microsoft"
XPM = "xpm"
_OPSET = 18
_IR_VERSION = 9


class GraphWriter:
    """``op`` appends a node and returns what its outputs are called."""

    def __init__(self) -> None:
        self._nodes: list[onnx.NodeProto] = []
        self._inputs: list[onnx.ValueInfoProto] = []
        self._outputs: list[onnx.ValueInfoProto] = []
        self._initializers: dict[str, TensorProto] = {}
        self._constants: dict[tuple[str, tuple[int, ...], bytes], str] = {}
        self._count = 0

    def input(self, name: str, dtype: Any, shape: Sequence[int | str]) -> str:
        """``dtype`` is numpy's; dimensions are numbers or names."""
        kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        self._inputs.append(helper.make_tensor_value_info(name, kind, shape))
        return name

    def output(self, name: str, dtype: Any, shape: Sequence[int | str]) -> None:
        kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        self._outputs.append(helper.make_tensor_value_info(name, kind, shape))

    def initializer(self, tensor: TensorProto) -> str:
        self._initializers[tensor.name] = tensor
        return str(tensor.name)

    def constant(self, value: NDArray[Any] | np.generic) -> str:
        array = np.asarray(value)
        key = (array.dtype.name, array.shape, array.tobytes())
        if key not in self._constants:
            tensor = onnx.numpy_helper.from_array(array, self.fresh("constant"))
            self._constants[key] = self.initializer(tensor)
        return self._constants[key]

    def shape(self, *sizes: int) -> str:
        return self.constant(np.array(sizes, np.int64))

    def op(self, kind: str, *inputs: str, domain: str = "", into: str | None = None, **attributes: Any) -> str:
        """A node with one output, called ``into`` if given. An empty input name is an absent input."""
        return self.ops(kind, *inputs, domain=domain, into=[into or self.fresh(kind)], **attributes)[0]

    def ops(self, kind: str, *inputs: str, into: list[str] | int, domain: str = "", **attributes: Any) -> list[str]:
        """A node with several outputs: their names, or how many; an empty name is an output that nobody wants."""
        outputs = [self.fresh(kind) for _ in range(into)] if isinstance(into, int) else into
        used = [name for name in outputs if name]
        node = helper.make_node(kind, inputs, outputs, name=f"{kind}:{used[0]}", domain=domain, **attributes)
        self._nodes.append(node)
        return used

    def node(self, node: onnx.NodeProto) -> None:
        """A node of another graph, as it is."""
        self._nodes.append(node)

    def split(self, value: str, sizes: Sequence[int]) -> list[str]:
        """Parts of the last dimension."""
        if len(sizes) == 1:
            return [value]
        return self.ops("Split", value, self.shape(*sizes), into=len(sizes), axis=-1)

    def model(self, name: str) -> onnx.ModelProto:
        """What was written, checked for names that nothing gives."""
        known = {each.name for each in self._inputs} | self._initializers.keys() | {""}
        for node in self._nodes:
            if missing := set(node.input) - known:
                raise AssertionError(f"{node.name} reads {min(missing)}, which nothing gives")
            known |= set(node.output)
        read = {name for node in self._nodes for name in node.input} | {each.name for each in self._inputs}
        kept = [tensor for tensor in self._initializers.values() if tensor.name in read]
        graph = helper.make_graph(self._nodes, name, self._inputs, self._outputs, kept)
        domains = {node.domain for node in self._nodes}
        opsets = [helper.make_opsetid(domain, 1 if domain else _OPSET) for domain in sorted(domains | {""})]
        return helper.make_model(graph, opset_imports=opsets, ir_version=_IR_VERSION, producer_name="xpm")

    def fresh(self, kind: str) -> str:
        self._count += 1
        return f"{kind}_{self._count}"
