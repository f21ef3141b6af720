"""A learned head: from a prompt to the log-odds that one expert answers it (docs/reference/formats/routing-head.md).

A head is linear over hashed features of the text, and over the vector of an embedder if it was trained with
one. It is trained by itself, against requests that are for others; heads of different experts are compared
because each is calibrated.
"""

import json
import zlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from math import sqrt
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xpm_runtime.errors import ModelLoadError
from xpm_runtime.router.words import is_cjk
from xpm_runtime.tensor_file import tensor_bytes

HEAD_FILE = "routing.safetensors"
FORMAT = "xpm-routing-head-1"
NUM_FEATURES = 8192
MAX_BYTES = 64 << 10
MAX_VECTOR = 1024
_LEXICAL, _VECTOR = "lexical", "vector"
_EMBEDDED = "embedded."  # before the names of what the second set of weights consists of
_MAX_WORDS = 400
_SIGN_WEIGHT = 0.5

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Features:
    """Sparse: float32 ``values`` at int64 ``places`` below ``NUM_FEATURES``; a place may
    come twice, then both count."""

    places: NDArray[np.int64]
    values: Floats


def features_of(words: Sequence[str], signs: Iterable[str]) -> Features:
    """What heads see of a prompt: its words, pairs of words, pieces of words, and signs.

    Args:
        words: folded, in order (``xpm_runtime.router.words``).
    """
    words = ["0" if each.isdigit() else each for each in words[:_MAX_WORDS]]
    names = [f"w {each}" for each in words]
    names += [f"b {one} {two}" for one, two in pairwise(words)]
    pieces = [piece for each in dict.fromkeys(words) for piece in _pieces(each)]
    marked = [f"s {each}" for each in sorted(signs)]
    places = [zlib.crc32(each.encode()) % NUM_FEATURES for each in (*names, *pieces, *marked)]
    values = np.empty(len(places), np.float32)
    values[: len(names)] = 1 / sqrt(max(len(names), 1))
    values[len(names) : len(names) + len(pieces)] = 0.7 / sqrt(max(len(pieces), 1))
    values[len(names) + len(pieces) :] = _SIGN_WEIGHT
    return Features(places=np.array(places, np.int64), values=values)


def _pieces(word: str) -> list[str]:
    if len(word) < 4 or is_cjk(word):
        return []
    whole = f"<{word[:24]}>"
    return [f"p {whole[start : start + 4]}" for start in range(len(whole) - 3)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """
    lexical: float32 (NUM_FEATURES,). vector: float32 (size,) for the embedder of the digest ``embedder``, None without
    one. Both sums and ``bias`` are calibrated log-odds. Where that embedder is not at hand, the lexical sum times
    ``alone_slope`` plus ``alone_bias`` are. ``embedded`` are the same expert's weights for another embedder, to be used
    in its stead where that one is at hand.
    """

    lexical: Floats
    bias: float
    vector: Floats | None = None
    alone_slope: float = 1.0
    alone_bias: float = 0.0
    embedder: str = ""
    embedded: "Head | None" = None

    def used_with(self, embedders: Collection[str]) -> "Head":
        """The weights to use where the embedders of these digests are at hand."""
        return self.embedded if self.embedded is not None and self.embedded.embedder in embedders else self

    def log_odds(self, features: Features, vector: Floats | None = None) -> float:
        """That the expert answers the prompt; by the vector too if it is given and this head knows its embedder."""
        lexical = float(self.lexical[features.places] @ features.values)
        if self.vector is None:
            return lexical + self.bias
        if vector is None:
            return lexical * self.alone_slope + self.alone_bias
        return lexical + float(self.vector @ vector) + self.bias

    def to_bytes(self) -> bytes:
        """The file: weights in 8 bits, everything else in its metadata."""
        tensors, facts = self._parts()
        metadata = {"format": FORMAT, "head": json.dumps(facts, sort_keys=True)}
        if self.embedded is not None:
            more, facts = self.embedded._parts()
            tensors |= {_EMBEDDED + name: tensor for name, tensor in more.items()}
            metadata["embedded"] = json.dumps(facts, sort_keys=True)
        return tensor_bytes(tensors, metadata)

    def _parts(self) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        scale = float(np.abs(self.lexical).max()) / 127 or 1.0
        tensors: dict[str, NDArray[Any]] = {_LEXICAL: np.rint(self.lexical / scale).astype(np.int8)}
        facts: dict[str, Any] = {"lexical_scale": scale, "bias": self.bias}
        if self.vector is not None:
            tensors[_VECTOR] = self.vector.astype(np.float16)
            facts |= {"alone_slope": self.alone_slope, "alone_bias": self.alone_bias, "embedder": self.embedder}
        return tensors, facts

    @classmethod
    def from_bytes(cls, data: bytes, *, where: str) -> "Head":
        """Read a head; raises ModelLoadError if it is too large, malformed, or has values
        that are no finite numbers."""
        try:
            return cls._parsed(data)
        except Exception as error:  # safetensors raises its own, untyped
            raise ModelLoadError(
                f"{where} is not a routing head",
                context=f"{type(error).__name__}: {error}"[:200],
                hint="install the expert again; if it recurs, tell its publisher",
            ) from error

    @classmethod
    def _parsed(cls, data: bytes) -> "Head":
        from safetensors.numpy import load

        if len(data) > MAX_BYTES:
            raise ValueError(f"it has {len(data)} bytes, at most {MAX_BYTES} are read")
        metadata = metadata_of(data)
        if metadata.get("format") != FORMAT:
            raise ValueError(f"its format is {str(metadata.get('format'))[:40]!r}, {FORMAT} is read")
        tensors = load(data)
        second = {name: tensors.pop(name) for name in list(tensors) if name.startswith(_EMBEDDED)}
        head = cls._assembled(tensors, json.loads(metadata["head"]))
        if not second:
            return head
        parts = {name.removeprefix(_EMBEDDED): tensor for name, tensor in second.items()}
        return replace(head, embedded=cls._assembled(parts, json.loads(metadata["embedded"])))

    @classmethod
    def _assembled(cls, tensors: Mapping[str, NDArray[Any]], facts: Mapping[str, Any]) -> "Head":
        """Raises KeyError, TypeError or ValueError if the parts are not those of a head."""
        if unknown := set(tensors) - {_LEXICAL, _VECTOR}:
            raise ValueError(f"it has a tensor {min(unknown)[:40]!r}")
        lexical, vector = tensors[_LEXICAL], tensors.get(_VECTOR)
        if lexical.dtype != np.int8 or lexical.shape != (NUM_FEATURES,):
            raise ValueError(f"lexical must be int8 ({NUM_FEATURES},)")
        if vector is not None and (vector.dtype != np.float16 or vector.ndim != 1 or not 0 < len(vector) <= MAX_VECTOR):
            raise ValueError(f"vector must be float16 of at most {MAX_VECTOR}")
        if vector is not None and not np.isfinite(vector).all():
            raise ValueError("vector holds what is no finite number")
        return cls(
            lexical=lexical.astype(np.float32) * np.float32(_finite(facts, "lexical_scale")),
            bias=_finite(facts, "bias"),
            vector=None if vector is None else vector.astype(np.float32),
            alone_slope=_finite(facts, "alone_slope") if vector is not None else 1.0,
            alone_bias=_finite(facts, "alone_bias") if vector is not None else 0.0,
            embedder=str(facts.get("embedder", ""))[:100],
        )

    @classmethod
    def read(cls, folder: Path) -> "Head | None":
        """The head of an unpacked package, None if it has none; raises ModelLoadError as ``from_bytes``."""
        path = folder / HEAD_FILE
        if not path.is_file():
            return None
        with path.open("rb") as file:
            return cls.from_bytes(file.read(MAX_BYTES + 1), where=str(path))


def metadata_of(data: bytes) -> Mapping[str, Any]:
    """The header's own, which safetensors does not hand out for bytes in memory."""
    size = int.from_bytes(data[:8], "little")
    if not 2 <= size <= min(len(data) - 8, MAX_BYTES):
        raise ValueError("its header is cut off")
    header = json.loads(data[8 : 8 + size])
    metadata = header.get("__metadata__", {})
    if not isinstance(metadata, dict):
        raise ValueError("its metadata is no object")
    return metadata


def _finite(facts: Mapping[str, Any], key: str) -> float:
    value = facts[key]
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e4:
        raise ValueError(f"{key} must be a number below 10,000, got {str(value)[:40]}")
    return float(value)
