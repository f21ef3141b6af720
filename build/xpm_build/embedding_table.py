"""The largest table that a graph gathers rows from, in 8 bits: of the quarter of a gigabyte that an encoder's
vocabulary takes, a text reads a few rows.
"""

import numpy as np
import onnx
from onnx import numpy_helper

_LEAST_ROWS = 1024


def with_small_table(graph: onnx.ModelProto) -> None:
    """Store the table in place as int8 rows, each with a scale, that are multiplied after they are gathered.

    A graph without one of at least 1,024 rows is left as it is.
    """
    tables = {each.name: each for each in graph.graph.initializer if len(each.dims) == 2}
    found = [
        (place, tables[node.input[0]])
        for place, node in enumerate(graph.graph.node)
        if node.op_type == "Gather" and node.input[0] in tables and not any(each.i for each in node.attribute)
    ]
    found = [(place, table) for place, table in found if table.dims[0] >= _LEAST_ROWS]
    if not found:
        return
    place, table = max(found, key=lambda each: int(each[1].dims[0]))
    if sum(table.name in node.input for node in graph.graph.node) > 1:
        return
    node = graph.graph.node[place]
    rows = numpy_helper.to_array(table).astype(np.float32)
    scales = np.maximum(np.abs(rows).max(axis=1, keepdims=True), 1e-9) / 127
    name, ids, result = table.name, node.input[1], node.output[0]
    table.CopyFrom(numpy_helper.from_array(np.rint(rows / scales).astype(np.int8), name))
    graph.graph.initializer.append(numpy_helper.from_array(scales.astype(np.float32), f"{name}.scale"))
    gathered = [
        onnx.helper.make_node("Gather", [name, ids], [f"{name}.rows"]),
        onnx.helper.make_node("Cast", [f"{name}.rows"], [f"{name}.numbers"], to=onnx.TensorProto.FLOAT),
        onnx.helper.make_node("Gather", [f"{name}.scale", ids], [f"{name}.scales"]),
        onnx.helper.make_node("Mul", [f"{name}.numbers", f"{name}.scales"], [result]),
    ]
    del graph.graph.node[place]
    for offset, each in enumerate(gathered):
        graph.graph.node.insert(place + offset, each)
