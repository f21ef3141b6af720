"""``python -m tests.routing.measure [HEADS]``: the tables of docs/explanation/routing.md, from the `held` families.

Heads are kept in the folder HEADS, so that a second run need not train them.
"""

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from tests.routing.dataset import Labelled, cards, heads, judged, labelled, split_accuracy
from xpm_runtime.router.keywords import KeywordIndex
from xpm_runtime.router.prompt import ReadPrompt, read_prompt
from xpm_runtime.router.route import Router
from xpm_runtime.router.vectors import own_vectors

# What is left out, by the names of signals and of what makes them.
ABLATIONS = {
    "everything": frozenset[str](),
    "no heads": frozenset({"head"}),
    "no topics": frozenset({"topics"}),
    "neither": frozenset({"head", "topics"}),
    "no keywords": frozenset({"keywords", "ordinary keywords", "excluded"}),
    "no concepts": frozenset({"named", "shown", "other language"}),
    "no rule for questions": frozenset({"general", "brief question"}),
    "no rival topics": frozenset({"rival", "general topic"}),
    "no words in common": frozenset({"words in common"}),
}
_SIZES = (10, 100, 10_000)


def quality(kept: Path | None, rows: Sequence[Labelled]) -> None:
    vectors = own_vectors()
    trained = heads(vectors, kept)
    profiles = [replace(card, head=trained[card.name]) for card in cards()]
    routers = {name: Router(profiles, encoders=[vectors], ablated=each) for name, each in ABLATIONS.items()}
    routers["no vectors of words"] = Router(profiles)
    print("| | all | for an expert | for the base | calibration error |\n|---|---|---|---|---|")
    for name, router in routers.items():
        found = judged(router, rows)
        shares = split_accuracy(found, rows)
        print(f"| {name} | " + " | ".join(f"{shares[part]:.1%}" for part in ("all", "experts", "base")), end=" | ")
        print(f"{found.calibration_error:.3f} |")
    found = judged(routers["everything"], rows)
    print("\n| expert | prompts | precision | recall |\n|---|---|---|---|")
    for each in found.scores:
        print(f"| {each.name} | {each.num_wanted} | {each.precision or 0:.1%} | {each.recall or 0:.1%} |")


def speed(kept: Path | None, prompts: Sequence[str]) -> None:
    vectors = own_vectors()
    trained = heads(vectors, kept)
    profiles = [replace(card, head=trained[card.name]) for card in cards()]
    print(
        "\n| cards | keywords alone, p50 | p99 | all of it, p50 | p99 | making the router |\n|---|---|---|---|---|---|"
    )
    for size in _SIZES:
        many = [replace(profiles[each % len(profiles)], name=f"expert-{each}") for each in range(size)]
        index = KeywordIndex(many)
        reads = {prompt: read_prompt(prompt) for prompt in prompts}
        alone = timed(partial(_matches, index, reads), prompts)
        started = time.perf_counter()
        router = Router(many, encoders=[vectors])
        made = time.perf_counter() - started
        print(f"| {size:,} | {alone[0]:.3f} ms | {alone[1]:.3f} ms", end=" | ")
        whole = timed(router.route, prompts)
        print(f"{whole[0]:.2f} ms | {whole[1]:.2f} ms | {made:.1f} s |")


def _matches(index: KeywordIndex, reads: Mapping[str, ReadPrompt], prompt: str) -> None:
    index.matches(reads[prompt].folded, reads[prompt].words)


def timed(function: Callable[[str], object], prompts: Sequence[str]) -> tuple[float, float]:
    """Milliseconds of a processor that half, and 99 of 100, of the calls took at most."""
    taken = []
    for prompt in prompts:
        started = time.thread_time()
        function(prompt)
        taken.append((time.thread_time() - started) * 1e3)
    return float(np.percentile(taken, 50)), float(np.percentile(taken, 99))


if __name__ == "__main__":
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else None
    held = labelled("held")
    print(f"{len(held)} prompts of families that nothing was tuned to\n")
    quality(folder, held)
    speed(folder, [row.prompt for row in held[::8]])
