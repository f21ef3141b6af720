"""Runs one operator of our own kernels, without a model around it."""

import numpy as np
import onnxruntime as ort
from onnx import TensorProto, helper

from xpm_runtime import native

_TYPES = {
    np.dtype(np.float32): TensorProto.FLOAT,
    np.dtype(np.int64): TensorProto.INT64,
    np.dtype(np.uint8): TensorProto.UINT8,
    np.dtype(np.float16): TensorProto.FLOAT16,
    np.dtype(np.int32): TensorProto.INT32,
}


def run_operator(operator, feeds, *, names, threads=2, **attributes):
    """One node; ``names`` are its inputs in order, "" for one that is absent."""
    node = helper.make_node(operator, names, ["y"], domain="xpm", **attributes)
    inputs = [helper.make_tensor_value_info(k, _TYPES[v.dtype], list(v.shape)) for k, v in feeds.items()]
    graph = helper.make_graph([node], "g", inputs, [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)])
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("xpm", 1)]
    options = ort.SessionOptions()
    options.register_custom_ops_library(str(native._LIBRARY))
    options.intra_op_num_threads, options.log_severity_level = threads, 4
    model = helper.make_model(graph, opset_imports=opsets, ir_version=9).SerializeToString()
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    binding = session.io_binding()
    for name, value in feeds.items():  # by address: the cache is changed in place
        if value.size:
            binding.bind_input(name, "cpu", 0, value.dtype, value.shape, value.ctypes.data)
        else:
            binding.bind_cpu_input(name, value)
    binding.bind_output("y")
    session.run_with_iobinding(binding)
    return binding.get_outputs()[0].numpy()
