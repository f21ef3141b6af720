"""Everyday records: a booking, a parcel, a match, with fields of known types and the texts that tell them.

Kinds of records are sorted into the groups of ``words``: to hold a group back from training is to
hold back its kinds of text.
"""

import random
import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from xpm_build.domains.everyday.values import Value, draw_value
from xpm_build.domains.speech import Speaker
from xpm_build.domains.words import NUM_GROUPS, Vocabulary, group_of

TEXTS = Path(__file__).with_name("json_texts.toml")
_RECORDS = Path(__file__).with_name("json_records.toml")
_CONDITION = re.compile(r"\{(\w+)\?([^{}|]*)\|([^{}|]*)\}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """``name`` is what texts call it by, ``key`` what a request calls it."""

    name: str
    key: str
    type: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A kind of record in one language, with the keys of one schema."""

    name: str
    language: str
    fields: tuple[Field, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    kind: Kind
    values: tuple[Value, ...]

    def data(self) -> dict[str, Any]:
        return {field.key: value.data for field, value in zip(self.kind.fields, self.values, strict=True)}


def draw_kind(words: Vocabulary, language: str) -> Kind:
    """A kind of the vocabulary's group; in English if none of it is told in the language."""
    listed = _kinds_of(words.group, language)
    told = language if listed else "en"
    name = words.schema.choice(listed or _kinds_of(words.group, "en"))
    style = words.schema.choice(("snake", "snake", "snake", "camel"))
    fields = []
    for text in _kinds()[name][told].split(";"):
        keys, type_ = text.strip().split(":", 1)
        first, *others = keys.split("/")
        key = words.schema.choice(others) if others and words.schema.random() < 0.4 else first
        fields.append(Field(name=first, key=camel(key) if style == "camel" else key, type=type_))
    return Kind(name=name, language=told, fields=tuple(fields))


def draw_record(kind: Kind, rng: random.Random) -> Record:
    """Values for all fields of a kind; no two texts are equal."""
    values: list[Value] = []
    for field in kind.fields:
        value = draw_value(field.type, rng, kind.language)
        while any(value.data == each.data for each in values if value.kind == "string"):
            value = draw_value(field.type, rng, kind.language)
        values.append(value)
    return Record(kind=kind, values=tuple(values))


def plain(kind: Kind, *, least: int = 2, without: Sequence[str] = ()) -> Kind:
    """A kind without fields whose form must be told or whose types are unwanted; ``least`` of any if few are left."""
    unwanted = ("digits", "time", *without)
    fields = tuple(field for field in kind.fields if field.type.split()[0] not in unwanted)
    return Kind(name=kind.name, language=kind.language, fields=fields if len(fields) >= least else kind.fields)


def tell(record: Record, speaker: Speaker) -> str:
    """One text that says all of a record."""
    teller = Speaker(
        TEXTS,
        speaker.rng,
        language=speaker.language,
        careless=speaker.careless if speaker.careless == "typo" else "",
        frames=speaker.frames,
        languages=speaker.languages,
    )
    named = {field.name: value for field, value in zip(record.kind.fields, record.values, strict=True)}
    frame = teller.frame(record.kind.name)
    frame = _CONDITION.sub(lambda match: match[2] if named[match[1]].data else match[3], frame)
    return teller.fill(frame, **{name: value.said for name, value in named.items()})


def camel(key: str) -> str:
    first, *others = key.split("_")
    return first + "".join(each.capitalize() for each in others)


@cache
def _kinds() -> dict[str, dict[str, str]]:
    return tomllib.loads(_RECORDS.read_text(encoding="utf-8"))


@cache
def _kinds_of(group: int, language: str) -> list[str]:
    return [name for name, languages in _kinds().items() if group_of(name) == group and language in languages]


def kinds_in_groups() -> list[int]:
    """How many kinds each group has."""
    return [len(_kinds_of(group, "en")) for group in range(NUM_GROUPS)]
