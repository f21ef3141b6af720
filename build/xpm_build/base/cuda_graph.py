"""A base for CUDA: float16 activations, one slot for each group of linears, and no shape that changes while decoding.

Three graphs over the same weights, so that a run pays for what acts and no more: the base alone, with slots, and with
slots and scaled outputs. docs/reference/formats/graph.md has the inputs.
"""

import numpy as np
import onnx
from onnx import TensorProto

from xpm_build.base.architecture import LinearGroup
from xpm_build.base.base_tensors import BaseTensors, Matrix
from xpm_build.base.decoder_graph import DecoderGraph
from xpm_build.base.graph_writer import MICROSOFT

_HALF = np.dtype(np.float16)


def has_cuda_graphs(tensors: BaseTensors) -> bool:
    """Float32 bases have none: ONNX Runtime attends on CUDA in 16 bits only. Nor have bases
    whose blocks have minima."""
    return tensors.dtype == _HALF or (tensors.is_quantized and not tensors.has_minima)


class CudaGraph(DecoderGraph):
    """Writes one of the three; ``kind`` is a key of ``CUDA_FILES``."""

    def __init__(self, tensors: BaseTensors, kind: str) -> None:
        super().__init__(tensors)
        self.dtype = _HALF
        self._has_slots = kind != "base"
        self._is_scaled = kind == "scaled"

    def write(self) -> onnx.ModelProto:
        g, a = self.g, self.a
        self._declare_inputs()
        x = self.layers(self.embed(has_soft=self._has_slots))
        places = g.op("Unsqueeze", "logit_positions", g.shape(-1))
        wanted = g.op("GatherElements", x, g.op("Expand", places, g.shape(1, 1, a.hidden_size)), axis=1)
        rows = g.op("Reshape", wanted, g.shape(-1, a.hidden_size))
        head = self.tensors.head
        is_float = head.scales is None
        logits = g.op("Gemm", rows, g.initializer(head.weight), transB=1) if is_float else self._product(head, rows)
        g.op("Cast", logits, to=TensorProto.FLOAT, into="logits")
        g.op("ArgMax", logits, axis=-1, keepdims=0, into="greedy")
        g.op("ReduceSum", "logits", g.shape(1), keepdims=0, into="total")
        g.output("logits", np.float32, ["rows", a.vocab_size])
        g.output("greedy", np.int64, ["rows"])
        g.output("total", np.float32, ["rows"])
        for name in self.cache_names("present"):
            g.output(name, _HALF, self.cache_shape)
        return g.model("base for CUDA")

    def attend(self, layer: int, qkv: LinearGroup, x: str) -> str:
        g, a = self.g, self.a
        past = [f"past_key_values.{layer}.key", f"past_key_values.{layer}.value"]
        into = [g.fresh("attended"), f"present.{layer}.key", f"present.{layer}.value"]
        norms = [self.float(self.tensors.norms[f"{layer}.{part}"]) for part in "qk"] if a.has_qk_norm else []
        options = {"qk_norm_epsilon": a.epsilon} if a.has_qk_norm else {}
        return g.ops(
            "GroupQueryAttention",
            self.linear(qkv, x),
            "",
            "",
            *past,
            "seqlens_k",
            "total_sequence_length",
            "rope_cos",
            "rope_sin",
            *([""] * 5 if norms else []),
            *norms,
            domain=MICROSOFT,
            into=into,
            num_heads=a.num_heads,
            kv_num_heads=a.num_kv_heads,
            do_rotary=1,
            rotary_interleaved=0,
            **options,
        )[0]

    def gated(self, gate_up: LinearGroup, x: str) -> str:
        g = self.g
        gate, up = g.split(self.linear(gate_up, x), [each.num_out for each in gate_up.linears])
        return g.op("Mul", g.op("QuickGelu", gate, domain=MICROSOFT, alpha=1.0), up)

    def linear(self, group: LinearGroup, x: str) -> str:
        """(W x) ⊙ factors + offsets + where(gate, x·Aᵀ, 0)·B, of all linears of a group at once."""
        g = self.g
        y = self._product(self.tensors.groups[group.name], x)
        if self._is_scaled:
            y = g.op("Mul", y, self._of_row(f"factors.{group.name}"))
        if group.has_bias:
            y = g.op("Add", y, self.float(self.tensors.biases[group.name]))
            if self._is_scaled:
                y = g.op("Add", y, self._of_row(f"offsets.{group.name}"))
        if not self._has_slots:
            return y
        reduced = g.op("MatMul", x, g.op("Transpose", f"slots.{group.name}.A", perm=[1, 0]))
        chosen = g.op("Where", f"gate.{len(group.linears)}", reduced, g.constant(np.zeros((), _HALF)))
        return g.op("Add", y, g.op("MatMul", chosen, f"slots.{group.name}.B"))

    def _declare_inputs(self) -> None:
        g, a = self.g, self.a
        self.declare_run()
        if not self._has_slots:
            return
        g.input("soft_embeds", _HALF, ["num_soft", a.hidden_size])
        groups = [group for layer in range(a.num_layers) for group in a.groups(layer)]
        for size in sorted({len(group.linears) for group in groups}):
            g.input(f"gate.{size}", np.bool_, ["batch", 1, f"rank{size}"])
        for group in groups:
            rank = f"rank{len(group.linears)}"
            g.input(f"slots.{group.name}.A", _HALF, [rank, group.num_in])
            g.input(f"slots.{group.name}.B", _HALF, [rank, group.num_out])
        if self._is_scaled:
            g.input("row_scales", np.int64, ["batch"])
            for group in groups:
                g.input(f"factors.{group.name}", _HALF, ["num_scales", 1, group.num_out])
                if group.has_bias:
                    g.input(f"offsets.{group.name}", _HALF, ["num_scales", 1, group.num_out])

    def _of_row(self, name: str) -> str:
        return self.g.op("Gather", name, "row_scales", axis=0)

    def _product(self, matrix: Matrix, x: str) -> str:
        g = self.g
        weight = g.initializer(matrix.weight)
        if matrix.scales is None:
            return g.op("MatMul", x, weight)
        return g.op(
            "MatMulNBits",
            x,
            weight,
            self.float(matrix.scales),
            domain=MICROSOFT,
            K=matrix.num_in,
            N=matrix.num_out,
            bits=matrix.bits,
            block_size=matrix.block,
        )
