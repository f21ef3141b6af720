"""What each signal weighs: fitted by ``python -m tests.routing.fit`` to the `tune` families of tests/routing.

Vectors of words and those of an encoder say things of different worth, so each has weights of its own.
"""

from collections.abc import Mapping

import numpy as np

from xpm_runtime.router.head import Floats

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


# signal → its weight for a card with a head of its own, for one with a topic's, for one with neither;
# then for the first two where an encoder reads the prompt
_WEIGHTS: Mapping[str, tuple[float, float, float, float, float]] = {
    "bias": (-0.43, -0.61, -2.00, -0.77, -0.78),
    "head": (0.49, 0.00, 0.00, 0.43, 0.00),
    "topic": (0.70, 0.96, 0.00, 0.88, 1.15),
    "rival": (-1.12, -1.06, 0.00, -1.56, -1.63),
    "general topic": (-0.26, -0.18, 0.00, -0.28, -0.31),
    "general": (-3.48, -3.40, -3.36, -3.47, -3.27),
    "brief question": (-1.76, -1.80, -2.05, -1.76, -1.80),
    "keywords": (0.26, 0.70, 2.03, 0.42, 0.68),
    "ordinary keywords": (0.10, 0.20, 0.40, 0.10, 0.20),
    "excluded": (-1.00, -1.50, -3.38, -1.00, -1.50),
    "named": (0.00, 0.00, 0.69, 0.00, 0.00),
    "shown": (1.31, 2.12, 3.73, 1.31, 2.12),
    "other language": (-3.00, -3.00, -3.85, -3.00, -3.00),
    "words in common": (3.80, 5.46, 5.71, 3.73, 5.37),
    "hint": (3.00, 3.00, 3.00, 3.00, 3.00),
    "priority": (0.10, 0.10, 0.10, 0.10, 0.10),
}
_KINDS = {False: (0, 1, 2), True: (3, 4, 2)}


def weights_of(*, by_encoder: bool) -> Floats:
    """float32 (kinds, signals): kinds as OWN_HEAD, TOPIC and BARE say."""
    return np.array([[_WEIGHTS[name][kind] for name in SIGNALS] for kind in _KINDS[by_encoder]], np.float32)
