"""The entities that everyday requests are about, and what their columns mean: ``worlds/*.toml`` and ``columns.toml``.

A world is a few tables that refer to each other; it belongs to one group of the vocabulary, by the hash of its name.
"""

import hashlib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from xpm_build.domains.words import NUM_GROUPS

_FOLDER = Path(__file__).parent
_OF_PEOPLE = ("person", "last_name", "nick", "first_name_n", "author_n", "painter_n")
_DEFAULT_VALUES = ("alpha", "beta", "gamma")


@dataclass(frozen=True, slots=True, kw_only=True)
class Meaning:
    """What a column holds and how people speak of it; the fields are those of ``columns.toml``."""

    name: str
    kind: str
    said: tuple[str, ...] = ()
    unit: str = ""
    adds: bool = True
    means: bool = True
    names: bool = False
    done: str = ""
    bounds: tuple[int, int, int] = (1, 100, 1)
    choices: tuple[int, ...] = ()
    values: tuple[str, ...] = ()
    like: tuple[tuple[str, str], ...] = ()
    phrases: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def say(self, kind: str) -> tuple[str, ...]:
        """The wordings of one kind (``more``, ``is``, ``none``, ...), perhaps none."""
        return self.phrases.get(kind, ())


@dataclass(frozen=True, slots=True)
class Field:
    """A column before it has its place in a schema; ``refers`` is the table that it refers to, or ""."""

    name: str
    meaning: Meaning
    refers: str = ""
    values: tuple[str, ...] = ()

    @property
    def spoken(self) -> str:
        return self.name.replace("_", " ")


@dataclass(frozen=True, slots=True, kw_only=True)
class Entity:
    """``one`` and ``many`` are what its rows are called, ``also`` other words for many; ``name`` is its table."""

    name: str
    one: str
    also: tuple[str, ...]
    fields: tuple[Field, ...]
    of: Mapping[str, tuple[str, ...]]
    did: Mapping[str, str]

    @property
    def many(self) -> str:
        return self.name.replace("_", " ")

    @property
    def is_people(self) -> bool:
        return any(each.meaning.name in _OF_PEOPLE for each in self.fields)


@dataclass(frozen=True, slots=True)
class World:
    name: str
    group: int
    entities: Mapping[str, Entity]


def singular(plural: str) -> str:
    """One of several: "cities" -> "city", "boxes" -> "box", "order_items" -> "order_item"."""
    for ending, short in (("ies", "y"), ("xes", "x"), ("ches", "ch"), ("shes", "sh"), ("sses", "ss")):
        if plural.endswith(ending) and len(plural) > len(ending) + 1 and plural not in ("movies", "series"):
            return plural[: -len(ending)] + short
    return plural[:-1] if plural.endswith("s") and not plural.endswith("ss") else plural


_IRREGULAR = {"person": "people", "child": "children", "sheep": "sheep", "series": "series", "salary": "salaries"}


def plural(one: str) -> str:
    """Several of one: "city" -> "cities", "dress" -> "dresses"."""
    if one in _IRREGULAR:
        return _IRREGULAR[one]
    if one.endswith("y") and one[-2:-1] not in "aeou":
        return one[:-1] + "ies"
    if one.endswith(("s", "x", "ch", "sh")):
        return one + "es"
    return one + "s"


def group_of_world(name: str) -> int:
    """The group, 0..NUM_GROUPS-1, that a world's entities belong to."""
    return hashlib.sha256(f"world/{name}".encode()).digest()[0] % NUM_GROUPS


@cache
def meanings() -> Mapping[str, Meaning]:
    """Name -> meaning of a column."""
    document = tomllib.loads((_FOLDER / "columns.toml").read_text(encoding="utf-8"))
    lists = document.pop("lists")
    return {name: _meaning(name, raw, lists) for name, raw in document.items()}


def value_list(name: str) -> tuple[str, ...]:
    """The values of one of the lists of ``columns.toml``."""
    lists = tomllib.loads((_FOLDER / "columns.toml").read_text(encoding="utf-8"))["lists"]
    return tuple(lists[name])


def _meaning(name: str, raw: Mapping[str, Any], lists: Mapping[str, list[str]]) -> Meaning:
    values = raw.get("values", ())
    own = ("kind", "said", "unit", "adds", "means", "names", "done", "range", "choices", "values", "like")
    return Meaning(
        name=name,
        kind=raw["kind"],
        said=tuple(raw.get("said", ())),
        unit=raw.get("unit", ""),
        adds=raw.get("adds", True),
        means=raw.get("means", True),
        names=raw.get("names", False),
        done=raw.get("done", ""),
        bounds=tuple(raw.get("range", (1, 100, 1))),
        choices=tuple(raw.get("choices", ())),
        values=tuple(lists[values] if isinstance(values, str) else values),
        like=tuple((form, text) for form, text in raw.get("like", ())),
        phrases={key: tuple(each) for key, each in raw.items() if key not in own and isinstance(each, list)},
    )


@cache
def worlds() -> tuple[World, ...]:
    """All worlds, in the order of their names."""
    tables: dict[str, Mapping[str, Any]] = {}
    for path in sorted((_FOLDER / "worlds").glob("*.toml")):
        tables |= tomllib.loads(path.read_text(encoding="utf-8"))
    return tuple(
        World(name, group_of_world(name), {key: _entity(key, raw) for key, raw in tables[name].items()})
        for name in sorted(tables)
    )


@cache
def worlds_of(group: int) -> tuple[World, ...]:
    return tuple(each for each in worlds() if each.group == group)


def _entity(name: str, raw: Mapping[str, Any]) -> Entity:
    values = raw.get("values", {})
    return Entity(
        name=name,
        one=raw.get("one", singular(name).replace("_", " ")),
        also=tuple(raw.get("also", ())),
        fields=tuple(field_of(each, values) for each in raw["columns"].split()),
        of={key: tuple(each) for key, each in raw.get("of", {}).items()},
        did=raw.get("did", {}),
    )


def field_of(text: str, values: Mapping[str, Any]) -> Field:
    """A field as a TOML file writes it: ``name``, ``name:meaning`` or ``name>table``."""
    if ">" in text:
        name, refers = text.split(">")
        return Field(name, Meaning(name="reference", kind="reference"), refers)
    name, _, other = text.partition(":")
    meaning = meanings()[other or name]
    own = values.get(name, ())
    listed = value_list(own) if isinstance(own, str) else tuple(own)
    return Field(name, meaning, values=listed or meaning.values or _DEFAULT_VALUES)
