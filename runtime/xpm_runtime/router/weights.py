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
    "brief question",
    "keywords",
    "ordinary keywords",
    "excluded",
    "named",
    "shown",
    "other language",
    "words in common",
    "alike",
    "hint",
    "priority",
)
OWN_HEAD, TOPIC, BARE = range(3)
_PLACE = {name: position for position, name in enumerate(SIGNALS)}


def place(signal: str) -> int:
    return _PLACE[signal]


# signal → its weight for a card with a head of its own, for one with a topic's, for one with neither
_WEIGHTS: Mapping[str, tuple[float, float, float]] = {
    "bias": (-0.55, -0.79, -2.00),
    "head": (0.64, 0.00, 0.00),
    "topic": (0.41, 0.75, 0.00),
    "rival": (-0.94, -0.85, 0.00),
    "general topic": (-0.22, -0.14, 0.00),
    "general": (-3.18, -3.08, -3.41),
    "brief question": (-1.63, -1.65, -1.80),
    "keywords": (0.21, 0.71, 2.05),
    "ordinary keywords": (0.10, 0.20, 0.40),
    "excluded": (-1.00, -1.50, -3.32),
    "named": (0.00, 0.00, 0.77),
    "shown": (1.31, 2.11, 3.57),
    "other language": (-3.00, -3.00, -3.72),
    "words in common": (3.64, 5.31, 5.66),
    "alike": (0.00, 0.00, 0.00),
    "hint": (3.00, 3.00, 3.00),
    "priority": (0.10, 0.10, 0.10),
}
WEIGHTS = np.array([[_WEIGHTS[name][kind] for name in SIGNALS] for kind in range(3)], np.float32)
"""float32 (kinds, signals)"""
