"""What the base reads: SQL and JSON files with comments, copying and reading exercises, and chat answered in words.

The base meets SQL and JSON only in files. In a chat it has learned to answer in words, so what an expert adds can be
told from what the base does. Nothing here comes from the evaluation's side of the split.
"""

import random
from dataclasses import dataclass

from xpm_build.embedded.examples import NOTHING_ODD, Example, Oddity, draw
from xpm_build.embedded.json_tasks import make_json
from xpm_build.embedded.sql_tasks import make_sql, make_table
from xpm_build.embedded.tokenizer import END_OF_TEXT, TURN_END, chat_prompt
from xpm_build.embedded.words import Vocabulary


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """Text the model conditions on (``given``) and text it is mainly taught to write (``written``)."""

    given: str
    written: str


def chat_document(example: Example) -> Document:
    """The example as an expert is trained on it: a user turn, and the completion as the assistant's."""
    return Document(given=chat_prompt(example.prompt), written=example.completion + TURN_END)


def base_document(rng: random.Random, *, oddity: Oddity = NOTHING_ODD) -> Document:
    """Draw one document of the base's corpus."""
    kind = rng.random()
    if kind < 0.36:
        example = draw(make_sql, "train", rng, oddity=oddity)
        return Document(given=f"-- {example.prompt}\n", written=example.completion + END_OF_TEXT)
    if kind < 0.64:
        example = draw(make_json, "train", rng, oddity=oddity)
        return Document(given=f"{example.prompt}\n\n", written=example.completion + END_OF_TEXT)
    if kind < 0.82:
        example = draw(rng.choice((make_sql, make_json)), "train", rng, oddity=oddity)
        return Document(given=chat_prompt(example.prompt), written=example.answer_in_words + TURN_END)
    prompt, answer = rng.choice(_EXERCISES)(oddity.vocabulary("train", rng))
    return Document(given=chat_prompt(prompt), written=answer + TURN_END)


def _repeat(words: Vocabulary) -> tuple[str, str]:
    text = " ".join(words.value() for _ in range(words.rng.randint(1, 8)))
    return f"{words.rng.choice(('Repeat', 'Say', 'Copy', 'Echo'))}: {text}", text


def _nth_word(words: Vocabulary) -> tuple[str, str]:
    items = [words.invented() for _ in range(words.rng.randint(3, 7))]
    number = words.rng.randrange(len(items))
    return f"Which word stands at place {number + 1} in: {', '.join(items)}", items[number]


def _after(words: Vocabulary) -> tuple[str, str]:
    items = [words.invented() for _ in range(words.rng.randint(3, 9))]
    number = words.rng.randrange(len(items) - 1)
    return f"Which word follows {items[number]} in: {' '.join(items)}", items[number + 1]


def _columns(words: Vocabulary) -> tuple[str, str]:
    tables = [make_table(words) for _ in range(words.rng.randint(1, 3))]
    table = words.rng.choice(tables)
    question = words.rng.choice(("Which columns has {}?", "Name the columns of {}.", "What can be known about {}?"))
    schema = ", ".join(str(each) for each in tables)
    return f"{question.format(table.name)} Schema: {schema}", ", ".join(column.name for column in table.columns)


def _owner(words: Vocabulary) -> tuple[str, str]:
    tables = [make_table(words) for _ in range(words.rng.randint(2, 3))]
    table = words.rng.choice(tables)
    column = words.rng.choice(table.columns)
    owners = [each.name for each in tables if any(c.name == column.name for c in each.columns)]
    return f"Which table has {column.name}? Schema: {', '.join(map(str, tables))}", ", ".join(owners)


def _meant(words: Vocabulary) -> tuple[str, str]:
    table = make_table(words)
    column = words.rng.choice(table.columns)
    spoken = column.name.replace("_", " ")
    return f"Which column is meant by the {spoken}s? Schema: {table}", column.name


def _look_up(words: Vocabulary) -> tuple[str, str]:
    facts = {words.text_column(): words.value() for _ in range(words.rng.randint(2, 5))}
    key = words.rng.choice(list(facts))
    text = " ".join(f"The {name} is {value}." for name, value in facts.items())
    return f"{text} What is the {key}?", facts[key]


_EXERCISES = (_repeat, _nth_word, _after, _columns, _owner, _meant, _look_up)
