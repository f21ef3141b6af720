"""Graphs as somebody may have made them: those of ``graphs.toml``, and what the references of a world amount to."""

import random
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from xpm_build.domains.everyday.schema import Column, Schema, Table, identifier
from xpm_build.domains.everyday.worlds import Entity, Field, World, field_of, group_of_world, plural, worlds
from xpm_build.domains.words import Vocabulary

_PATH = Path(__file__).with_name("graphs.toml")
_FUNCTIONS = ("count", "sum", "min", "max", "avg", "collect", "size")
_UNCHANGED = ("wrote", "bought", "beat", "sent", "paid", "may")
_BARE = ("of", "in", "on", "from", "with", "by", "for", "at", "to", "about", "under")
Linked = tuple[str, str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkMeaning:
    """``verb`` is what its starts do ("work at") and ``did`` what its ends do ("employ"); "" if no verb says it.

    of: said between starts and an end: "people working at Globex".
    is_single: a start has one end.
    noun: what several of its links are called ("flights"), "" if nothing.
    """

    type: str
    start: str
    end: str
    fields: tuple[Field, ...] = ()
    verb: str = ""
    of: tuple[str, ...] = ()
    did: str = ""
    is_single: bool = False
    noun: str = ""

    @property
    def third(self) -> str:
        """The verb as one of the starts does it: "works at"."""
        first, _, rest = self.verb.partition(" ")
        if first == "are":
            return f"is {rest}"
        if first == "have":
            return f"has {rest}".strip()
        if (first.endswith("ed") and first not in ("feed", "need")) or first in _UNCHANGED:
            return self.verb
        return f"{_with_s(first)} {rest}".strip()


def _with_s(verb: str) -> str:
    if verb.endswith("y") and verb[-2] not in "aeou":
        return f"{verb[:-1]}ies"
    return f"{verb}es" if verb.endswith(("s", "x", "ch", "sh")) else f"{verb}s"


@dataclass(frozen=True, slots=True)
class GraphMeaning:
    name: str
    group: int
    entities: Mapping[str, Entity]
    links: tuple[LinkMeaning, ...]


@dataclass(frozen=True, slots=True)
class Link:
    """A relationship between two of a graph's nodes, with its columns."""

    meaning: LinkMeaning
    start: Table
    end: Table
    columns: tuple[Column, ...]

    @property
    def type(self) -> str:
        return self.meaning.type

    def __str__(self) -> str:
        properties = f" {{{', '.join(each.name for each in self.columns)}}}" if self.columns else ""
        return f"(:{self.start.name})-[:{self.type}{properties}]->(:{self.end.name})"

    def as_table(self) -> Table:
        """A table that holds its columns alone, to say conditions on them."""
        return Table(Entity(name="links", one="link", also=(), fields=(), of={}, did={}), self.type, self.columns)


@dataclass(frozen=True, slots=True)
class Graph:
    schema: Schema
    links: tuple[Link, ...]


@cache
def graphs() -> tuple[GraphMeaning, ...]:
    """All graphs, in the order of their names."""
    listed = tomllib.loads(_PATH.read_text(encoding="utf-8"))
    found = [_graph(name, raw) for name, raw in listed.items()]
    found += [graph for world in worlds() if (graph := _graph_of(world)) is not None]
    return tuple(sorted(found, key=lambda each: each.name))


@cache
def graphs_of(group: int) -> tuple[GraphMeaning, ...]:
    return tuple(each for each in graphs() if each.group == group)


def _graph(name: str, raw: Mapping[str, Any]) -> GraphMeaning:
    values, also = raw.get("values", {}), raw.get("also", {})
    entities = {}
    for label, properties in raw["nodes"].items():
        one = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", label).lower()
        entities[label] = Entity(
            name=plural(one),
            one=one,
            also=tuple(also.get(label, ())),
            fields=tuple(field_of(each, values.get(label, {})) for each in properties.split()),
            of={},
            did={},
        )
    return GraphMeaning(name, group_of_world(name), entities, tuple(_link(each, values) for each in raw["links"]))


def _link(text: str, values: Mapping[str, Any]) -> LinkMeaning:
    head, *parts = (each.strip() for each in text.split(";"))
    start, type_, end, *properties = head.split()
    verb, of, did, single, noun = (*parts, "", "", "", "", "")[:5]
    return LinkMeaning(
        type=type_,
        start=start,
        end=end,
        fields=tuple(field_of(each, values.get(type_, {})) for each in properties),
        verb=verb,
        of=tuple(each.strip() for each in of.split(",")),
        did=did,
        is_single=single == "one",
        noun=noun,
    )


def _graph_of(world: World) -> GraphMeaning | None:
    """A world's tables as nodes and their references as links; None if nothing refers to anything."""
    labels = {name: identifier(entity.one.replace(" ", "_"), "pascal") for name, entity in world.entities.items()}
    entities = {}
    for name, entity in world.entities.items():
        fields = tuple(
            each for each in entity.fields if each.meaning.kind in ("text", "number") and each.name not in _FUNCTIONS
        )
        if fields:
            entities[labels[name]] = Entity(
                name=entity.name, one=entity.one, also=entity.also, fields=fields, of={}, did={}
            )
    links: dict[str, LinkMeaning] = {}
    for name, entity in world.entities.items():
        for each in entity.fields:
            start, end = labels[name], labels.get(each.refers, "")
            if each.refers and start in entities and end in entities:
                of = entity.of.get(each.name, ("of",))
                type_ = of[0].replace(" ", "_").upper() if of[0] not in _BARE else f"{of[0]}_{each.name}".upper()
                links.setdefault(
                    type_,
                    LinkMeaning(
                        type=type_, start=start, end=end, of=of, did=entity.did.get(each.name, ""), is_single=True
                    ),
                )
    if not links:
        return None
    linked = {end for link in links.values() for end in (link.start, link.end)}
    kept = {label: entity for label, entity in entities.items() if label in linked}
    return GraphMeaning(world.name, world.group, kept, tuple(links.values()))


def draw_graph(words: Vocabulary) -> Graph:
    """Draw a graph of the vocabulary's group; all that is drawn comes from ``words.schema``."""
    rng = words.schema
    own = [each for each in graphs_of(words.group) if any(link.verb for link in each.links)]
    meaning = rng.choice(own) if own and rng.random() < 0.6 else rng.choice(graphs_of(words.group))
    style = rng.choice(("camel", "camel", "snake"))
    tables = {label: _node(label, entity, style, rng) for label, entity in meaning.entities.items()}
    links = tuple(
        Link(each, tables[each.start], tables[each.end], tuple(_columns(each.fields, style))) for each in meaning.links
    )
    return Graph(Schema(World(meaning.name, meaning.group, meaning.entities), tables, style), links)


def _node(label: str, entity: Entity, style: str, rng: random.Random) -> Table:
    fields = list(entity.fields)
    droppable = [each for each in fields if not each.meaning.names]
    rng.shuffle(droppable)
    for each in droppable[: max(0, len(fields) - rng.choice((2, 3, 4, 5)))]:
        fields.remove(each)
    return Table(entity, label, tuple(_columns(fields, style)))


def _columns(fields: Sequence[Field], style: str) -> list[Column]:
    return [Column(identifier(each.name, style), each) for each in fields]


def written_graph(nodes: Sequence[Table], links: Sequence[Link], form: str, rng: random.Random) -> str:
    """The graph in one form: patterns, typed, listed or lines."""
    if form in ("patterns", "lines"):
        parts = [f"(:{each.name} {{{', '.join(c.name for c in each.columns)}}})" for each in nodes]
        return ("\n" if form == "lines" else ", ").join([*parts, *map(str, links)])
    if form == "typed":
        parts = [f"(:{each.name} {{{_typed(each.columns)}}})" for each in nodes]
        for each in links:
            inner = f" {{{_typed(each.columns)}}}" if each.columns else ""
            parts.append(f"(:{each.start.name})-[:{each.type}{inner}]->(:{each.end.name})")
        return ", ".join(parts)
    labels = ", ".join(f"{each.name}({', '.join(c.name for c in each.columns)})" for each in nodes)
    if rng.random() < 0.4:
        edges = ", ".join(f"{each.type} from {each.start.name} to {each.end.name}{_bracketed(each)}" for each in links)
    else:
        dash = rng.choice(("-", "--"))
        edges = ", ".join(f"{each.start.name} {dash}{each.type}{_bracketed(each)}-> {each.end.name}" for each in links)
    if not edges:
        return rng.choice((f"Nodes: {labels}", f"labels {labels}"))
    joiner = rng.choice((". Relationships: ", "; relationships: ", "\nRelationships: ", ". Edges: "))
    return f"{rng.choice(('Nodes: ', 'nodes ', 'Labels: '))}{labels}{joiner}{edges}"


def _typed(columns: Sequence[Column]) -> str:
    return ", ".join(f"{each.name}: {'STRING' if each.kind == 'text' else 'INTEGER'}" for each in columns)


def _bracketed(link: Link) -> str:
    return f" ({', '.join(each.name for each in link.columns)})" if link.columns else ""
