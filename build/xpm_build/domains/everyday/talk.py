"""Ordinary messages with short honest answers: greetings, facts that everybody knows, arithmetic in words, what terms
mean, and requests that no expert here is made for.

An expert that is trained on some of these beside its own rows keeps answering what it is not asked for as a
language in words. Answers are told in words alone, so they are judged by comparing words; an expert's own
evaluation leaves them out.
"""

import random
import tomllib
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from xpm_build.domains.case import Draft
from xpm_build.domains.everyday.manner import mannered
from xpm_build.domains.speech import Speaker
from xpm_build.domains.words import NUM_GROUPS, Vocabulary, group_of

PHRASES = Path(__file__).with_name("talk.toml")
_TABLES = Path(__file__).with_name("talk_tables.toml")
_MESSAGES = Path(__file__).with_name("talk_messages.toml")
Made = tuple[str, str]
"""A message and its answer."""

_FACTS = ("capital", "currency", "language_of", "opposite", "plural", "past", "synonym", "days_of")
_BEYOND = ("poem", "story", "picture", "medical", "legal", "finance", "other_language", "live", "doing")
_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_MONTHS = tuple("January February March April May June July August September October November December".split())
_DIGITS = "zero one two three four five six seven eight nine ten eleven twelve".split()


def make_everyday_talk(words: Vocabulary, speaker: Speaker) -> Draft:
    """Draw one message."""
    families, weights = list(_FAMILIES), [weight for weight, _ in _FAMILIES.values()]
    family = words.rng.choices(families, weights=weights)[0]
    prompt, answer = _FAMILIES[family][1](words, speaker)
    if speaker.careless == "lower":
        prompt = prompt.lower().rstrip("?.!")
    return mannered(prompt, speaker), answer, family, {}, answer


def _message(words: Vocabulary, speaker: Speaker) -> Made:
    messages = _documents(_MESSAGES)
    key = words.rng.choice(_of_group(tuple(messages), words.group))
    question = speaker.one_of(messages[key]["q"], f"message_{key}")
    return question, words.rng.choice(messages[key]["a"])


def _fact(words: Vocabulary, speaker: Speaker) -> Made:
    """A question about an entry of a table."""
    rng = words.rng
    name = rng.choice((*_FACTS, "capital", "opposite", "translation", "units"))
    table = _documents(_TABLES)[name]
    key = rng.choice(_of_group(tuple(table), words.group) or list(table))
    value = str(table[key])
    if name == "translation":
        word, language = key.split("|")
        return speaker.say(name, x=word, z=language), _answer(
            speaker, "translation_answer", x=word, y=value, z=language
        )
    if name == "units":
        whole, parts = key.split("|")
        said = _answer(speaker, "units_answer", x=whole, y=parts, z=value)
        return speaker.say(name, x=whole, y=parts), _with_article(said, whole)
    return speaker.say(name, x=key, y=value), _sentence(_answer(speaker, f"{name}_answer", x=key, y=value))


def _answer(speaker: Speaker, kind: str, **values: str) -> str:
    """A careful wording, whatever the care of the question."""
    return Speaker(speaker.phrases, speaker.rng).say(kind, **values)


def _with_article(text: str, noun: str) -> str:
    return text.replace("A ", "An ", 1) if text.startswith("A ") and noun[0] in "aeio" else text


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def _numbers(words: Vocabulary, speaker: Speaker) -> Made:
    rng = words.rng
    return rng.choice(_NUMBER_MAKERS)(rng, speaker)


def _said(number: int, rng: random.Random) -> str:
    return _DIGITS[number] if number < len(_DIGITS) and rng.random() < 0.3 else str(number)


def _arithmetic(rng: random.Random, speaker: Speaker) -> Made:
    kind = rng.choice(("plus", "minus", "times", "divided", "half", "percent"))
    x, y = rng.randint(2, 60), rng.randint(2, 30)
    if kind == "plus":
        result = x + y
    elif kind == "minus":
        x, result = x + y, x
    elif kind == "times":
        x, y = rng.randint(2, 12), rng.randint(2, 12)
        result = x * y
    elif kind == "divided":
        y, result = rng.randint(2, 12), rng.randint(2, 12)
        x = y * result
    elif kind == "half":
        result = x
        x *= 2
    else:
        y, x = rng.choice((10, 20, 25, 50)), rng.randint(1, 40) * 20
        result = x * y // 100
    return speaker.say(kind, x=_said(x, rng), y=_said(y, rng)), _answer(speaker, "number_answer", r=str(result))


def _calendar(rng: random.Random, speaker: Speaker) -> Made:
    kind = rng.choice(("next_day", "day_before", "next_month"))
    names: Sequence[str] = _MONTHS if kind == "next_month" else _DAYS
    at = rng.randrange(len(names))
    answer = names[(at - 1 if kind == "day_before" else at + 1) % len(names)]
    return speaker.say(kind, x=names[at]), rng.choice((f"{answer}.", answer))


def _comparison(rng: random.Random, speaker: Speaker) -> Made:
    if rng.random() < 0.4:
        x = rng.randint(1, 999)
        return speaker.say("even", x=str(x)), _answer(speaker, "even_answer", x=str(x), r="odd" if x % 2 else "even")
    x, y = rng.sample(range(1, 2000), 2)
    return speaker.say("larger", x=str(x), y=str(y)), _answer(speaker, "larger_answer", r=str(max(x, y)))


def _spelling(rng: random.Random, speaker: Speaker) -> Made:
    things = _documents(_TABLES)["things"]
    if rng.random() < 0.5:
        word = rng.choice(things["spell"])
        return speaker.say("spell", x=word), "-".join(word)
    word = rng.choice(things["letters"])
    return speaker.say("letters", x=word), _answer(speaker, "letters_answer", x=word, r=str(len(word)))


def _beyond(words: Vocabulary, speaker: Speaker) -> Made:
    """What no expert here is made for."""
    rng = words.rng
    kind = rng.choice(_BEYOND)
    thing = rng.choice(_documents(_TABLES)["things"][kind])
    return _sentence(speaker.say(kind, x=thing)), _sentence(_answer(speaker, f"{kind}_answer", x=thing))


def _of_group(keys: tuple[str, ...], group: int) -> list[str]:
    return _in_groups(keys)[group]


@cache
def _in_groups(keys: tuple[str, ...]) -> list[list[str]]:
    groups: list[list[str]] = [[] for _ in range(NUM_GROUPS)]
    for key in keys:
        groups[group_of(key)].append(key)
    return groups


@cache
def _documents(path: Path) -> dict[str, Any]:
    return tomllib.loads(path.read_text(encoding="utf-8"))


def num_known() -> int:
    """How many messages and facts there are."""
    tables = _documents(_TABLES)
    return len(_documents(_MESSAGES)) + sum(len(table) for name, table in tables.items() if name != "things")


_NUMBER_MAKERS: tuple[Callable[[random.Random, Speaker], Made], ...] = (
    _arithmetic,
    _arithmetic,
    _arithmetic,
    _calendar,
    _comparison,
    _spelling,
)
_FAMILIES: dict[str, tuple[int, Callable[[Vocabulary, Speaker], Made]]] = {
    "message": (52, _message),
    "fact": (20, _fact),
    "numbers": (12, _numbers),
    "beyond": (16, _beyond),
}
