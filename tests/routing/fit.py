"""Fit the weights of the router's signals to the `tune` families, and print them.

    python -m tests.routing.fit [--heads FOLDER] [--embedder FOLDER]

A conditional logit: of the cards that are installed and the base, which one answers. The experts installed are
drawn anew for each prompt, so that the right answer is often the base because the expert for it is not there.
Nothing of `held` is read.
"""

import argparse
import random
from functools import partial

import numpy as np

from tests.routing.dataset import cards, labelled
from tests.routing.measure import add_options, setting
from xpm_runtime.router.route import Router
from xpm_runtime.router.weights import BARE, OWN_HEAD, SIGNALS, TOPIC, place, weights_of

# The sign that a weight must have; what is at its bound is left there.
_POSITIVE = ("head", "topic", "keywords", "ordinary keywords", "named", "shown", "words in common")
_NEGATIVE = ("rival", "general topic", "general", "brief question", "excluded", "other language")
_FIXED = ("hint", "priority", "ordinary keywords")  # profiles are better kept than what people write
_PENALTY = 0.005
_DRAWS = 6


def samples(router, rows, *, seed=3):
    """(signals (cards drawn, signals), place of the right one or -1 for the base) for draws of installed experts."""
    rng = random.Random(seed)
    result = []
    for row in rows:
        if len(row.experts) > 1:
            continue
        table = router.signals(row.prompt)[0]
        for draw in range(_DRAWS):
            number = len(router.cards) if draw == 0 else rng.choice([3, 6, 10, 16])
            drawn = rng.sample(range(len(router.cards)), number)
            right = [at for at, position in enumerate(drawn) if router.cards[position].name in row.experts]
            result.append((table[drawn], right[0] if right else -1))
    return result


def fit(found, start, *, steps=1500, rate=0.05):
    """Weights (signals,) by Adam on the regularised likelihood, within the bounds of sign."""
    widest = max(len(table) for table, _ in found)
    signals = np.zeros((len(found), widest, len(SIGNALS)))
    is_there = np.zeros((len(found), widest), bool)
    right = np.array([at for _, at in found])
    for number, (table, _) in enumerate(found):
        signals[number, : len(table)] = table
        is_there[number, : len(table)] = True
    weights = start.astype(float).copy()
    fixed = np.array([name in _FIXED for name in SIGNALS]) | ~signals.any(axis=(0, 1))
    low = np.array([0.0 if name in _POSITIVE else -2.0 if name == "bias" else -8.0 for name in SIGNALS])
    high = np.array([0.0 if name in _NEGATIVE else 8.0 for name in SIGNALS])
    moment, spread = np.zeros_like(weights), np.zeros_like(weights)
    wanted = np.zeros((len(found), widest))
    wanted[np.flatnonzero(right >= 0), right[right >= 0]] = 1
    for step in range(1, steps + 1):
        odds = np.where(is_there, signals @ weights, -np.inf)
        most = np.maximum(odds.max(axis=1), 0)
        powers = np.exp(odds - most[:, None])
        shares = powers / (powers.sum(axis=1) + np.exp(-most))[:, None]
        gradient = np.einsum("nc,ncs->s", shares - wanted, signals) / len(found) + _PENALTY * (weights - start)
        gradient[fixed] = 0
        moment = 0.9 * moment + 0.1 * gradient
        spread = 0.999 * spread + 0.001 * gradient**2
        weights -= rate * (moment / (1 - 0.9**step)) / (np.sqrt(spread / (1 - 0.999**step)) + 1e-8)
        weights = np.where(fixed, start, np.clip(weights, low, high))
    return weights


def main() -> None:
    options = add_options(argparse.ArgumentParser(description=__doc__.partition("\n")[0])).parse_args()
    rows = labelled("tune")
    read_with = setting(options.heads, options.embedder)
    make = partial(Router, encoders=[read_with.encoder], topics=read_with.topics)
    routers = {OWN_HEAD: make(read_with.profiles), TOPIC: make(cards())}
    if options.embedder is None:
        routers[BARE] = make(cards(), ablated=frozenset({"topics"}))
    start = weights_of(by_encoder=options.embedder is not None)
    fitted = [fit(samples(router, rows), start[kind]) for kind, router in routers.items()]
    for name in SIGNALS:
        print(f'    "{name}": ({", ".join(f"{each[place(name)]:.2f}" for each in fitted)}),')


if __name__ == "__main__":
    main()
