"""Prompts of a chosen number of tokens whose answers lie in them, and are right or not: made by
the project, from a seed.

The kinds are those that are usual for judging long contexts (needles in a haystack; RULER, Hsieh et al. 2024); the
wording is this project's own. Each prompt ends with the beginning of its answer, so that a model which only goes on
with texts can give it, too.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random

from xpm_build.bench.context.wording import NAMES, sentence
from xpm_build.errors import UsageError
from xpm_runtime.text import Message, TextCodec

_LEAST_PARTS = 4  # sentences or pairs beside what is asked for
_NUM_NEEDLES = 4
_MOST_RINGS = 9
_SINGLE_TOKENS, _SEVERAL_TOKENS = 12, 48
_NUMBER, _VARIABLE = re.compile(r"\d+"), re.compile(r"\b[A-Z]{3}\b")


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """``ids`` and an answer of ``answer_tokens`` are at most ``length`` tokens together.

    ``depth``: where in the text lies what is asked for, 0 (its beginning) to 1; None if it is all over it. ``wanted``
    are the numbers or names of a right answer.
    """

    task: str
    length: int
    depth: float | None
    ids: tuple[int, ...]
    wanted: tuple[str, ...]
    answer_tokens: int

    def share(self, answer: str) -> float:
        """How much of what is wanted an answer begins with, 0 to 1, in whatever order."""
        pattern = _NUMBER if self.wanted[0].isdigit() else _VARIABLE
        return len({*pattern.findall(answer)[: len(self.wanted)]} & {*self.wanted}) / len(self.wanted)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Question:
    """``facts`` are sentences with their depths; ``part`` makes another that is not asked for;
    ``lead`` begins the answer."""

    facts: Sequence[tuple[float, str]]
    part: Callable[[Random], str]
    asked: str
    lead: str
    wanted: tuple[str, ...]
    depth: float | None


def _needle(rng: Random, depth: float) -> _Question:
    name, number = rng.choice(NAMES), _digits(rng)
    return _Question(
        facts=[(depth, f"The locker of {name} has the number {number}.")],
        part=sentence,
        asked=f"Which number does the locker of {name} have?",
        lead=f"The locker of {name} has the number",
        wanted=(number,),
        depth=depth,
    )


def _needles(rng: Random, depth: float) -> _Question:
    name, numbers = rng.choice(NAMES), _different(rng, _NUM_NEEDLES, _digits)
    return _Question(
        facts=[(rng.random(), f"One of the lockers of {name} has the number {each}.") for each in numbers],
        part=sentence,
        asked=f"Which numbers do the four lockers of {name} have?",
        lead=f"The four lockers of {name} have the numbers",
        wanted=numbers,
        depth=None,
    )


def _pairs(rng: Random, depth: float) -> _Question:
    key, number = _digits(rng), _digits(rng)
    return _Question(
        facts=[(depth, f"Ticket {key} is for seat {number}.")],
        part=lambda rng: f"Ticket {_digits(rng)} is for seat {_digits(rng)}.",
        asked=f"For which seat is ticket {key}?",
        lead=f"Ticket {key} is for seat",
        wanted=(number,),
        depth=depth,
    )


def _variables(rng: Random, depth: float) -> _Question:
    names, number = _different(rng, _NUM_NEEDLES, _letters), _digits(rng)
    values = [number, *names[:-1]]
    depths = sorted(rng.random() for _ in names)
    return _Question(
        facts=[
            (place, f"Let {name} be equal to {value}.")
            for place, name, value in zip(depths, names, values, strict=True)
        ],
        part=sentence,
        asked=f"Which four variables are equal to {number}, directly or by way of another?",
        lead=f"The variables that are equal to {number} are",
        wanted=names,
        depth=None,
    )


def _counting(rng: Random, depth: float) -> _Question:
    times = rng.randint(2, _MOST_RINGS)
    return _Question(
        facts=[(rng.random(), "Then the bell rang.") for _ in range(times)],
        part=sentence,
        asked="How often did the bell ring? Give the number.",
        lead="The number of times that the bell rang is",
        wanted=(str(times),),
        depth=None,
    )


TASKS: Mapping[str, Callable[[Random, float], _Question]] = {
    "needle": _needle,
    "needles": _needles,
    "pairs": _pairs,
    "variables": _variables,
    "counting": _counting,
}
"""By name, what makes a question of one: needle (one fact in a text), needles (four of one kind), pairs (a key among
keys), variables (names that are set to each other), counting (how often something happened)."""


def make_case(codec: TextCodec, task: str, *, length: int, depth: float, seed: str) -> Case:
    """A prompt as long as it may be.

    Raises:
        UsageError: ``length`` is too small for a text around the question.
    """
    rng = Random(f"{seed} {task} {length}")
    question = TASKS[task](rng, depth)
    answer_tokens = _SINGLE_TOKENS if len(question.wanted) == 1 else _SEVERAL_TOKENS
    room = length - answer_tokens
    lead = codec.encode(f" {question.lead}" if not codec.has_chat_template else question.lead)
    parts: list[str] = []
    used = len(lead) + len(_encoded(codec, question, parts))
    while True:
        part = question.part(rng)
        used += len(codec.encode(f" {part}"))
        if used > room:
            break
        parts.append(part)
    ids = _encoded(codec, question, parts)
    while parts and len(ids) + len(lead) > room:  # a text comes to a few tokens more than its parts at times
        parts.pop()
        ids = _encoded(codec, question, parts)
    if len(parts) < _LEAST_PARTS:
        raise UsageError(f"{length} tokens are too few for the task {task}", hint="choose longer prompts")
    return Case(
        task=task,
        length=length,
        depth=question.depth,
        ids=(*ids, *lead),
        wanted=question.wanted,
        answer_tokens=answer_tokens,
    )


def _encoded(codec: TextCodec, question: _Question, parts: Sequence[str]) -> list[int]:
    placed = sorted(
        [(depth * len(parts), text) for depth, text in question.facts]
        + [(number + 0.5, text) for number, text in enumerate(parts)]
    )
    text = " ".join(text for _, text in placed)
    prompt = f"Read this text, then answer the question below it.\n\n{text}\n\n{question.asked}"
    return codec.encode_chat([Message("user", prompt)]) if codec.has_chat_template else codec.encode(f"{prompt}\n")


def _digits(rng: Random) -> str:
    return str(rng.randint(10_000, 99_999))


def _letters(rng: Random) -> str:
    return "".join(rng.choice("BCDFGHJKLMNPQRSTVWXZ") for _ in range(3))


def _different(rng: Random, count: int, draw: Callable[[Random], str]) -> tuple[str, ...]:
    found: dict[str, None] = {}
    while len(found) < count:
        found[draw(rng)] = None
    return tuple(found)
