"""Training one head: one expert's prompts against requests for others, by logistic regression,
calibrated on unseen phrasings."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from xpm_build.errors import BuildError
from xpm_build.routing.frames import RequestRow, corpus, own_topics
from xpm_runtime.router.evaluation import calibration_error
from xpm_runtime.router.head import NUM_FEATURES, Features, Head
from xpm_runtime.router.prompt import read_prompt
from xpm_runtime.router.route import Encoder

MAX_POSITIVES = 1500
MAX_NEGATIVES = 2000
LEAST_POSITIVES = 5
_FOLDS = 3
_BATCH = 32  # texts
_PENALTY = 5e-5
_STEPS = 150
_RATE = 0.8
_VECTOR_WEIGHT = 1.5  # of a vector of length 1 beside the words
_MOST_SLOPE = 4.0
_IS_ITS_OWN = 0.5  # mean probability from which a topic counts as one that the expert is about

Floats = NDArray[np.float32]
Embed = Callable[[Sequence[str]], Floats]


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """Sparse rows one after the other: ``places``, ``values`` and the ``row`` that each is of;
    ``vectors`` (rows, size) or None."""

    places: NDArray[np.int64]
    values: Floats
    row: NDArray[np.int64]
    num_rows: int
    vectors: Floats | None = None

    def taken(self, chosen: NDArray[np.int64]) -> "Material":
        new = np.full(self.num_rows, -1, np.int64)
        new[chosen] = np.arange(len(chosen))
        kept = new[self.row] >= 0
        vectors = None if self.vectors is None else self.vectors[chosen]
        return Material(
            places=self.places[kept],
            values=self.values[kept],
            row=new[self.row[kept]],
            num_rows=len(chosen),
            vectors=vectors,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainedHead:
    """``calibration_error`` and ``accuracy`` are of phrasings that were left out; ``own_topics``
    were not trained against."""

    head: Head
    num_positives: int
    num_negatives: int
    accuracy: float
    calibration_error: float
    own_topics: tuple[str, ...]


def embedded(encoder: Encoder, texts: Sequence[str]) -> Floats:
    """Vectors of texts, float32 (texts, size): some at a time, alike in length, for all are filled
    up to the longest of them."""
    order = sorted(range(len(texts)), key=lambda place: len(texts[place]))
    parts = [order[start : start + _BATCH] for start in range(0, len(order), _BATCH)]
    found = np.concatenate([encoder.embed([texts[place] for place in part]) for part in parts])
    result = np.empty_like(found)
    result[order] = found
    return result


def material_of(texts: Sequence[str], embed: Embed | None = None) -> Material:
    found: list[Features] = [read_prompt(text).features for text in texts]
    sizes = [len(each.places) for each in found]
    return Material(
        places=np.concatenate([each.places for each in found]),
        values=np.concatenate([each.values for each in found]),
        row=np.repeat(np.arange(len(found)), sizes),
        num_rows=len(found),
        vectors=None if embed is None else embed(texts),
    )


def train_head(
    prompts: Sequence[str],
    *,
    called: Sequence[str],
    groups: Sequence[str] | None = None,
    embed: Embed | None = None,
    embedder: str = "",
    seed: int = 7,
) -> TrainedHead:
    """Train the head of one expert from prompts that it answers.

    Args:
        called: the words of its name, and its capabilities; topics that they name are not trained against.
        groups: of each prompt, what its phrasing is called; prompts of one group are left out together to calibrate.
        embed: vectors of texts, by the embedder whose digest is ``embedder``.
    Raises:
        BuildError: there are too few prompts.
    """
    groups = groups or prompts
    unique = dict(zip(prompts, groups, strict=True))
    if len(unique) < LEAST_POSITIVES:
        raise BuildError(
            f"a routing head needs at least {LEAST_POSITIVES} different prompts", context=f"there are {len(unique)}"
        )
    rng = np.random.default_rng(seed)
    texts = list(unique)
    if len(texts) > MAX_POSITIVES:
        texts = [texts[place] for place in sorted(rng.permutation(len(texts))[:MAX_POSITIVES])]
    others = [row for row in corpus(seed) if row.topic not in _named_topics(called)]
    own = _resembling(texts, others)
    others = [row for row in others if row.topic not in own]
    if len(others) > MAX_NEGATIVES:
        others = [others[place] for place in sorted(rng.permutation(len(others))[:MAX_NEGATIVES])]
    material = material_of([*texts, *(row.text for row in others)], embed)
    labels = np.array([1.0] * len(texts) + [0.0] * len(others), np.float32)
    folds = folds_of([*(unique[text] for text in texts), *(row.frame for row in others)], rng)
    head, accuracy, error = fit(material, labels, folds, embedder=embedder)
    return TrainedHead(
        head=head,
        num_positives=len(texts),
        num_negatives=len(others),
        accuracy=accuracy,
        calibration_error=error,
        own_topics=tuple(sorted({*_named_topics(called), *own})),
    )


def fit(
    material: Material, labels: Floats, folds: NDArray[np.int64], *, embedder: str = ""
) -> tuple[Head, float, float]:
    """(a head, its accuracy and its calibration error on the fold that was left out, over all folds)."""
    material, centre, unit = _centred(material)
    odds, alone = np.zeros(material.num_rows, np.float32), np.zeros(material.num_rows, np.float32)
    for fold in range(_FOLDS):
        inside, outside = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
        rest = material.taken(outside)
        weights, bias, vector = _logistic(material.taken(inside), labels[inside])
        alone[outside] = _sums(rest, weights)
        odds[outside] = alone[outside] + bias
        if vector is not None and rest.vectors is not None:
            odds[outside] += rest.vectors @ vector
    slope, shift = _platt(odds, labels)
    weights, bias, vector = _logistic(material, labels)
    alone_slope, alone_bias = (1.0, 0.0) if vector is None else _platt(alone * slope, labels)
    bias = bias * slope + shift
    if vector is not None:
        vector = vector * np.float32(slope / unit)
        bias -= float(vector @ centre)
    head = Head(
        lexical=weights * slope,
        bias=bias,
        vector=vector,
        alone_slope=alone_slope,
        alone_bias=alone_bias,
        embedder=embedder,
    )
    sure = _sigmoid(odds * slope + shift)
    right = (sure > 0.5) == (labels > 0.5)
    error = calibration_error(np.maximum(sure, 1 - sure).tolist(), right.tolist())
    return head, float(right.mean()), error


def _centred(material: Material) -> tuple[Material, Floats, float]:
    """(the same with vectors about their mean and of length 1 on the average, that mean, the unit): all vectors of an
    encoder lean to one side, more than they differ.
    """
    if material.vectors is None:
        return material, np.zeros(0, np.float32), 1.0
    centre: Floats = material.vectors.mean(axis=0)
    moved = material.vectors - centre
    unit = max(float(np.linalg.norm(moved, axis=1).mean()), 1e-6)
    return replace(material, vectors=moved / np.float32(unit)), centre, unit


def _named_topics(called: Sequence[str]) -> set[str]:
    told = {each.casefold() for each in called}
    return {name for name, topic in own_topics().items() if told & set(topic.get("names", ()))}


def _resembling(texts: Sequence[str], others: Sequence[RequestRow]) -> set[str]:
    """Topics that, when they are not trained against, are taken for the expert's own: it is about
    them whatever it calls them."""
    topics = [name for name, topic in own_topics().items() if not topic.get("general")]
    material = material_of([*texts, *(row.text for row in others)])
    is_own = np.array([1.0] * len(texts) + [0.0] * len(others), np.float32)
    of_topic = np.array([""] * len(texts) + [row.topic for row in others])
    found = set()
    for fold in range(_FOLDS):
        left_out = topics[fold::_FOLDS]
        inside = np.flatnonzero(~np.isin(of_topic, left_out))
        weights, bias, _ = _logistic(material.taken(inside), is_own[inside], steps=40)
        sure = _sigmoid(_sums(material, weights) + bias)
        found |= {name for name in left_out if (of_topic == name).any() and sure[of_topic == name].mean() > _IS_ITS_OWN}
    return found


def folds_of(groups: Sequence[str], rng: np.random.Generator) -> NDArray[np.int64]:
    names = sorted(set(groups))
    fold_of = dict(zip(names, rng.permutation(len(names)) % _FOLDS, strict=True))
    return np.array([fold_of[each] for each in groups], np.int64)


def _sums(material: Material, weights: Floats) -> Floats:
    products = weights[material.places] * material.values
    result: Floats = np.bincount(material.row, products, material.num_rows).astype(np.float32)
    return result


def _logistic(material: Material, labels: Floats, *, steps: int = _STEPS) -> tuple[Floats, float, Floats | None]:
    """(lexical weights, bias, weights of the vector): Nesterov's method on the regularised, balanced likelihood."""
    num_positives = max(float(labels.sum()), 1.0)
    balance = np.where(labels > 0.5, 0.5 / num_positives, 0.5 / max(len(labels) - num_positives, 1.0)).astype(
        np.float32
    )
    vectors = material.vectors
    size = 0 if vectors is None else vectors.shape[1]
    theta = np.zeros(NUM_FEATURES + 1 + size, np.float32)
    ahead, before = theta.copy(), theta.copy()
    for step in range(1, steps + 1):
        odds = _sums(material, ahead[:NUM_FEATURES]) + ahead[NUM_FEATURES]
        if vectors is not None:
            odds += _VECTOR_WEIGHT * (vectors @ ahead[NUM_FEATURES + 1 :])
        error = ((_sigmoid(odds) - labels) * balance).astype(np.float32)
        slope: Floats = _PENALTY * ahead
        slope[NUM_FEATURES] = error.sum()
        slope[:NUM_FEATURES] += np.bincount(
            material.places, error[material.row] * material.values, NUM_FEATURES
        ).astype(np.float32)
        if vectors is not None:
            slope[NUM_FEATURES + 1 :] += _VECTOR_WEIGHT * (vectors.T @ error)
        theta = (ahead - _RATE * slope).astype(np.float32)
        ahead = (theta + (step / (step + 3)) * (theta - before)).astype(np.float32)
        before = theta
    vector = theta[NUM_FEATURES + 1 :] * np.float32(_VECTOR_WEIGHT) if size else None
    return theta[:NUM_FEATURES], float(theta[NUM_FEATURES]), vector


def _platt(odds: Floats, labels: Floats) -> tuple[float, float]:
    """(slope, shift) that make odds of unseen rows calibrated, positives and negatives
    weighing the same (Platt, 1999)."""
    slope, shift = 1.0, 0.0
    weights = np.where(labels > 0.5, 0.5 / max(labels.sum(), 1), 0.5 / max((1 - labels).sum(), 1))
    for _ in range(50):
        sure = _sigmoid(odds * slope + shift)
        error, spread = (sure - labels) * weights, np.maximum(sure * (1 - sure), 1e-6) * weights
        gradient = np.array([error @ odds + 1e-4 * (slope - 1), error.sum()])
        curve = np.array([[spread @ (odds * odds) + 1e-4, spread @ odds], [spread @ odds, spread.sum() + 1e-9]])
        change = np.linalg.solve(curve, gradient)
        slope, shift = slope - float(np.clip(change[0], -1, 1)), shift - float(np.clip(change[1], -1, 1))
        slope = min(max(slope, 0.1), _MOST_SLOPE)
    return slope, shift


def _sigmoid(values: Floats) -> Floats:
    return (1 / (1 + np.exp(-np.clip(values, -30, 30)))).astype(np.float32)
