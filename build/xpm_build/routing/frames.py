"""Requests from frames with slots."""

import random
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from xpm_build.domains import DOMAINS, draw_case

_SLOT = re.compile(r"\$(\$|[A-Za-z_]+|\{[A-Za-z_]+\})")
_OWN = Path(__file__).with_name("requests.toml")
_WORDS = Path(__file__).with_name("vocabulary.toml")
_EVERYDAY = Path(__file__).with_name("everyday.toml")
_PER_FRAME = 3
_PER_DOMAIN = 90
_PER_VOCABULARY = 30


@dataclass(frozen=True, slots=True)
class RequestRow:
    """A request, the topic that it is about, and the frame that it was made from: rows of one frame are alike."""

    text: str
    topic: str
    frame: str


def filled(frame: str, slots: Mapping[str, Sequence[str]], rng: random.Random) -> str:
    """A frame with a value in each ``$slot``; ``$$`` is a dollar, and what is no slot stays."""

    def value(found: re.Match[str]) -> str:
        name = found[1].strip("{}")
        return "$" if name == "$" else rng.choice(slots[name]) if name in slots else found[0]

    return _SLOT.sub(value, frame)


@cache
def own_topics() -> Mapping[str, Mapping[str, Any]]:
    """Name → names, task, general and requests of the topics that come with xpm."""
    topics: Mapping[str, Mapping[str, Any]] = tomllib.loads(_OWN.read_text(encoding="utf-8"))["topics"]
    return topics


def corpus(seed: int = 7) -> list[RequestRow]:
    """The fixed corpus: the same rows for the same seed and version of xpm."""
    slots = tomllib.loads(_OWN.read_text(encoding="utf-8"))["slots"]
    vocabulary = tomllib.loads(_WORDS.read_text(encoding="utf-8"))
    everyday = tomllib.loads(_EVERYDAY.read_text(encoding="utf-8"))
    rng = random.Random(seed)
    rows = []
    for name, topic in own_topics().items():
        for frame in (*topic["requests"], *everyday.get(name, ())):
            texts = dict.fromkeys(filled(frame, slots, rng) for _ in range(_PER_FRAME))
            rows += [RequestRow(text, name, frame) for text in texts]
        words = vocabulary[name].split()
        for number in range(_PER_VOCABULARY):
            text = " ".join(rng.sample(words, rng.randint(3, 6)))
            rows.append(RequestRow(text, name, f"{name} {number}"))
        if domain := topic.get("domain"):
            for _ in range(_PER_DOMAIN):
                case = draw_case(DOMAINS[domain], rng)
                rows.append(RequestRow(case.prompt, name, "+".join(case.frames)))
    return rows
