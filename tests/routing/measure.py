"""The tables of docs/explanation/routing.md, from the `held` families.

    python -m tests.routing.measure [--heads FOLDER] [--embedder FOLDER]

Heads are kept in a folder, so that a second run need not train them. The embedder is one that
`xpm build embedder` wrote.
"""

import argparse
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from tests.routing.dataset import Labelled, cards, heads, judged, labelled, split_accuracy
from xpm_runtime.embedder import TOPICS_FILE, Embedder
from xpm_runtime.router.card import RoutingCard
from xpm_runtime.router.keywords import KeywordIndex
from xpm_runtime.router.prompt import ReadPrompt, read_prompt
from xpm_runtime.router.route import Encoder, Router
from xpm_runtime.router.topics import Topics, read_topics, shipped_topics
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What prompts are read with: the cards' heads were trained with ``encoder``, and so were the topics."""

    profiles: Sequence[RoutingCard]
    encoder: Encoder
    topics: Topics


def setting(kept: Path | None, embedder: Path | None) -> Setting:
    encoder: Encoder = own_vectors() if embedder is None else Embedder.for_routing(embedder)
    path = None if embedder is None else embedder / TOPICS_FILE
    topics = shipped_topics() if path is None else read_topics(path.read_bytes(), where=str(path))
    trained = heads(encoder, kept)
    return Setting(
        profiles=[replace(card, head=trained[card.name]) for card in cards()], encoder=encoder, topics=topics
    )


def quality(found_with: Setting, rows: Sequence[Labelled]) -> None:
    make = partial(Router, found_with.profiles, topics=found_with.topics)
    routers = {name: make(encoders=[found_with.encoder], ablated=each) for name, each in ABLATIONS.items()}
    routers["no vectors"] = make()
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


def speed(found_with: Setting, prompts: Sequence[str]) -> None:
    profiles = found_with.profiles
    print(
        "\n| cards | keywords alone, p50 | p99 | all of it, p50 | p99 | making the router |\n|---|---|---|---|---|---|"
    )
    for size in _SIZES:
        many = [replace(profiles[each % len(profiles)], name=f"expert-{each}") for each in range(size)]
        index = KeywordIndex(many)
        reads = {prompt: read_prompt(prompt) for prompt in prompts}
        alone = timed(partial(_matches, index, reads), prompts)
        started = time.perf_counter()
        router = Router(many, encoders=[found_with.encoder], topics=found_with.topics)
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


def add_options(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    parser.add_argument("--heads", type=Path, help="where heads are kept, so that a second run need not train them")
    parser.add_argument("--embedder", type=Path, help="a folder that `xpm build embedder` wrote")
    return parser


def main() -> None:
    given = add_options(argparse.ArgumentParser(description=__doc__.partition("\n")[0])).parse_args()
    held = labelled("held")
    print(f"{len(held)} prompts of families that nothing was tuned to\n")
    found_with = setting(given.heads, given.embedder)
    quality(found_with, held)
    speed(found_with, [row.prompt for row in held[::8]])


if __name__ == "__main__":
    main()
