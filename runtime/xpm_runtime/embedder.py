"""Texts as vectors, by an encoder that ``xpm build embedder`` exported (docs/reference/formats/embedder.md)."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Encoding, Tokenizer

from xpm_runtime.errors import ModelLoadError, RequestError
from xpm_runtime.session import Session

FORMAT = "xpm-embedder-1"
EMBEDDER_FILE = "embedder.json"
ENCODER_GRAPH = "encoder.onnx"
TOPICS_FILE = "topics.safetensors"
_ROUTED_TOKENS = 96  # what a prompt is about is said early, and each costs a tenth of a millisecond or more
OUTPUT = "last_hidden_state"
_TOKENIZER = "tokenizer.json"

Floats = NDArray[np.float32]


def _mean(hidden: Floats, mask: Floats) -> Floats:
    total: Floats = (hidden * mask[..., None]).sum(axis=1) / np.maximum(mask.sum(axis=1, keepdims=True), 1e-9)
    return total


def _max(hidden: Floats, mask: Floats) -> Floats:
    largest: Floats = np.where(mask[..., None] > 0, hidden, -np.inf).max(axis=1)
    return largest


def _first(hidden: Floats, mask: Floats) -> Floats:
    return hidden[:, 0]


def _last(hidden: Floats, mask: Floats) -> Floats:
    last: Floats = hidden[np.arange(len(hidden)), mask.sum(axis=1).astype(np.int64) - 1]
    return last


POOLING: dict[str, Callable[[Floats, Floats], Floats]] = {"mean": _mean, "max": _max, "cls": _first, "last": _last}
"""From the encoder's hidden states (texts, tokens, size) and which tokens are there, 1 or 0 (texts,
tokens), to (texts, size)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbedderSpec:
    """``inputs`` are the graph's; ``max_tokens`` of a text are read; ``size`` is a vector's.

    ``digest`` is of the weights, the tokenizer and the rest: what was trained with the same model knows it by that.
    """

    pooling: str
    is_normalized: bool
    lowercases: bool
    max_tokens: int
    size: int
    inputs: tuple[str, ...]
    pad_token_id: int
    digest: str

    @classmethod
    def read(cls, folder: Path) -> "EmbedderSpec":
        """Read ``embedder.json``; raises ModelLoadError naming what is absent or wrong."""
        path = folder / EMBEDDER_FILE
        try:
            raw: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            if raw["format"] != FORMAT or raw["pooling"] not in POOLING:
                raise ValueError(f"format {raw['format']!r} with pooling {raw['pooling']!r} is not known")
            return cls(
                pooling=raw["pooling"],
                is_normalized=bool(raw["normalize"]),
                lowercases=bool(raw["lowercase"]),
                max_tokens=int(raw["max_tokens"]),
                size=int(raw["size"]),
                inputs=tuple(map(str, raw["inputs"])),
                pad_token_id=int(raw["pad_token_id"]),
                digest=str(raw["digest"])[:100],
            )
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise ModelLoadError(
                f"{folder} is not an exported embedder",
                context=f"{EMBEDDER_FILE}: {type(error).__name__}: {error}"[:200],
            ) from error


class Embedder:
    """Not to be used from several threads at once. ``digest`` names the model, for routing heads
    that were trained with it."""

    def __init__(self, spec: EmbedderSpec, tokenizer: Tokenizer, session: Session) -> None:
        self.spec, self.digest = spec, spec.digest
        self._tokenizer = tokenizer
        self._session = session

    @classmethod
    def load(cls, folder: Path, *, threads: int | None = None, max_tokens: int | None = None) -> "Embedder":
        """Load an exported embedder on the CPU; raises ModelLoadError if a file is missing or malformed.

        Args:
            max_tokens: of a text that are read; the model's own limit if that is lower, or none is given.
        """
        spec = EmbedderSpec.read(folder)
        try:
            tokenizer = Tokenizer.from_file(str(folder / _TOKENIZER))
        except Exception as error:  # tokenizers raises its own, untyped
            raise ModelLoadError(f"{folder / _TOKENIZER} could not be read", context=str(error)[:200]) from error
        tokenizer.enable_truncation(min(max_tokens or spec.max_tokens, spec.max_tokens))
        tokenizer.enable_padding(pad_id=spec.pad_token_id)
        session = Session(folder, ENCODER_GRAPH, device="cpu", threads=threads, spinning=False)
        return cls(spec, tokenizer, session)

    @classmethod
    def for_routing(cls, folder: Path) -> "Embedder":
        """As the router uses it, and as heads and topics are trained: one thread, of the beginning of a text."""
        return cls.load(folder, threads=1, max_tokens=_ROUTED_TOKENS)

    def count_tokens(self, texts: Sequence[str]) -> int:
        """Tokens that are read of texts, without those that fill up."""
        return sum(sum(each.attention_mask) for each in self._encoded(texts))

    def _encoded(self, texts: Sequence[str]) -> list[Encoding]:
        found: list[Encoding] = self._tokenizer.encode_batch(
            [text.lower() if self.spec.lowercases else text for text in texts]
        )
        return found

    def embed(self, texts: Sequence[str]) -> Floats:
        """One vector for each text, float32 (len(texts), size), of length 1 if the model normalises.

        Raises:
            RequestError: there is no text.
        """
        if not texts:
            raise RequestError("there are no texts to embed")
        spec = self.spec
        encoded = self._encoded(texts)
        arrays = {
            "input_ids": np.array([each.ids for each in encoded], np.int64),
            "attention_mask": np.array([each.attention_mask for each in encoded], np.int64),
            "token_type_ids": np.array([each.type_ids for each in encoded], np.int64),
        }
        binding = self._session.binding()
        for name in spec.inputs:
            binding.bind_array(name, arrays[name])
        hidden = np.empty((*arrays["input_ids"].shape, spec.size), np.float32)
        binding.bind_result(OUTPUT, hidden)
        binding.run()
        vectors = POOLING[spec.pooling](hidden, arrays["attention_mask"].astype(np.float32))
        if spec.is_normalized:
            vectors = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
        return vectors
