"""The topics that come with xpm, and with an exported embedder: a head for each, trained against all others."""

from collections.abc import Iterable
from functools import partial

import numpy as np

from xpm_build.routing.frames import corpus, own_topics
from xpm_build.routing.heads import embedded, fit, folds_of, material_of
from xpm_runtime.router.route import Encoder
from xpm_runtime.router.topics import Topic, write_topics


def make_topics(encoder: Encoder, seed: int = 7) -> tuple[bytes, Iterable[str]]:
    """Train them with the vectors of an encoder.

    Returns:
        The file, and a line for each topic on how well it is told from the others in phrasings that were left out.
    """
    rows = corpus(seed)
    material = material_of([row.text for row in rows], partial(embedded, encoder))
    folds = folds_of([row.frame for row in rows], np.random.default_rng(seed))
    topics, heads, lines = [], [], []
    for name, facts in own_topics().items():
        labels = np.array([row.topic == name for row in rows], np.float32)
        head, accuracy, error = fit(material, labels, folds, embedder=encoder.digest)
        topics.append(
            Topic(
                name=name,
                names=frozenset(facts.get("names", ())),
                task=facts["task"],
                is_general=bool(facts.get("general")),
            )
        )
        heads.append(head)
        lines.append(f"{name}: {int(labels.sum())} requests, accuracy {accuracy:.3f}, calibration error {error:.3f}")
    return write_topics(topics, heads, encoder.digest), lines
