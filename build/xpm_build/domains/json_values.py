"""Texts, tables and broken JSON, and the JSON that is wanted from them.

Answers are JSON in the order in which keys were told or asked, with Python's own separators. ``check`` is empty: an
answer is right if it parses to the wanted value, types included.
"""

import json
import re
from typing import Any

from xpm_build.domains.case import Draft
from xpm_build.domains.json_schema import schema_of
from xpm_build.domains.speech import Speaker
from xpm_build.domains.words import Vocabulary

Scalar = str | int | float | bool | None
_SEPARATORS = (", ", "; ", " and ", ". ", "\n", " | ")


def make_json(words: Vocabulary, speaker: Speaker) -> Draft:
    """Draw one text with its JSON over a schema's keys and fresh values."""
    rng = words.rng
    family, (_, make) = rng.choices(list(_FAMILIES.items()), weights=[weight for weight, _ in _FAMILIES.values()])[0]
    keys = _Keys(words)
    prompt, answer = make(keys, speaker)
    in_words = speaker.say("words", keys=", ".join(keys.names[:3]))
    return prompt, json.dumps(answer, ensure_ascii=False), family, {}, in_words


class _Keys:
    """One schema: a thing, and up to eight keys of it with the kind of value each has."""

    def __init__(self, words: Vocabulary) -> None:
        self.words, self.rng = words, words.rng
        self.thing = words.table()
        kinds = [words.schema.random() < 0.4 for _ in range(8)]
        self.names: list[str] = []
        for numeric in kinds:
            draw = words.numeric_column if numeric else words.text_column
            self.names += words.distinct(1, draw, taken=(*self.names, self.thing))
        self.numeric = dict(zip(self.names, kinds, strict=True))

    def facts(self, least: int, most: int) -> dict[str, Scalar]:
        """Some of the keys, in the schema's order or shuffled, with values."""
        names = self.rng.sample(self.names, self.rng.randint(least, most))
        return {name: self.value(name) for name in names}

    def value(self, name: str) -> Scalar:
        rng = self.rng
        if not self.numeric[name]:
            return rng.choice((True, False, None)) if rng.random() < 0.12 else self.words.value()
        number = self.words.integer()
        if rng.random() < 0.15:
            return -number
        return number + rng.randint(1, 9) / 10 if rng.random() < 0.15 else number

    def told(self, value: Scalar) -> str:
        """A value as people write it."""
        if value is None:
            return self.rng.choice(("null", "unknown", "missing", "none"))
        if isinstance(value, bool):
            return self.rng.choice(("true", "yes") if value else ("false", "no"))
        return str(value)


def _listed(names: list[str], speaker: Speaker) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} {speaker.say('and')} {names[-1]}"


def _pairs(keys: _Keys, facts: dict[str, Scalar], speaker: Speaker) -> str:
    """Facts in one style, joined by one separator."""
    style, separator = speaker.frame("pair"), keys.rng.choice(_SEPARATORS)
    return separator.join(speaker.fill(style, k=key, v=keys.told(value)) for key, value in facts.items())


def _object(keys: _Keys, speaker: Speaker) -> tuple[str, Any]:
    facts = keys.facts(1, 5)
    return speaker.say("object", facts=_pairs(keys, facts, speaker)), facts


def _nested(keys: _Keys, speaker: Speaker) -> tuple[str, Any]:
    facts = keys.facts(1, 3)
    told = speaker.say("nested", thing=keys.thing, facts=_pairs(keys, facts, speaker))
    return speaker.say("object", facts=told), {keys.thing: facts}


def _sentences(keys: _Keys, facts: dict[str, Scalar], speaker: Speaker) -> str:
    told = (speaker.say("sentence", k=key, v=keys.told(value), thing=keys.thing) for key, value in facts.items())
    return " ".join(told)


def _extract(keys: _Keys, speaker: Speaker) -> tuple[str, Any]:
    facts = keys.facts(2, 5)
    asked = keys.rng.sample(list(facts), keys.rng.randint(1, min(3, len(facts))))
    text = _sentences(keys, facts, speaker)
    prompt = speaker.say("extract", keys=_listed(asked, speaker), text=text)
    return prompt, {name: facts[name] for name in asked}


def _shape(keys: _Keys, speaker: Speaker) -> tuple[str, Any]:
    facts = keys.facts(2, 4)
    asked = keys.rng.sample(list(facts), keys.rng.randint(1, min(3, len(facts))))
    answer: dict[str, Any] = {name: facts[name] for name in asked}
    shape: dict[str, Any] = {name: "number" if keys.numeric[name] else "string" for name in asked}
    if keys.rng.random() < 0.4:
        answer, shape = {keys.thing: answer}, {keys.thing: shape}
    return speaker.say("shape", shape=json.dumps(shape), text=_sentences(keys, facts, speaker)), answer


def _array(keys: _Keys, speaker: Speaker) -> tuple[str, Any]:
    rng, words = keys.rng, keys.words
    numeric = rng.random() < 0.4
    items = [words.integer() if numeric else words.value() for _ in range(rng.randint(2, 6))]
    texts = [str(item) for item in items]
    separator = rng.choice((", ", "; ", " ", "\n")) if numeric else rng.choice((", ", "; ", "\n"))
    listed = _listed(texts, speaker) if separator == ", " and rng.random() < 0.5 else separator.join(texts)
    return speaker.say("array", items=listed), items


def _records(keys: _Keys, speaker: Speaker) -> tuple[str, Any]:
    rng = keys.rng
    header = rng.sample(keys.names, rng.randint(2, 3))
    rows = [
        {name: keys.words.integer() if keys.numeric[name] else keys.words.value() for name in header}
        for _ in range(rng.randint(1, 3))
    ]
    separator = rng.choice((",", ", ", ";", " | "))
    lines = [separator.join(header), *(separator.join(map(str, row.values())) for row in rows)]
    return speaker.say("records", table="\n".join(lines)), rows


def _repair(keys: _Keys, speaker: Speaker) -> tuple[str, Any]:
    facts: Any = keys.facts(1, 4)
    if keys.rng.random() < 0.25:
        facts = {keys.thing: facts}
    while (broken := _break(json.dumps(facts, ensure_ascii=False), keys)) is None:
        pass
    return speaker.say("repair", broken=broken), facts


def _break(text: str, keys: _Keys) -> str | None:
    """Break JSON as people do; None where that slip does not apply."""
    rng = keys.rng
    slip = rng.choice(("single", "unquoted", "trailing", "open", "python", "comma", "equals", "quote"))
    if slip == "single":
        broken = text.replace('"', "'")
    elif slip == "unquoted":
        broken = re.sub(r'"(\w+)":', r"\1:", text)
    elif slip == "trailing":
        broken = text[:-1] + "," + text[-1]
    elif slip == "open":
        broken = text[:-1]
    elif slip == "python":
        broken = re.sub(r"\btrue\b", "True", re.sub(r"\bfalse\b", "False", re.sub(r"\bnull\b", "None", text)))
    elif slip == "comma":
        broken = text.replace('", "', '" "', 1) if rng.random() < 0.5 else text.replace(', "', ' "')
    elif slip == "equals":
        broken = text.replace(":", " =")
    else:
        broken = re.sub(r'"(\w+)":', r'"\1:', text, count=1)
    return None if broken == text else broken


def _transform(keys: _Keys, speaker: Speaker) -> tuple[str, Any]:
    rng = keys.rng
    kind = rng.choice(("rename", "drop", "set", "add", "keep", "wrap", "pluck"))
    facts = keys.facts(2, 4)
    names = list(facts)
    told = json.dumps(facts, ensure_ascii=False)
    chosen = rng.choice(names)
    others = [name for name in keys.names if name not in facts]
    new = rng.choice(others)
    if kind == "rename":
        renamed = {new if name == chosen else name: value for name, value in facts.items()}
        return speaker.say(kind, a=chosen, b=new, json=told), renamed
    if kind == "drop":
        return speaker.say(kind, a=chosen, json=told), {k: v for k, v in facts.items() if k != chosen}
    if kind == "set":
        value = keys.value(chosen)
        return speaker.say(kind, a=chosen, v=_typed(value), json=told), facts | {chosen: value}
    if kind == "add":
        value = keys.value(new)
        return speaker.say(kind, a=new, v=_typed(value), json=told), facts | {new: value}
    if kind == "keep":
        kept = rng.sample(names, rng.randint(1, len(names) - 1))
        return speaker.say(kind, keys=_listed(kept, speaker), json=told), {name: facts[name] for name in kept}
    if kind == "wrap":
        return speaker.say(kind, a=keys.thing, json=told), {keys.thing: facts}
    rows = [{name: keys.value(name) for name in names[:2]} for _ in range(rng.randint(2, 3))]
    name = rng.choice(names[:2])
    return speaker.say(kind, a=name, json=json.dumps(rows, ensure_ascii=False)), [row[name] for row in rows]


def _typed(value: Scalar) -> str:
    """A value as JSON writes it, but plain words without quotes."""
    return value if isinstance(value, str) else json.dumps(value)


def _schema(keys: _Keys, speaker: Speaker) -> tuple[str, Any]:
    facts: dict[str, Any] = dict(keys.facts(1, 3))
    if keys.rng.random() < 0.25:
        facts = {keys.thing: facts}
    elif keys.rng.random() < 0.2:
        name = keys.rng.choice(list(facts))
        numeric = keys.numeric[name]
        draw = keys.words.integer if numeric else keys.words.value
        facts[name] = [draw() for _ in range(keys.rng.randint(1, 3))]
    return speaker.say("schema_for", json=json.dumps(facts, ensure_ascii=False)), schema_of(facts)


_FAMILIES: dict[str, tuple[int, Any]] = {
    "object": (16, _object),
    "nested": (8, _nested),
    "extract": (22, _extract),
    "shape": (12, _shape),
    "array": (8, _array),
    "records": (12, _records),
    "repair": (12, _repair),
    "transform": (22, _transform),
    "schema": (8, _schema),
}
