"""A base as a graph of standard and ONNX Runtime operators, with a slot at every linear. Runs on every device.

    y = (W x) ⊙ (1 + gate_scale·scales) + bias + gate_scale·offsets + where(gate_rank, x·Aᵀ, 0)·B

docs/reference/formats/graph.md has the inputs. Slot inputs have defaults of rank zero: a
base-only run feeds none of them.
"""

import numpy as np
import onnx
from onnx import helper

from xpm_build.base.architecture import Architecture, LinearGroup
from xpm_build.base.base_tensors import BaseTensors, Matrix
from xpm_build.base.decoder_graph import DecoderGraph, norm
from xpm_build.base.graph_writer import MICROSOFT

_ACCURACY_INT8_ACTIVATIONS = 4  # of MatMulNBits: activations in 8 bits inside the product


def slot_defaults(a: Architecture) -> dict[str, tuple[int, ...]]:
    """The inputs that nobody needs to feed, and the empty shapes that they then have."""
    defaults: dict[str, tuple[int, ...]] = {
        "gate_rank": (1, 1, 0),
        "gate_scale": (1, 1, 0),
        "scales": (0, a.total_out),
        "soft_embeds": (0, a.hidden_size),
    }
    if a.has_bias:
        defaults["offsets"] = (0, a.total_out)
    for linear in a.linears():
        defaults |= {f"slots.{linear.name}.A": (0, linear.num_in), f"slots.{linear.name}.B": (0, linear.num_out)}
    return defaults


class PortableGraph(DecoderGraph):
    """Writes the graph of one base."""

    def __init__(self, tensors: BaseTensors) -> None:
        super().__init__(tensors)
        self._sums: dict[tuple[str, int], str] = {}

    def write(self) -> onnx.ModelProto:
        g, a, dtype = self.g, self.a, self.tensors.dtype
        self._declare_inputs()
        self._spread_scales()
        x = self.layers(self.embed())
        places = g.op("Unsqueeze", "logit_positions", g.shape(-1))
        wanted = g.op("GatherElements", x, g.op("Expand", places, g.shape(1, 1, a.hidden_size)), axis=1)
        self._head(wanted)
        g.output("logits", dtype, ["batch", "num_logits", a.vocab_size])
        for name in self.cache_names("present"):
            g.output(name, dtype, self.cache_shape)
        return g.model("base with slots")

    def attend(self, layer: int, qkv: LinearGroup, x: str) -> str:
        return self._attention(layer, *self._linears(qkv, x))

    def linear(self, group: LinearGroup, x: str) -> str:
        return self._linears(group, x)[0]

    def gated(self, gate_up: LinearGroup, x: str) -> str:
        gate, up = self._linears(gate_up, x)
        return self.g.op("Mul", self.g.op("Mul", gate, self.g.op("Sigmoid", gate)), up)

    def _declare_inputs(self) -> None:
        g, a, dtype = self.g, self.a, self.tensors.dtype
        self.declare_run()
        free: dict[str, list[int | str]] = {
            "gate_rank": ["gate_batch", 1, "rank"],
            "gate_scale": ["gate_batch", 1, "num_scales"],
            "soft_embeds": ["num_soft"],
        }
        for name, dims in slot_defaults(a).items():
            named: list[int | str] = free.get(name, ["rank" if name.startswith("slots.") else "num_scales"])
            kind = np.dtype(np.bool_) if name == "gate_rank" else dtype
            g.input(name, kind, [*named, *dims[len(named) :]])
            g.initializer(helper.make_tensor(name, helper.np_dtype_to_tensor_dtype(kind), dims, []))

    def _spread_scales(self) -> None:
        """What each group's product is multiplied by, and, where the base has biases, what is added to it."""
        g, a = self.g, self.a
        groups = [group for layer in range(a.num_layers) for group in a.groups(layer)]
        sizes = [group.num_out for group in groups]
        names = [group.name for group in groups]
        one = g.constant(np.array(1, self.tensors.dtype))
        factors = g.op("Add", g.op("MatMul", "gate_scale", "scales"), one)
        self._factors = dict(zip(names, g.split(factors, sizes), strict=True))
        self._offsets: dict[str, str] = {}
        if a.has_bias:
            parts = g.split(g.op("MatMul", "gate_scale", "offsets"), sizes)
            for group, part in zip(groups, parts, strict=True):
                if group.has_bias:
                    self._offsets[group.name] = g.op("Add", part, g.initializer(self.tensors.biases[group.name]))

    def _linears(self, group: LinearGroup, x: str) -> list[str]:
        g = self.g
        y = g.op("Mul", self._product(self.tensors.groups[group.name], x), self._factors[group.name])
        if group.name in self._offsets:
            y = g.op("Add", y, self._offsets[group.name])
        return [
            g.op("Add", part, self._slot(linear.name, x))
            for part, linear in zip(g.split(y, [each.num_out for each in group.linears]), group.linears, strict=True)
        ]

    def _slot(self, name: str, x: str) -> str:
        g = self.g
        reduced = g.op("MatMul", x, g.op("Transpose", f"slots.{name}.A", perm=[1, 0]))
        chosen = g.op("Where", "gate_rank", reduced, g.constant(np.zeros((), self.tensors.dtype)))
        return g.op("MatMul", chosen, f"slots.{name}.B")

    def _product(self, matrix: Matrix, x: str, *, into: str | None = None) -> str:
        g = self.g
        weight = g.initializer(matrix.weight)
        if matrix.scales is None:
            return g.op("MatMul", x, weight, into=into)
        product = g.op(
            "MatMulNBits",
            x,
            weight,
            self.float(matrix.scales),
            domain=MICROSOFT,
            into=into if matrix.minima is None else None,
            K=matrix.num_in,
            N=matrix.num_out,
            bits=matrix.bits,
            block_size=matrix.block,
            accuracy_level=_ACCURACY_INT8_ACTIVATIONS,
        )
        if matrix.minima is None:
            return product
        minima = g.op("Transpose", self.float(matrix.minima), perm=[1, 0])
        return g.op("Add", product, g.op("MatMul", self._block_sums(x, matrix.block), minima), into=into)

    def _block_sums(self, x: str, block: int) -> str:
        """What a block's minimum is multiplied by: (batch, seq, features) → (batch, seq,
        blocks), once for each ``x``."""
        g = self.g
        if (x, block) not in self._sums:
            parted = g.op("Reshape", x, g.shape(0, 0, -1, block))
            self._sums[x, block] = g.op("ReduceSum", parted, g.shape(-1), keepdims=0)
        return self._sums[x, block]

    def _head(self, wanted: str) -> None:
        """The head shares the embedding's numbers where they are tied: Gemm reads them as they lie, (vocab, hidden)."""
        g, a, matrix = self.g, self.a, self.tensors.head
        if matrix.scales is not None:
            self._product(matrix, wanted, into="logits")
            return
        rows = g.op("Reshape", wanted, g.shape(-1, a.hidden_size))
        logits = g.op("Gemm", rows, g.initializer(matrix.weight), transB=1)
        shape = g.op("Concat", g.op("Shape", "logit_positions"), g.shape(a.vocab_size), axis=0)
        g.op("Reshape", logits, shape, into="logits")

    def _attention(self, layer: int, query: str, key: str, value: str) -> str:
        g, a = self.g, self.a
        if a.has_qk_norm:
            query = self._head_norm(query, a.num_heads, f"{layer}.q")
            key = self._head_norm(key, a.num_kv_heads, f"{layer}.k")
        past = [f"past_key_values.{layer}.key", f"past_key_values.{layer}.value"]
        into = [g.fresh("attended"), f"present.{layer}.key", f"present.{layer}.value"]
        return g.ops(
            "GroupQueryAttention",
            query,
            key,
            value,
            *past,
            "seqlens_k",
            "total_sequence_length",
            "rope_cos",
            "rope_sin",
            domain=MICROSOFT,
            into=into,
            num_heads=a.num_heads,
            kv_num_heads=a.num_kv_heads,
            do_rotary=1,
            rotary_interleaved=0,
        )[0]

    def _head_norm(self, x: str, heads: int, name: str) -> str:
        g = self.g
        parted = g.op("Reshape", x, g.shape(0, 0, heads, -1))
        return g.op("Reshape", norm(g, parted, self.float(self.tensors.norms[name]), self.a.epsilon), g.shape(0, 0, -1))
