"""What a quantised base is worth on natural text: beside its own weights in float32, and beside the
model that it was made of.

The first difference is the kernels' (8-bit activations, the order of sums), the second what rounding the weights cost.
Both are measured as KL divergence and as how often the likeliest token is the same, on a text of the project that no
calibration saw. docs/reference/quantisers.md has what real models come to.
"""

import os
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray

from xpm_build.base.architecture import Architecture
from xpm_build.base.checkpoint import Checkpoint
from xpm_build.base.forward import Decoder, last_hidden, windows
from xpm_build.base.quantizers import text_ids
from xpm_build.errors import ParityError
from xpm_runtime import Engine

_WINDOW, _NUM_WINDOWS = 256, 2
_EXACT = 1  # accuracy level of MatMulNBits: activations stay float32
# The most that may be lost, as shares of what the model's predictions know beyond their mean. On real
# models kernels lose 0.0007, 8 bits 0.002, 4 bits 0.02 to 0.1 by the quantiser (and of random weights 0.2); a graph
# that computes something else loses about 1.
MAX_KERNEL_LOSS = 0.02
MAX_WEIGHT_LOSS = {"int8": 0.05, "int4": 0.5}

Logits = NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """Between two models' predictions of each next token of a text: KL divergence in nats, and
    agreement on the likeliest.

    ``loss`` is the divergence as a share of that of the first model's mean prediction.
    """

    kl: float
    top1: float
    loss: float

    def __str__(self) -> str:
        return f"KL {self.kl:.4f}, likeliest token the same {self.top1:.1%}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Quality:
    """``kernels``: the engine against its own weights in float32; ``weights``: those against the
    model as it was published."""

    kernels: Difference
    weights: Difference
    perplexity: float
    perplexity_before: float
    max_logit_error: float

    def to_dict(self) -> dict[str, float]:
        """For a manifest, rounded so that the last bits of a machine's arithmetic do not alter it."""
        return {
            "kernel_kl": float(f"{self.kernels.kl:.1e}"),
            "kernel_top1": round(self.kernels.top1, 2),
            "weight_kl": float(f"{self.weights.kl:.1e}"),
            "weight_top1": round(self.weights.top1, 2),
            "perplexity": float(f"{self.perplexity:.3g}"),
            "perplexity_before": float(f"{self.perplexity_before:.3g}"),
        }

    def lines(self) -> tuple[str, ...]:
        return (
            f"kernels, against the same weights in float32: {self.kernels}",
            f"weights, against the model as it was: {self.weights}",
            f"perplexity {self.perplexity:.2f}, before {self.perplexity_before:.2f}",
        )


def measure(folder: Path, checkpoint: Checkpoint, variant: str) -> Quality:
    """Measure an exported, quantised base; takes the time of a few hundred tokens in float32.

    Raises:
        ParityError: it computes something else than the model.
    """
    ids = sample(text_ids("evaluation", folder), checkpoint.configuration.vocab_size)
    got = engine_logits(folder, ids)
    with _exact_copy(folder) as copy:
        exact = engine_logits(Path(copy), ids, kernels="portable")
    decoder = Decoder(Architecture(checkpoint.configuration), checkpoint, num_tokens=ids.shape[1])
    before = decoder.logits(last_hidden(decoder, ids))
    quality = Quality(
        kernels=difference(exact, got),
        weights=difference(before, exact),
        perplexity=perplexity(got, ids),
        perplexity_before=perplexity(before, ids),
        max_logit_error=float(np.abs(exact - got).max()),
    )
    for found, allowed, what in (
        (quality.kernels, MAX_KERNEL_LOSS, "its own weights in float32"),
        (quality.weights, MAX_WEIGHT_LOSS[variant], "the model that it was made of"),
    ):
        if not found.loss <= allowed:
            raise ParityError(
                f"the {variant} graph predicts otherwise than {what}",
                context=f"{found}: {found.loss:.1%} of what is known is lost, {allowed:.0%} is allowed",
                hint="build another variant, or with another quantiser" if what.startswith("the") else None,
            )
    return quality


def difference(before: Logits, after: Logits) -> Difference:
    """Of logits (sequences, tokens, vocab) of the same tokens."""
    vocabulary = before.shape[-1]
    p, q = (_log_softmax(each.reshape(-1, vocabulary)) for each in (before, after))
    weights = np.exp(p)
    kl = max(0.0, float((weights * (p - q)).sum(axis=-1).mean(dtype=np.float64)))  # less than 0 is rounding
    known = float((weights * (p - np.log(weights.mean(axis=0)))).sum(axis=-1).mean(dtype=np.float64))
    return Difference(kl=kl, top1=float((p.argmax(axis=-1) == q.argmax(axis=-1)).mean()), loss=kl / max(known, 1e-9))


def perplexity(logits: Logits, ids: NDArray[np.integer]) -> float:
    """Of every token of (sequences, tokens) but the first."""
    own = [
        _log_softmax(row[:-1])[np.arange(len(tokens) - 1), tokens[1:]] for row, tokens in zip(logits, ids, strict=True)
    ]
    return float(np.exp(-np.concatenate(own).mean(dtype=np.float64)))


def _log_softmax(logits: Logits) -> Logits:
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def engine_logits(folder: Path, ids: NDArray[np.integer], *, kernels: str = "auto") -> Logits:
    """The engine's (sequences, tokens, vocab) on an exported base."""
    with Engine.load(folder, device="cpu", max_lanes=1, context=ids.shape[1], kernels=kernels) as engine:
        return np.stack([engine.logits([int(token) for token in row]) for row in ids])


def _exact_copy(folder: Path) -> "tempfile.TemporaryDirectory[str]":
    """The portable graph beside the same data, with activations left in float32."""
    scratch = tempfile.TemporaryDirectory(dir=folder.parent, prefix=".exact-")
    for path in folder.iterdir():
        if path.suffix != ".onnx":
            os.link(path, Path(scratch.name) / path.name)
    model = onnx.load(folder / "model.onnx", load_external_data=False)
    for attribute in _accuracy_levels(model):
        attribute.i = _EXACT
    (Path(scratch.name) / "model.onnx").write_bytes(model.SerializeToString())
    return scratch


def _accuracy_levels(model: onnx.ModelProto) -> Iterable[onnx.AttributeProto]:
    return (each for node in model.graph.node for each in node.attribute if each.name == "accuracy_level")


def sample(ids: list[int], vocab_size: int) -> NDArray[np.int64]:
    """Windows of a text, whose ids a small vocabulary may not have."""
    known = [token for token in ids if token < vocab_size]
    length = min(_WINDOW, max(len(known) // _NUM_WINDOWS, 2))
    return windows(known, length)[:_NUM_WINDOWS]
