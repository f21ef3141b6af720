"""The table of an encoder's vocabulary in 8 bits, beside the same graph as it was."""

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from xpm_build.embedding_table import with_small_table


def graph(rows):
    table = np.random.default_rng(0).normal(size=(rows, 8)).astype(np.float32)
    return helper.make_model(
        helper.make_graph(
            [helper.make_node("Gather", ["table", "ids"], ["vectors"])],
            "g",
            [helper.make_tensor_value_info("ids", TensorProto.INT64, ["n"])],
            [helper.make_tensor_value_info("vectors", TensorProto.FLOAT, ["n", 8])],
            [numpy_helper.from_array(table, "table")],
        ),
        opset_imports=[helper.make_opsetid("", 18)],
        ir_version=9,
    )


def run(model, ids):
    onnx.checker.check_model(model)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"ids": np.array(ids, np.int64)})[0]


def test_rows_are_as_they_were_but_for_rounding():
    whole, small = graph(2000), graph(2000)
    with_small_table(small)
    assert len(small.SerializeToString()) < 0.5 * len(whole.SerializeToString())
    got, wanted = run(small, [0, 7, 1999]), run(whole, [0, 7, 1999])
    assert got == pytest.approx(wanted, abs=float(np.abs(wanted).max()) / 200)
    assert got != pytest.approx(wanted, abs=1e-7)


def test_a_small_table_stays():
    model = graph(100)
    before = model.SerializeToString()
    with_small_table(model)
    assert model.SerializeToString() == before
