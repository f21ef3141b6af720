"""Every weight of a base as initializers: matrices in the data file, in the variant's numbers;
what is tied is stored once."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from xpm_build.base.architecture import Architecture, Linear, tensor_name
from xpm_build.base.checkpoint import Checkpoint
from xpm_build.base.quantize import BITS, QuantizedMatrix, joined
from xpm_build.base.quantizers import Nearest, Quantizer
from xpm_build.base.tensor_file import TensorFile
from xpm_build.errors import BuildError

FLOATS = {"fp32": np.float32, "fp16": np.float16}


@dataclass(frozen=True, slots=True, kw_only=True)
class Matrix:
    """Of a linear: floats (num_in, num_out); of embedding and head: (num_out, num_in); quantised, always: (num_out,
    blocks, bytes) with ``scales``, and perhaps ``minima``, (num_out, blocks)."""

    weight: TensorProto
    scales: TensorProto | None
    minima: TensorProto | None = None
    num_in: int
    num_out: int
    bits: int = 0
    block: int = 0


class BaseTensors:
    """Quantises and writes weights, one matrix at a time."""

    def __init__(
        self,
        weights: Checkpoint,
        architecture: Architecture,
        out: Path,
        *,
        variant: str,
        block: int,
        quantizer: Quantizer | None = None,
    ) -> None:
        """``quantizer`` rounds what is not in blocks already; to the nearest if None. Raises BuildError."""
        if variant not in FLOATS and variant not in BITS:
            raise BuildError(
                f"variant {variant!r} is unknown", hint=f"choose of {', '.join([*FLOATS, *BITS])} and source"
            )
        self.architecture = architecture
        self._quantizer: Quantizer | None = None
        if variant in BITS:
            self._quantizer = quantizer or Nearest(variant, block)
        self.dtype = np.dtype(FLOATS.get(variant, np.float32))
        self._weights = weights
        hidden, vocab = architecture.hidden_size, architecture.vocab_size
        with TensorFile(out) as self._data:
            self.embedding = self._matrix("embedding", ["model.embed_tokens.weight"], [vocab], hidden)
            self.head = self.embedding
            if not architecture.is_tied:
                self.head = self._matrix("head", ["lm_head.weight"], [vocab], hidden)
            self.groups: dict[str, Matrix] = {}
            self.norms: dict[str, TensorProto] = {"final": self._vector("final_norm", "model.norm.weight", hidden)}
            self.biases: dict[str, TensorProto] = {}
            for layer in range(architecture.num_layers):
                self._write_layer(layer)

    def _write_layer(self, layer: int) -> None:
        prefix, a = f"model.layers.{layer}", self.architecture
        norms = {"input": ("input_layernorm", a.hidden_size), "mlp": ("post_attention_layernorm", a.hidden_size)}
        if a.has_qk_norm:
            norms |= {"q": ("self_attn.q_norm", a.head_dim), "k": ("self_attn.k_norm", a.head_dim)}
        for name, (place, size) in norms.items():
            self.norms[f"{layer}.{name}"] = self._vector(f"{layer}.{name}_norm", f"{prefix}.{place}.weight", size)
        for group in a.groups(layer):
            names = [tensor_name(linear) for linear in group.linears]
            sizes = [linear.num_out for linear in group.linears]
            self.groups[group.name] = self._matrix(group.name, names, sizes, group.num_in)
            if group.has_bias:
                bias = np.concatenate([self._bias(linear) for linear in group.linears])
                self.biases[group.name] = self._data.write(f"{group.name}.bias", bias)

    def _matrix(self, name: str, tensors: Iterable[str], sizes: Iterable[int], num_in: int) -> Matrix:
        pairs = list(zip(tensors, sizes, strict=True))
        num_out = sum(size for _, size in pairs)
        if self._quantizer is None:
            weight, is_linear = self._floats(pairs, num_in), name[0].isdigit()
            stored = self._data.write(f"{name}.weight", self._float(weight.T if is_linear else weight, name))
            return Matrix(weight=stored, scales=None, num_in=num_in, num_out=num_out)
        quantized = self._as_stored(pairs, num_in)
        if quantized is None:
            quantized = self._quantizer.quantize(name, self._floats(pairs, num_in))
        scales, minima = _compact(quantized.scales, quantized.minima)
        return Matrix(
            weight=self._data.write(f"{name}.weight", quantized.packed),
            scales=self._data.write(f"{name}.scales", scales),
            minima=None if minima is None else self._data.write(f"{name}.minima", minima),
            num_in=num_in,
            num_out=num_out,
            bits=quantized.bits,
            block=quantized.block,
        )

    def _floats(self, pairs: Iterable[tuple[str, int]], num_in: int) -> NDArray[np.float32]:
        return np.concatenate([self._weights.require(name, (size, num_in)) for name, size in pairs])

    def _as_stored(self, pairs: Iterable[tuple[str, int]], num_in: int) -> QuantizedMatrix | None:
        """The numbers of a checkpoint that is quantised already, for a variant that has room for them."""
        parts = []
        for name, size in pairs:
            self._weights.require_shape(name, (size, num_in))
            part = self._weights.quantized(name)
            if part is None:
                return None
            if not (np.isfinite(part.scales).all() and (part.minima is None or np.isfinite(part.minima).all())):
                raise BuildError(f"{name} has values that are not finite numbers")
            parts.append(part)
        return joined(parts)

    @property
    def matrices(self) -> list[Matrix]:
        """All of them, those that are tied once."""
        return [self.embedding, *([] if self.head is self.embedding else [self.head]), *self.groups.values()]

    @property
    def is_quantized(self) -> bool:
        return self._quantizer is not None

    @property
    def has_minima(self) -> bool:
        return any(matrix.minima is not None for matrix in self.matrices)

    def _vector(self, name: str, tensor: str, size: int) -> TensorProto:
        return self._data.write(name, self._float(self._weights.require(tensor, (size,)), name))

    def _bias(self, linear: Linear) -> NDArray[np.floating]:
        if not linear.has_bias:
            return np.zeros(linear.num_out, self.dtype)
        bias = self._weights.require(tensor_name(linear, "bias"), (linear.num_out,))
        return self._float(bias, linear.name)

    def _float(self, array: NDArray[np.float32], name: str) -> NDArray[np.floating]:
        with np.errstate(over="ignore"):
            result = array.astype(self.dtype)
        if not np.isfinite(result).all():
            raise BuildError(f"{name} has values too large for {self.dtype}", hint="build another variant")
        return result


def _compact(
    scales: NDArray[np.float32], minima: NDArray[np.float32] | None
) -> tuple[NDArray[np.floating], NDArray[np.floating] | None]:
    """Both in 16 bits, where there are minima and nothing is lost. ONNX Runtime's product needs scales in 32."""
    if minima is None:
        return scales, None
    with np.errstate(over="ignore"):
        halves = [each.astype(np.float16) for each in (scales, minima)]
    is_exact = all(
        np.array_equal(half.astype(np.float32), each) for half, each in zip(halves, (scales, minima), strict=True)
    )
    return (halves[0], halves[1]) if is_exact else (scales, minima)
