"""The same base for processors with 512-bit integer products: three operators of the runtime's
own take the place of most.

SlotLinear reads the quantised weights where they lie and adapters through addresses; SlotAttention normalises, rotates,
keeps float16 keys and values in place and attends; SwiGLU joins gate and up. Tokens are rows: (batch · seq, features).
"""

from typing import Any

import numpy as np
import onnx
from onnx import TensorProto

from xpm_build.base.architecture import LinearGroup
from xpm_build.base.base_tensors import BaseTensors, Matrix
from xpm_build.base.decoder_graph import DecoderGraph
from xpm_build.base.graph_writer import XPM

_SLOTS = ("slot_table", "slot_types", "row_slots", "row_scales")


def has_native_graph(tensors: BaseTensors) -> bool:
    """Whether the kernels can compute with these weights."""
    return tensors.is_quantized


class NativeGraph(DecoderGraph):
    """Writes the graph of one quantised base."""

    def __init__(self, tensors: BaseTensors) -> None:
        super().__init__(tensors)
        self._column = 0

    def write(self) -> onnx.ModelProto:
        g, a = self.g, self.a
        self._declare_inputs()
        embedded = self.embed()
        x = self.layers(g.op("Reshape", embedded, g.shape(-1, a.hidden_size)))
        self._product(self.tensors.head, g.op("Gather", x, "logit_positions", axis=0), into="logits", first_linear=-1)
        g.output("logits", np.float32, ["num_logits", a.vocab_size])
        return g.model("base with native slots")

    def attend(self, layer: int, qkv: LinearGroup, x: str) -> str:
        return self._attention(layer, self.linear(qkv, x))

    def gated(self, gate_up: LinearGroup, x: str) -> str:
        return self.g.op("SwiGLU", self.linear(gate_up, x), domain=XPM)

    def _declare_inputs(self) -> None:
        g, a = self.g, self.a
        g.input("input_ids", np.int64, ["batch", "seq"])
        for name in self.cache_names("past_key_values"):
            g.input(name, np.float16, self.cache_shape)
        g.input("seqlens_k", np.int32, ["batch"])
        g.input("rope_cos", np.float32, ["max_pos", a.head_dim // 2])
        g.input("rope_sin", np.float32, ["max_pos", a.head_dim // 2])
        g.input("logit_positions", np.int64, ["num_logits"])
        g.input("soft_embeds", np.float32, ["num_soft", a.hidden_size])
        g.input("slot_table", np.int64, ["num_adapters", sum(1 for _ in a.linears()), 2])
        g.input("slot_types", np.int64, ["num_adapters", 2])
        g.input("row_slots", np.int64, ["batch", "num_acting"])
        g.input("row_scales", np.int64, ["batch", 2])

    def linear(self, group: LinearGroup, x: str) -> str:
        parts: dict[str, Any] = {f"part{number}": linear.num_out for number, linear in enumerate(group.linears)}
        bias = self.tensors.biases.get(group.name)
        column, self._column = self._column, self._column + group.num_out
        matrix = self.tensors.groups[group.name]
        return self._product(matrix, x, bias=bias, first_linear=group.first, column=column, **parts)

    def _product(
        self,
        matrix: Matrix,
        x: str,
        *,
        bias: onnx.TensorProto | None = None,
        into: str | None = None,
        **attributes: Any,
    ) -> str:
        g = self.g
        assert matrix.scales is not None
        scales = [g.initializer(each) if each is not None else "" for each in (matrix.scales, matrix.minima)]
        is_half = matrix.scales.data_type == TensorProto.FLOAT16
        return g.op(
            "SlotLinear",
            x,
            g.initializer(matrix.weight),
            "" if is_half else scales[0],
            *_SLOTS,
            g.initializer(bias) if bias else "",
            "" if is_half else scales[1],
            *(scales if is_half else ("", "")),
            domain=XPM,
            into=into,
            num_in=matrix.num_in,
            num_out=matrix.num_out,
            bits=matrix.bits,
            block=matrix.block,
            **attributes,
        )

    def _attention(self, layer: int, qkv: str) -> str:
        g, a = self.g, self.a
        norms = [g.initializer(self.tensors.norms[f"{layer}.{part}"]) if a.has_qk_norm else "" for part in "qk"]
        past = [f"past_key_values.{layer}.key", f"past_key_values.{layer}.value"]
        return g.op(
            "SlotAttention",
            qkv,
            *past,
            "seqlens_k",
            "rope_cos",
            "rope_sin",
            *norms,
            domain=XPM,
            num_heads=a.num_heads,
            kv_num_heads=a.num_kv_heads,
            head_dim=a.head_dim,
            epsilon=a.epsilon,
            scale=a.head_dim**-0.5,
        )
