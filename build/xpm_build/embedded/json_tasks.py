"""Plain text and the JSON it describes: the material of expert-json.

Facts (a key and a typed value) are told in one of many ways and asked for as an object, a chosen part of it, an array,
an array of records or a nested object. The answer is compact JSON in the order in which the keys were told or asked.
"""

import json
import random

from xpm_build.embedded.examples import Example, fill
from xpm_build.embedded.words import Vocabulary

Scalar = str | int | float | bool | None

_ASKS = (
    "Convert to JSON:|Turn this into JSON:|Write as JSON:|Make JSON from this:|As JSON:|Give me JSON for:|"
    "Express as JSON:|Format as JSON:|Return a JSON object for:|JSON for:|Put this into JSON:|Transform into JSON:|"
    "Produce a JSON object:|Rewrite as a JSON object:|Encode as JSON:|Please convert to JSON:|I need this as JSON:|"
    "Generate JSON from:|Show as JSON:|Build a JSON object from:|Translate into JSON:|To JSON:|Represent this in JSON:"
).split("|")
_PAIR_STYLES = (
    "{k} is {v}",
    "{k}: {v}",
    "{k} = {v}",
    "{k}={v}",
    "the {k} is {v}",
    "{k} equals {v}",
    "{k} of {v}",
    "{k} {v}",
)
_SEPARATORS = (", ", "; ", " and ", ". ", "\n")
_EXTRACT_ASKS = (
    "Extract {keys} as JSON.|Extract {keys} as JSON from this text.|Give me {keys} as JSON.|Return {keys} as JSON.|"
    "Which {keys} are given? Answer in JSON.|Find {keys} and answer as JSON.|Pull {keys} into JSON.|"
    "Only {keys}, as JSON.|Get {keys} in JSON form.|JSON with {keys}.|Read {keys} out of the text as JSON.|"
    "I need {keys} as JSON.|Write {keys} as a JSON object.|Pick {keys} and give JSON.|Collect {keys} in a JSON object."
).split("|")
_SENTENCES = (
    "The {k} is {v}.|Its {k} is {v}.|The {k} was {v}.|Here the {k} is {v}.|We know that the {k} is {v}.|"
    "It has the {k} {v}.|Its {k} equals {v}.|As for the {k}, it is {v}.|Someone said the {k} is {v}.|"
    "The {k} of the {thing} is {v}.|The {thing} has a {k} of {v}.|For this {thing} the {k} is {v}."
).split("|")
_ARRAY_ASKS = (
    "JSON array of:|Make a JSON array from:|Turn this list into a JSON array:|List as a JSON array:|As a JSON array:|"
    "Write these as a JSON array:|Give a JSON array of:|Convert this list to a JSON array:|Put these in a JSON array:"
).split("|")
_RECORD_ASKS = (
    "Convert this table to JSON:|CSV to JSON:|Turn this CSV into JSON:|Table as JSON:|Write the rows as JSON:|"
    "Make JSON records from:|Convert the CSV rows to JSON:|JSON for this table:|Rows to JSON:"
).split("|")
_NESTED_SHAPES = ("{thing} with {pairs}", "a {thing} with {pairs}", "the {thing} has {pairs}", "{thing} having {pairs}")


def make_json(words: Vocabulary) -> Example:
    """Draw one text with its JSON over fresh keys and values."""
    family = words.rng.choices(list(_FAMILIES), weights=[weight for weight, _ in _FAMILIES.values()])[0]
    template, values, answer, names = _FAMILIES[family][1](words)
    return Example(
        prompt=fill(template, values),
        completion=json.dumps(answer, ensure_ascii=False),
        family=family,
        phrasing=template,
        answer_in_words=f"The text speaks of {', '.join(names)}.",
    )


def _facts(words: Vocabulary, count: int) -> dict[str, Scalar]:
    facts: dict[str, Scalar] = {}
    while len(facts) < count:
        numeric = words.rng.random() < 0.4
        facts[words.numeric_column() if numeric else words.text_column()] = _value(words, numeric=numeric)
    return facts


def _value(words: Vocabulary, *, numeric: bool) -> Scalar:
    rng = words.rng
    if numeric:
        number = words.integer()
        if rng.random() < 0.15:
            return -number
        return number + rng.randint(1, 9) / 10 if rng.random() < 0.15 else number
    return rng.choice((True, False, None)) if rng.random() < 0.12 else words.value()


def _spoken(value: Scalar, rng: random.Random) -> str:
    if value is None:
        return rng.choice(("null", "unknown", "missing", "none"))
    if isinstance(value, bool):
        return rng.choice(("true", "yes") if value else ("false", "no"))
    return str(value)


def _pairs(facts: dict[str, Scalar], words: Vocabulary) -> tuple[str, dict[str, str]]:
    """Facts in one style, joined by one separator: a template with numbered placeholders, and their values."""
    style = words.rng.choice(_PAIR_STYLES)
    separator = words.rng.choice(_SEPARATORS)
    values: dict[str, str] = {}
    parts = []
    for number, (key, value) in enumerate(facts.items()):
        values |= {f"k{number}": key, f"v{number}": _spoken(value, words.rng)}
        parts.append(style.replace("{k}", f"{{k{number}}}").replace("{v}", f"{{v{number}}}"))
    return separator.join(parts), values


def _object(words: Vocabulary) -> tuple[str, dict[str, str], object, list[str]]:
    facts = _facts(words, words.rng.randint(1, 5))
    text, values = _pairs(facts, words)
    return f"{words.rng.choice(_ASKS)} {text}", values, facts, list(facts)


def _extract(words: Vocabulary) -> tuple[str, dict[str, str], object, list[str]]:
    rng = words.rng
    facts = _facts(words, rng.randint(2, 5))
    values = {"thing": words.table()}
    sentences = []
    for number, (key, value) in enumerate(facts.items()):
        values |= {f"k{number}": key, f"v{number}": _spoken(value, rng)}
        sentence = rng.choice(_SENTENCES)
        sentences.append(sentence.replace("{k}", f"{{k{number}}}").replace("{v}", f"{{v{number}}}"))
    numbers = rng.sample(range(len(facts)), rng.randint(1, min(3, len(facts))))
    mentions = [f"{{k{number}}}" for number in numbers]
    asked = mentions[0] if len(mentions) == 1 else f"{', '.join(mentions[:-1])} and {mentions[-1]}"
    keys = list(facts)
    answer = {keys[number]: facts[keys[number]] for number in numbers}
    return f"{rng.choice(_EXTRACT_ASKS).replace('{keys}', asked)} {' '.join(sentences)}", values, answer, list(answer)


def _array(words: Vocabulary) -> tuple[str, dict[str, str], object, list[str]]:
    rng = words.rng
    numeric = rng.random() < 0.4
    items: list[Scalar] = [words.integer() if numeric else words.value() for _ in range(rng.randint(2, 6))]
    mentions = [f"{{v{number}}}" for number in range(len(items))]
    separator = rng.choice((", ", "; ", " ", "\n")) if numeric else rng.choice((", ", "; ", "\n"))
    text = separator.join(mentions)
    if separator == ", " and rng.random() < 0.5:
        text = f"{', '.join(mentions[:-1])} and {mentions[-1]}"
    values = {f"v{number}": str(item) for number, item in enumerate(items)}
    return f"{rng.choice(_ARRAY_ASKS)} {text}", values, items, [str(item) for item in items]


def _records(words: Vocabulary) -> tuple[str, dict[str, str], object, list[str]]:
    rng = words.rng
    header: dict[str, bool] = {}
    wanted = rng.randint(2, 3)
    while len(header) < wanted:
        numeric = rng.random() < 0.4
        header[words.numeric_column() if numeric else words.text_column()] = numeric
    rows = [
        {key: words.integer() if numeric else words.value() for key, numeric in header.items()}
        for _ in range(rng.randint(1, 3))
    ]
    values = {f"k{column}": key for column, key in enumerate(header)}
    lines = [rng.choice((",", ", ")).join(f"{{k{column}}}" for column in range(len(header)))]
    separator = ", " if ", " in lines[0] else ","
    for number, row in enumerate(rows):
        values |= {f"v{number}_{column}": str(value) for column, value in enumerate(row.values())}
        lines.append(separator.join(f"{{v{number}_{column}}}" for column in range(len(header))))
    return "\n".join([rng.choice(_RECORD_ASKS), *lines]), values, rows, list(header)


def _nested(words: Vocabulary) -> tuple[str, dict[str, str], object, list[str]]:
    facts = _facts(words, words.rng.randint(1, 3))
    text, values = _pairs(facts, words)
    thing = words.table()
    shape = words.rng.choice(_NESTED_SHAPES).replace("{pairs}", text)
    return f"{words.rng.choice(_ASKS)} {shape}", values | {"thing": thing}, {thing: facts}, [thing, *facts]


_FAMILIES = {
    "object": (30, _object),
    "extract": (30, _extract),
    "array": (15, _array),
    "records": (15, _records),
    "nested": (10, _nested),
}
