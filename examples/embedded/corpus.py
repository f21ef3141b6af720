"""What the base reads: files of six languages, copying and reading exercises, and chat that is answered in words.

The base meets SQL, JSON, Cypher and code only in files, under a comment. In a chat it has learned to answer in words,
so what an expert adds can be told from what the base does. Nothing that is held back from the experts is in it.
"""

import random
from dataclasses import dataclass

from examples.embedded.tokenizer import END_OF_TEXT, TURN_END, chat_prompt
from xpm_build.dataset.hold_out import HoldOut
from xpm_build.domains import DOMAINS, Case, draw_case
from xpm_build.domains.speech import Speaker, strangers_of
from xpm_build.domains.words import NUM_GROUPS, Oddity, Vocabulary
from xpm_build.judges.languages import LANGUAGES

HELD_BACK = HoldOut(seed=810, shares={"group": 0.2, "phrasing": 0.18})
"""The same as in the ``split`` of the six experts' manifests."""

_SHARES = {"sql": 28, "json": 90, "neo4j": 20, "python": 9, "typescript": 8, "rust": 8}
_STRANGE = frozenset(("json", "sql", "neo4j"))  # where a word more changes nothing, as it may in a function's task
_HARD = {"json": frozenset(("transform", "extract"))}  # the families that take the most practice
_REDRAWN = 0.66  # of the other families' cases, in a hard corpus
_FILE_SHARE, _CHAT_SHARE = 0.70, 0.12


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """Text the model conditions on (``given``) and text it is mainly taught to write (``written``)."""

    given: str
    written: str


def training_case(name: str, rng: random.Random, *, oddity: Oddity, strange: bool = False, hard: bool = False) -> Case:
    """A case of one domain of which nothing is held back.

    A ``strange`` one is not worded quite as its frames have it; of ``hard`` ones more are of the
    families that take practice.
    """
    domain = DOMAINS[name]
    practiced = _HARD.get(name, ()) if hard else ()
    strangers = strangers_of(domain.phrases) if strange and domain.phrases in _STRANGE else ()
    while True:
        case = draw_case(domain, rng, oddity=oddity, strangers=strangers)
        if practiced and case.family not in practiced and rng.random() < _REDRAWN:
            continue
        if not HELD_BACK.held_fields(case.to_row()):
            return case


def base_document(rng: random.Random, *, oddity: Oddity, strange: bool = False, hard: bool = False) -> Document:
    """Draw one document of the base's corpus, as ``training_case`` does."""
    kind = rng.random()
    if kind < _FILE_SHARE:
        name = rng.choices(list(_SHARES), weights=list(_SHARES.values()))[0]
        case = training_case(name, rng, oddity=oddity, strange=strange, hard=hard)
        return Document(given=f"{LANGUAGES[name].comment}{case.prompt}\n\n", written=case.completion + END_OF_TEXT)
    if kind < _FILE_SHARE + _CHAT_SHARE:
        case = training_case(rng.choice(list(_SHARES)), rng, oddity=oddity, strange=strange, hard=hard)
        return Document(given=chat_prompt(case.prompt), written=case.in_words + TURN_END)
    while True:
        group = rng.randrange(NUM_GROUPS)
        if not HELD_BACK.holds("group", f"words-{group}"):
            break
    prompt, answer = rng.choice(_EXERCISES)(Vocabulary(group, rng, oddity=oddity))
    return Document(given=chat_prompt(prompt), written=answer + TURN_END)


def _repeat(words: Vocabulary) -> tuple[str, str]:
    text = " ".join(words.value() for _ in range(words.rng.randint(1, 8)))
    return f"{words.rng.choice(('Repeat', 'Say', 'Copy', 'Echo'))}: {text}", text


def _nth_word(words: Vocabulary) -> tuple[str, str]:
    items = [words.invented() for _ in range(words.rng.randint(3, 7))]
    number = words.rng.randrange(len(items))
    return f"Which word stands at place {number + 1} in: {', '.join(items)}", items[number]


def _after(words: Vocabulary) -> tuple[str, str]:
    items = words.distinct(words.rng.randint(3, 9), words.invented)
    number = words.rng.randrange(len(items) - 1)
    return f"Which word follows {items[number]} in: {' '.join(items)}", items[number + 1]


def _list(words: Vocabulary) -> tuple[str, list[str]]:
    """Something that holds named parts, such as a table: its name and theirs."""
    return words.table(), words.distinct(words.rng.randint(3, 5), words.text_column)


def _parts(words: Vocabulary) -> tuple[str, str]:
    lists = [_list(words) for _ in range(words.rng.randint(1, 3))]
    name, parts = words.rng.choice(lists)
    question = words.rng.choice(("Which parts has {}?", "Name the parts of {}.", "What belongs to {}?"))
    told = ", ".join(f"{each}({', '.join(names)})" for each, names in lists)
    return f"{question.format(name)} {told}", ", ".join(parts)


def _owner(words: Vocabulary) -> tuple[str, str]:
    lists = [_list(words) for _ in range(words.rng.randint(2, 3))]
    _, parts = words.rng.choice(lists)
    part = words.rng.choice(parts)
    owners = [name for name, names in lists if part in names]
    told = ", ".join(f"{each}({', '.join(names)})" for each, names in lists)
    return f"What has {part}? {told}", ", ".join(owners)


def _meant(words: Vocabulary) -> tuple[str, str]:
    name, parts = _list(words)
    part = words.rng.choice(parts)
    return f"Which part is meant by the {part.replace('_', ' ')}s? {name}({', '.join(parts)})", part


def _told(words: Vocabulary) -> tuple[str, dict[str, str]]:
    """A text of a few sentences or pairs, and some of the facts in it: what is named, and its value."""
    count, thing = words.rng.randint(2, 6), words.table()
    facts = dict(zip(words.distinct(count, words.text_column), words.distinct(count, words.value), strict=True))
    paired = words.rng.random() < 0.3
    while True:
        speaker = Speaker("json", words.rng, strangers=strangers_of("json"))
        if paired:
            style = speaker.frame("pair")
            text = "; ".join(speaker.fill(style, k=name, v=value) for name, value in facts.items()) + "."
        else:
            text = " ".join(speaker.say("sentence", k=name, v=value, thing=thing) for name, value in facts.items())
        if not any(HELD_BACK.holds("phrasing", frame) for frame in speaker.frames):
            return text, dict(words.rng.sample(list(facts.items()), words.rng.randint(1, len(facts))))


def _look_up(words: Vocabulary) -> tuple[str, str]:
    text, asked = _told(words)
    return f"{text} What is the {', '.join(asked)}?", ", ".join(asked.values())


def _what_it_is(words: Vocabulary) -> tuple[str, str]:
    text, asked = _told(words)
    return f"{text} What is {', '.join(asked.values())}?", ", ".join(asked)


_EXERCISES = (_repeat, _nth_word, _after, _parts, _owner, _meant, _look_up, _look_up, _look_up, _what_it_is)
