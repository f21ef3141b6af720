"""Labelled requests to expert profiles (``requests.toml``), made from frames: whole families
of phrasing are held back."""

import random
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from xpm_build.routing.frames import filled
from xpm_build.routing.heads import embedded, train_head
from xpm_runtime.router.card import RoutingCard
from xpm_runtime.router.evaluation import Evaluation, Routed, evaluate
from xpm_runtime.router.head import Head
from xpm_runtime.router.route import Encoder, Router

REQUESTS = tomllib.loads(Path(__file__).with_name("requests.toml").read_text(encoding="utf-8"))
PER_FRAME = {"train": 8, "tune": 8, "held": 8}
# Of an expert's README, which shows a few of what it is trained on.
NUM_EXAMPLES = 5


@dataclass(frozen=True, slots=True)
class Labelled:
    prompt: str
    experts: frozenset[str]
    family: str


def labelled(split: str, *, seed: int = 5) -> list[Labelled]:
    """The prompts of a split (train, tune or held), those for the base alone and for several
    experts too; no prompt twice."""
    rng = random.Random(f"{split} {seed}")
    families = [
        (frame, frozenset([name])) for name, each in REQUESTS["experts"].items() for frame in each.get(split, ())
    ]
    families += [(frame, frozenset()) for frame in REQUESTS["general"].get(split, ())]
    families += [(frame, frozenset(each["experts"])) for each in REQUESTS["together"] for frame in each.get(split, ())]
    rows = {}
    for frame, experts in families:
        for _ in range(PER_FRAME[split]):
            prompt = filled(frame, REQUESTS["slots"], rng)
            rows[prompt] = Labelled(prompt, experts, frame)
    return list(rows.values())


def cards(*, with_examples: bool = True) -> list[RoutingCard]:
    """The profiles as cards, without heads."""
    train = labelled("train")
    return [
        RoutingCard(
            name=name,
            keywords=tuple(each["keywords"]),
            exclude_keywords=tuple(each.get("exclude_keywords", ())),
            capabilities=tuple(each["capabilities"]),
            description=each["description"],
            tier=each["tier"],
            examples=tuple(row.prompt for row in train if row.experts == {name})[:: PER_FRAME["train"]][:NUM_EXAMPLES]
            if with_examples
            else (),
        )
        for name, each in REQUESTS["experts"].items()
    ]


def heads(encoder: Encoder, kept: Path | None = None) -> dict[str, Head]:
    """Each profile's head, trained from its own `train` rows and nobody else's, as it is read from its file.

    ``kept`` is a folder where heads are kept: what is there is not trained again.
    """
    train = labelled("train")
    result = {}
    for card in cards():
        path = kept / encoder.digest[-12:] / f"{card.name}.safetensors" if kept else None
        if path and path.is_file():
            result[card.name] = Head.from_bytes(path.read_bytes(), where=card.name)
            continue
        rows = [row for row in train if row.experts == {card.name}]
        trained = train_head(
            [row.prompt for row in rows],
            called=(*card.capabilities, *card.title.split()),
            groups=[row.family for row in rows],
            embed=partial(embedded, encoder),
            embedder=encoder.digest,
        )
        data = trained.head.to_bytes()
        result[card.name] = Head.from_bytes(data, where=card.name)
        if path:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
    return result


def judged(router: Router, rows: Sequence[Labelled]) -> Evaluation:
    routed = []
    for row in rows:
        decision = router.route(row.prompt)
        routed.append(
            Routed(
                prompt=row.prompt,
                wanted=row.experts,
                chosen=frozenset(decision.experts),
                confidence=decision.confidence,
                ms=decision.ms["all"],
            )
        )
    return evaluate(routed)


def split_accuracy(found: Evaluation, rows: Sequence[Labelled]) -> dict[str, Any]:
    """Accuracy over all prompts, over those for experts, and over those for the base alone."""
    wrong = {each.prompt for each in found.wrong}
    parts = {
        "all": rows,
        "experts": [row for row in rows if row.experts],
        "base": [row for row in rows if not row.experts],
    }
    return {
        name: round(1 - sum(row.prompt in wrong for row in part) / len(part), 4) for name, part in parts.items() if part
    }
