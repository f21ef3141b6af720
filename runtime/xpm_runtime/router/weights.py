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
    "hint",
    "priority",
)
OWN_HEAD, TOPIC, BARE = range(3)
_PLACE = {name: position for position, name in enumerate(SIGNALS)}


def place(signal: str) -> int:
    return _PLACE[signal]


# signal → its weight for a card with a head of its own, for one with a topic's, for one with neither
_WEIGHTS: Mapping[str, tuple[float, float, float]] = {
    "bias": (-0.43, -0.61, -2.00),
    "head": (0.49, 0.00, 0.00),
    "topic": (0.70, 0.96, 0.00),
    "rival": (-1.12, -1.06, 0.00),
    "general topic": (-0.26, -0.18, 0.00),
    "general": (-3.48, -3.40, -3.36),
    "brief question": (-1.76, -1.80, -2.05),
    "keywords": (0.26, 0.70, 2.03),
    "ordinary keywords": (0.10, 0.20, 0.40),
    "excluded": (-1.00, -1.50, -3.38),
    "named": (0.00, 0.00, 0.69),
    "shown": (1.31, 2.12, 3.73),
    "other language": (-3.00, -3.00, -3.85),
    "words in common": (3.80, 5.46, 5.71),
    "hint": (3.00, 3.00, 3.00),
    "priority": (0.10, 0.10, 0.10),
}
WEIGHTS = np.array([[_WEIGHTS[name][kind] for name in SIGNALS] for kind in range(3)], np.float32)
"""float32 (kinds, signals)"""
