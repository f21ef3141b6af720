"""Simulated conversations: somebody stays with an expert, goes on in a few words, changes over, or
asks the base in between.

Who should answer each turn is known. Requests that stand by themselves are frames of ``requests.toml``, follow-ups are
those of ``sessions.toml``, each of the split that is asked for alone. Of the profiles a few are installed; a request
for another one is the base's.
"""

import random
import tomllib
from dataclasses import dataclass
from pathlib import Path

from tests.routing.dataset import REQUESTS, labelled
from xpm_build.routing.frames import filled

SESSIONS = tomllib.loads(Path(__file__).with_name("sessions.toml").read_text(encoding="utf-8"))
_NUM_INSTALLED = (4, 6, 10, 24)
_TURNS = (4, 8)
# What comes after an expert's answer, after a closing word, and otherwise.
_AFTER_EXPERT = {"refine": 50, "same": 10, "switch": 9, "other": 14, "closing": 9, "general": 8}
_AFTER_CLOSING = {"refine": 25, "same": 15, "switch": 5, "other": 35, "general": 20}
_OTHERWISE = {"other": 60, "general": 20, "general_on": 20}


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """``expert`` should answer, "" for the base; ``kind`` is why."""

    prompt: str
    expert: str
    kind: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    installed: tuple[str, ...]
    turns: tuple[Turn, ...]


def sessions(split: str, number: int, *, seed: int = 11) -> list[Session]:
    """So many conversations of a split (tune or held)."""
    rng = random.Random(f"{split} {seed}")
    requests = [row for row in labelled(split) if len(row.experts) < 2]
    alone = {name: [row.prompt for row in requests if row.experts == {name}] for name in REQUESTS["experts"]}
    general = [row.prompt for row in requests if not row.experts]
    return [_session(split, rng, alone, general) for _ in range(number)]


def _session(split: str, rng: random.Random, alone: dict[str, list[str]], general: list[str]) -> Session:
    names = list(alone)
    installed = tuple(rng.sample(names, min(rng.choice(_NUM_INSTALLED), len(names))))
    turns: list[Turn] = []
    writer, kind = "", ""  # who wrote what is spoken of
    for _ in range(rng.randint(*_TURNS)):
        chances = _OTHERWISE if not writer else _AFTER_CLOSING if kind == "closing" else _AFTER_EXPERT
        kind = rng.choices(list(chances), list(chances.values()))[0]
        if kind == "general_on" and not (turns and turns[-1].kind.startswith("general")):
            kind = "general"
        if kind == "switch" and not (others := _switches(writer, installed)):
            kind = "refine"
        match kind:
            case "refine":
                frames = [*_refining(writer)[split], *SESSIONS["refine"]["any"][split]]
            case "same":
                frames = alone[writer]
            case "switch":
                writer = rng.choice(others)
                frames = SESSIONS["switch"][writer][split]
            case "other":
                # one of ten asks for what nobody here knows
                pool = installed if rng.random() < 0.9 else [name for name in names if name not in installed] or names
                asked = rng.choice([name for name in pool if name != writer] or list(pool))
                writer = asked if asked in installed else ""
                frames = alone[asked]
                kind = "other" if writer else "nobody"
            case "general":
                writer, frames = "", general
            case _:
                frames = SESSIONS[kind][split]
        expert = "" if kind == "closing" else writer
        turns.append(Turn(prompt=filled(rng.choice(frames), REQUESTS["slots"], rng), expert=expert, kind=kind))
    return Session(installed=installed, turns=tuple(turns))


def _refining(writer: str) -> dict[str, list[str]]:
    group = next(name for name, members in SESSIONS["groups"].items() if writer in members)
    found: dict[str, list[str]] = SESSIONS["refine"][group]
    return found


def _switches(writer: str, installed: tuple[str, ...]) -> list[str]:
    groups = {name for name, members in SESSIONS["groups"].items() if writer in members} | {"any"}
    return [
        name
        for name, each in SESSIONS["switch"].items()
        if name != writer and name in installed and each["from"] in groups
    ]
