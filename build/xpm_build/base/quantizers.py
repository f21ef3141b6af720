"""How the matrices of a base are rounded: one by one as they come, or with an eye on what they will be multiplied by.

A base is quantised in the order of its computation. So a calibrated quantiser keeps hidden states of a text, computed
with the weights that are left so far, and each matrix is rounded for the inputs that it will really have.
docs/reference/quantisers.md has what each method costs a real model.
"""

import os
from abc import ABC, abstractmethod
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from xpm_build.base import block_scales
from xpm_build.base.architecture import Architecture, tensor_name
from xpm_build.base.checkpoint import Checkpoint
from xpm_build.base.forward import Decoder, windows
from xpm_build.base.gptq import gptq
from xpm_build.base.quantize import BITS, QuantizedMatrix, pack, quantize_matrix
from xpm_build.errors import BuildError

METHODS = ("nearest", "search", "minima", "gptq")
WITH_MINIMA = ("minima", "gptq")
TEXTS = Path(__file__).with_name("texts")
_ENDS_BITS, _ENDS_BLOCK = 8, 32  # of embedding and head, whose errors every token sees
_WINDOW, _NUM_WINDOWS = (
    128,
    8,
)  # means of squares need few tokens; GPTQ, which fits all columns together, takes the whole text
_WIDER = "gate_up"  # of all groups the least hurt by blocks of twice the size
_ROWS_AT_ONCE = 256  # so that what is tried stays in a core's cache

Floats = NDArray[np.float32]


class Quantizer(ABC):
    """Rounds matrices, asked in the order of a base's computation: embedding, head, then each layer's groups."""

    @abstractmethod
    def quantize(self, name: str, weight: Floats) -> QuantizedMatrix:
        """``name`` is "embedding", "head", or that of a layer's group; ``weight`` (out, in)."""


class Nearest(Quantizer):
    """Each weight to the nearest number of its block, symmetric, the block's largest entry kept. Needs no text."""

    def __init__(self, variant: str, block: int) -> None:
        self._bits, self._block = BITS[variant], block

    def quantize(self, name: str, weight: Floats) -> QuantizedMatrix:
        return quantize_matrix(weight, bits=self._bits, block=self._block)


class Calibrated(Quantizer):
    """Scales (and minima) of least error on a calibration text; with "gptq", what rounding
    costs is made up for, too."""

    def __init__(self, method: str, variant: str, block: int, checkpoint: Checkpoint, text_folder: Path) -> None:
        """``block`` is smaller where rows are not whole ones; ``text_folder`` has the base's tokenizer.json."""
        self._method, self._bits, self._block = method, BITS[variant], block
        self._checkpoint = checkpoint
        self._decoder = Decoder(Architecture(checkpoint.configuration), checkpoint, num_tokens=_WINDOW)
        ids = text_ids("calibration", text_folder)
        self._ids = _spread(ids, len(ids) // _WINDOW if method == "gptq" else _NUM_WINDOWS)
        self._hidden = self._carried = np.zeros(0, np.float32)

    def quantize(self, name: str, weight: Floats) -> QuantizedMatrix:
        if not name[0].isdigit():
            quantized = quantize_matrix(weight, bits=_ENDS_BITS, block=_ENDS_BLOCK)
            if name == "embedding":
                self._hidden = quantized.dequantized()[self._ids]
            return quantized
        number, _, place = name.partition(".")
        layer = int(number)
        x = self._input(layer, place)
        wanted = 2 * self._block if place == _WIDER and self._method in WITH_MINIMA else self._block
        quantized = self._rounded(weight, x.reshape(-1, x.shape[-1]), wanted)
        self._advance(layer, place, x @ quantized.dequantized().T)
        return quantized

    def _input(self, layer: int, place: str) -> Floats:
        if place == "qkv":
            return self._decoder.attention_input(layer, self._hidden)
        return self._decoder.mlp_input(layer, self._hidden) if place == "gate_up" else self._carried

    def _advance(self, layer: int, place: str, y: Floats) -> None:
        group = next(group for group in self._decoder.a.groups(layer) if group.name == f"{layer}.{place}")
        if group.has_bias:
            y = y + np.concatenate(
                [
                    self._checkpoint[tensor_name(each, "bias")] if each.has_bias else np.zeros(each.num_out, np.float32)
                    for each in group.linears
                ]
            )
        if place == "qkv":
            self._carried = self._decoder.attend(layer, y)
        elif place == "gate_up":
            self._carried = self._decoder.gated(y)
        else:
            self._hidden = self._hidden + y

    def _rounded(self, weight: Floats, x: Floats, wanted: int) -> QuantizedMatrix:
        columns = weight.shape[1]
        block = next((each for each in (wanted, 32, 16) if columns % each == 0), None)
        if block is None:
            raise BuildError(f"rows of {columns} weights are not whole blocks", hint="build fp32 or fp16")
        if self._method == "gptq":
            inputs = x.astype(np.float64)
            return gptq(weight, inputs.T @ inputs, bits=self._bits, block=block, with_minima=True)
        importance = np.einsum("tk,tk->k", x, x).reshape(-1, block)
        blocks = weight.reshape(len(weight), -1, block)
        pieces = [blocks[first : first + _ROWS_AT_ONCE] for first in range(0, len(blocks), _ROWS_AT_ONCE)]
        with ThreadPoolExecutor(os.cpu_count()) as pool:  # numpy lets go of Python while it computes
            scales, minima, numbers = zip(*pool.map(lambda piece: self._chosen(piece, importance), pieces), strict=True)
        return QuantizedMatrix(
            packed=np.concatenate(numbers),
            scales=np.concatenate(scales),
            bits=self._bits,
            block=block,
            minima=np.concatenate(minima) if self._method in WITH_MINIMA else None,
        )

    def _chosen(self, piece: Floats, importance: Floats) -> tuple[Floats, Floats | None, NDArray[np.uint8]]:
        """(scales, minima, packed numbers) of some rows."""
        if self._method == "search":
            scale, least = block_scales.symmetric(piece, self._bits, importance), None
        else:
            scale, least = map(halved, block_scales.asymmetric(piece, self._bits, importance))
        return scale, least, pack(block_scales.rounded(piece, scale, least, self._bits), self._bits)


def quantizer_for(method: str, variant: str, block: int, checkpoint: Checkpoint, text_folder: Path) -> Quantizer:
    """Raises BuildError if there is no such method."""
    if method not in METHODS:
        raise BuildError(f"the quantiser {method!r} is unknown", hint=f"choose of {', '.join(METHODS)}")
    if method == "nearest" or variant != "int4":  # 8 bits lose nothing that a text would tell
        return Nearest(variant, block)
    return Calibrated(method, variant, block, checkpoint, text_folder)


def text_ids(name: str, folder: Path) -> list[int]:
    """A text of the project as token ids: "calibration", or "evaluation", which is another."""
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    text = (TEXTS / f"{name}.txt").read_text(encoding="utf-8")
    return list(tokenizer.encode(text, add_special_tokens=False).ids)


def halved(values: Floats) -> Floats:
    """As float16 can hold them."""
    limit = float(np.finfo(np.float16).max)
    return np.clip(values, -limit, limit).astype(np.float16).astype(np.float32)


def _spread(ids: list[int], count: int) -> NDArray[np.int64]:
    """Windows from all over a text, so that each kind of it is heard."""
    every = windows((ids * (_WINDOW // max(len(ids), 1) + 1))[: max(len(ids), _WINDOW)], _WINDOW)
    return every[np.unique(np.linspace(0, len(every) - 1, max(count, 1)).astype(int))]
