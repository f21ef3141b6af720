"""What every graph of a base has in common: the embedding, the norms, and the order of things in a layer."""

from abc import ABC, abstractmethod

import numpy as np
from onnx import TensorProto, helper

from xpm_build.base.architecture import LinearGroup
from xpm_build.base.base_tensors import BaseTensors
from xpm_build.base.graph_writer import MICROSOFT, GraphWriter
from xpm_build.base.tensor_file import reshaped


class DecoderGraph(ABC):
    """Writes the layers of one base; how attention, linears and the gated product are computed is its subclasses'."""

    def __init__(self, tensors: BaseTensors) -> None:
        self.g = GraphWriter()
        self.tensors = tensors
        self.a = tensors.architecture
        self.dtype = tensors.dtype  # of activations
        self._cast: dict[str, str] = {}

    @abstractmethod
    def attend(self, layer: int, qkv: LinearGroup, x: str) -> str:
        """Attention of a layer over normalised ``x``, before the output's linear."""

    @abstractmethod
    def linear(self, group: LinearGroup, x: str) -> str:
        """A group of one linear, with its slot."""

    @abstractmethod
    def gated(self, gate_up: LinearGroup, x: str) -> str:
        """silu(gate) ⊙ up"""

    def float(self, tensor: TensorProto) -> str:
        """An initializer in the type that the graph computes in; what is stored in another is cast
        when the graph is loaded."""
        name, wanted = self.g.initializer(tensor), helper.np_dtype_to_tensor_dtype(self.dtype)
        if tensor.data_type == wanted:
            return name
        if name not in self._cast:
            self._cast[name] = self.g.op("Cast", name, to=wanted)
        return self._cast[name]

    def declare_run(self) -> None:
        """Inputs that say what a run of ONNX Runtime's own attention computes, and where its cache is."""
        g, half = self.g, self.a.head_dim // 2
        g.input("input_ids", np.int64, ["batch", "seq"])
        for name in self.cache_names("past_key_values"):
            g.input(name, self.dtype, self.cache_shape)
        g.input("seqlens_k", np.int32, ["batch"])
        g.input("total_sequence_length", np.int32, [])
        g.input("rope_cos", self.dtype, ["max_pos", half])
        g.input("rope_sin", self.dtype, ["max_pos", half])
        g.input("logit_positions", np.int64, ["batch", "num_logits"])

    def embed(self, *, has_soft: bool = True) -> str:
        """Rows of the vocabulary; for ids from the vocabulary's size on, where a graph has
        them, rows of ``soft_embeds``."""
        g, a, matrix = self.g, self.a, self.tensors.embedding
        last = g.constant(np.array(a.vocab_size - 1, np.int64))
        known = g.op("Min", "input_ids", last) if has_soft else "input_ids"
        if matrix.scales is None:
            rows = g.op("Gather", g.initializer(matrix.weight), known, axis=0)
        else:
            flat = reshaped(matrix.weight, "embedding.rows", (a.vocab_size, a.hidden_size * matrix.bits // 8))
            rows = g.op(
                "GatherBlockQuantized",
                g.initializer(flat),
                known,
                self.float(matrix.scales),
                domain=MICROSOFT,
                bits=matrix.bits,
                block_size=matrix.block,
                gather_axis=0,
                quantize_axis=1,
            )
        if matrix.minima is not None:
            minima = g.op("Gather", self.float(matrix.minima), known, axis=0)
            parted = g.op("Reshape", rows, g.shape(0, 0, -1, matrix.block))
            raised = g.op("Add", parted, g.op("Unsqueeze", minima, g.shape(-1)))
            rows = g.op("Reshape", raised, g.shape(0, 0, -1))
        if not has_soft:
            return rows
        zero = g.constant(np.zeros((1, a.hidden_size), self.dtype))
        soft_ids = g.op("Max", g.op("Sub", "input_ids", last), g.constant(np.array(0, np.int64)))
        soft = g.op("Gather", g.op("Concat", zero, "soft_embeds", axis=0), soft_ids, axis=0)
        is_soft = g.op("Unsqueeze", g.op("Greater", "input_ids", last), g.shape(-1))
        return g.op("Where", is_soft, soft, rows)

    def layers(self, hidden: str) -> str:
        """From the embedding to the last norm."""
        g, a = self.g, self.a
        norms = {name: self.float(tensor) for name, tensor in self.tensors.norms.items()}
        residual = ""
        for layer in range(a.num_layers):
            qkv, attended, gate_up, down = a.groups(layer)
            if residual:
                x, hidden = skip_norm(g, hidden, residual, norms[f"{layer}.input"], a.epsilon)
            else:
                x = norm(g, hidden, norms[f"{layer}.input"], a.epsilon)
            mixed = self.linear(attended, self.attend(layer, qkv, x))
            x, hidden = skip_norm(g, hidden, mixed, norms[f"{layer}.mlp"], a.epsilon)
            residual = self.linear(down, self.gated(gate_up, x))
        return skip_norm(g, hidden, residual, norms["final"], a.epsilon)[0]

    @property
    def cache_shape(self) -> list[int | str]:
        return ["batch", self.a.num_kv_heads, "capacity", self.a.head_dim]

    def cache_names(self, prefix: str) -> list[str]:
        return [f"{prefix}.{layer}.{part}" for layer in range(self.a.num_layers) for part in ("key", "value")]


def skip_norm(g: GraphWriter, hidden: str, residual: str, weight: str, epsilon: float) -> tuple[str, str]:
    """(normalised hidden + residual, hidden + residual)."""
    into = [g.fresh("norm"), "", "", g.fresh("sum")]
    normed, total = g.ops(
        "SkipSimplifiedLayerNormalization", hidden, residual, weight, domain=MICROSOFT, into=into, epsilon=epsilon
    )
    return normed, total


def norm(g: GraphWriter, x: str, weight: str, epsilon: float) -> str:
    return g.op("SimplifiedLayerNormalization", x, weight, axis=-1, epsilon=epsilon, stash_type=1)
