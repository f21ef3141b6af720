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
    "bias": (-0.4, -0.6, -2.0),
    "head": (0.5, 0.0, 0.0),
    "topic": (0.45, 0.65, 0.0),
    "rival": (-0.9, -0.8, 0.0),
    "general topic": (-0.2, -0.15, -0.1),
    "general": (-2.2, -2.5, -3.0),
    "keywords": (0.5, 0.8, 2.5),
    "ordinary keywords": (0.1, 0.2, 0.4),
    "excluded": (-1.0, -1.5, -3.2),
    "named": (0.5, 0.5, 1.1),
    "shown": (1.2, 2.0, 3.0),
    "other language": (-3.0, -3.0, -3.4),
    "words in common": (3.0, 4.0, 5.0),
    "hint": (3.0, 3.0, 3.0),
    "priority": (0.1, 0.1, 0.1),
}
WEIGHTS = np.array([[_WEIGHTS[name][kind] for name in SIGNALS] for kind in range(3)], np.float32)
"""float32 (kinds, signals)"""
