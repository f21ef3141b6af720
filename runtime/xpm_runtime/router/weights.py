"""What each signal weighs: fitted by ``python -m tests.routing.fit`` to the `tune` families of tests/routing."""

from collections.abc import Mapping

import numpy as np

SIGNALS = (
    "bias",
    "head",
    "topic",
    "rival",
    "general topic",
    "general",
    "keywords",
    "ordinary keywords",
    "excluded",
    "named",
    "shown",
    "other language",
    "words in common",
    "hint",
    "priority",
)
OWN_HEAD, TOPIC, BARE = range(3)
_PLACE = {name: position for position, name in enumerate(SIGNALS)}


def place(signal: str) -> int:
    return _PLACE[signal]


# signal → its weight for a card with a head of its own, for one with a topic's, for one with neither
_WEIGHTS: Mapping[str, tuple[float, float, float]] = {
    "bias": (-0.5, -0.5, -1.5),
    "head": (0.9, 0.0, 0.0),
    "topic": (0.0, 0.8, 0.0),
    "rival": (-0.2, -0.3, -0.1),
    "general topic": (-0.1, -0.1, -0.1),
    "general": (-2.0, -3.0, -3.0),
    "keywords": (0.8, 1.2, 2.5),
    "ordinary keywords": (0.1, 0.3, 0.5),
    "excluded": (-1.0, -1.5, -3.0),
    "named": (1.5, 2.0, 2.0),
    "shown": (1.0, 1.5, 1.5),
    "other language": (-3.0, -3.0, -3.0),
    "words in common": (0.5, 0.5, 3.0),
    "hint": (3.0, 3.0, 3.0),
    "priority": (0.1, 0.1, 0.1),
}
WEIGHTS = np.array([[_WEIGHTS[name][kind] for name in SIGNALS] for kind in range(3)], np.float32)
"""float32 (kinds, signals)"""
