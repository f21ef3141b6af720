"""Heads for kinds of requests that many experts are about, which come with xpm (``python -m
xpm_build.routing`` makes them).

An expert that brings no head of its own borrows those of the topics that its card names. They also say what kind of
task a prompt is, and whether it is one for no expert.
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
from xpm_runtime.router.head import Features, Floats, Head
from xpm_runtime.router.heads import Heads
from xpm_runtime.router.words import folded, words_of
from xpm_runtime.tensor_file import tensor_bytes

FILE = Path(__file__).with_name("topics.safetensors")
FORMAT = "xpm-topics-1"
_MOST_LOG_ODDS = 8.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Topic:
    """``names`` are what cards call it; ``task`` is what ``xpm_runtime.router.decoding`` calls it;
    general ones are the base's."""

    name: str
    names: frozenset[str]
    task: str
    is_general: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Topics:
    topics: tuple[Topic, ...]
    heads: Heads

    def log_odds(self, features: Features, vector: Floats | None) -> Floats:
        """float32 (topics,): that the prompt is about each of them."""
        result: Floats = np.clip(self.heads.log_odds(features, vector), -_MOST_LOG_ODDS, _MOST_LOG_ODDS)
        return result

    def of_card(self, card: RoutingCard) -> NDArray[np.bool_]:
        """bool (topics,): those that its title or its capabilities name; if none, those that two of its keywords do."""
        told = {folded(each) for each in card.capabilities} | set(words_of(folded(card.title)))
        named = np.array([bool(topic.names & told) for topic in self.topics])
        if not named.any():
            keywords = {folded(each) for each in card.keywords}
            named = np.array([len(topic.names & keywords) > 1 for topic in self.topics])
        result: NDArray[np.bool_] = named & ~np.array([topic.is_general for topic in self.topics])
        return result


@cache
def shipped_topics() -> Topics:
    return read_topics(FILE.read_bytes(), where="the file of topics that comes with xpm")


def read_topics(data: bytes, *, where: str) -> Topics:
    """Read topics; raises ModelLoadError if they are malformed."""
    from safetensors.numpy import load

    from xpm_runtime.router.head import metadata_of

    try:
        metadata = metadata_of(data)
        if metadata.get("format") != FORMAT:
            raise ValueError("its format is not known")
        raw = json.loads(metadata["topics"])
        topics = tuple(
            Topic(name=each["name"], names=frozenset(each["names"]), task=each["task"], is_general=each["general"])
            for each in raw
        )
        return Topics(topics=topics, heads=Heads.from_tensors(load(data), str(metadata["embedder"])))
    except Exception as error:  # safetensors raises its own, untyped
        raise ModelLoadError(f"{where} cannot be read", context=f"{type(error).__name__}: {error}"[:200]) from error


def write_topics(topics: Sequence[Topic], heads: Sequence[Head], embedder: str) -> bytes:
    """Topics and their heads, in the same order, as the file."""
    raw = [
        {"name": each.name, "names": sorted(each.names), "task": each.task, "general": each.is_general}
        for each in topics
    ]
    metadata = {"format": FORMAT, "topics": json.dumps(raw, sort_keys=True), "embedder": embedder}
    return tensor_bytes(Heads.of(heads, embedder).to_tensors(), metadata)
