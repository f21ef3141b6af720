"""Heads for kinds of requests that many experts are about, which come with xpm (``python -m xpm_build.routing`` makes them).

An expert that brings no head of its own borrows those of the topics that its card names. They also say what kind of task a
prompt is, and whether it is one for no expert.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from xpm_runtime.errors import ModelLoadError
from xpm_runtime.router.card import RoutingCard
from xpm_runtime.router.head import NUM_FEATURES, Features
from xpm_runtime.router.words import folded, words_of

FILE = Path(__file__).with_name("topics.safetensors")
FORMAT = "xpm-topics-1"
_MOST_LOG_ODDS = 8.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Topic:
    """``names`` are what cards call it; ``task`` is what ``xpm_runtime.router.decoding`` calls it; general ones are the base's."""

    name: str
    names: frozenset[str]
    task: str
    is_general: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Topics:
    """``weights`` is int8 (NUM_FEATURES, topics), ``scales`` and ``biases`` float32 (topics,)."""

    topics: tuple[Topic, ...]
    weights: NDArray[np.int8]
    scales: NDArray[np.float32]
    biases: NDArray[np.float32]

    def log_odds(self, features: Features) -> NDArray[np.float32]:
        """float32 (topics,): that the prompt is about each of them."""
        sums = features.values @ self.weights[features.places].astype(np.float32)
        result: NDArray[np.float32] = np.clip(sums * self.scales + self.biases, -_MOST_LOG_ODDS, _MOST_LOG_ODDS)
        return result

    def of_card(self, card: RoutingCard) -> NDArray[np.bool_]:
        """bool (topics,): those that its title or its capabilities name; if none, those that two of its keywords do."""
        told = {folded(each) for each in card.capabilities} | set(words_of(folded(card.title)))
        named = np.array([bool(topic.names & told) for topic in self.topics])
        if not named.any():
            keywords = {folded(each) for each in card.keywords}
            named = np.array([len(topic.names & keywords) > 1 for topic in self.topics])
        return named & ~np.array([topic.is_general for topic in self.topics])


@cache
def shipped_topics() -> Topics:
    return read_topics(FILE.read_bytes())


def read_topics(data: bytes) -> Topics:
    from safetensors.numpy import load

    from xpm_runtime.router.head import metadata_of

    try:
        metadata = metadata_of(data)
        if metadata.get("format") != FORMAT:
            raise ValueError("its format is not known")
        raw = json.loads(metadata["topics"])
        tensors = load(data)
        weights = tensors["weights"]
        if weights.shape != (NUM_FEATURES, len(raw)):
            raise ValueError("its weights have another shape")
        topics = tuple(
            Topic(name=each["name"], names=frozenset(each["names"]), task=each["task"], is_general=each["general"])
            for each in raw
        )
        return Topics(topics=topics, weights=weights, scales=tensors["scales"], biases=tensors["biases"])
    except (KeyError, ValueError, TypeError) as error:
        raise ModelLoadError("the topics that come with xpm cannot be read", context=str(error)[:200]) from error


def write_topics(topics: Sequence[Topic], weights: NDArray[np.float32], biases: NDArray[np.float32]) -> bytes:
    """Weights float32 (topics, NUM_FEATURES) as the file, in 8 bits."""
    from safetensors.numpy import save

    scales = np.maximum(np.abs(weights).max(axis=1), 1e-9) / 127
    raw = [
        {"name": each.name, "names": sorted(each.names), "task": each.task, "general": each.is_general}
        for each in topics
    ]
    tensors = {
        "weights": np.ascontiguousarray(np.rint(weights / scales[:, None]).astype(np.int8).T),
        "scales": scales.astype(np.float32),
        "biases": biases.astype(np.float32),
    }
    data: bytes = save(tensors, metadata={"format": FORMAT, "topics": json.dumps(raw, sort_keys=True)})
    return data
