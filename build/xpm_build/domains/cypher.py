"""Questions about property graphs, and the Cypher that answers or does what is asked.

A prompt is a request and ``Graph: (:Label {prop, …}), (:A)-[:TYPE {prop}]->(:B), …``. ``check`` holds the
graph's schema with its types and the request's literals, from which the judge builds graphs on which right
and wrong queries differ.
"""

from dataclasses import dataclass, field
from typing import Any

from xpm_build.domains.case import Draft
from xpm_build.domains.speech import Speaker
from xpm_build.domains.words import Vocabulary

Value = str | int


@dataclass(frozen=True, slots=True)
class Property:
    name: str
    numeric: bool


@dataclass(frozen=True, slots=True)
class Node:
    label: str
    one: str
    properties: tuple[Property, ...]

    def __str__(self) -> str:
        return f"(:{self.label} {{{', '.join(each.name for each in self.properties)}}})"

    def of(self, *, numeric: bool) -> list[Property]:
        return [each for each in self.properties if each.numeric is numeric]


@dataclass(frozen=True, slots=True)
class Relationship:
    """``verb`` is what the start nodes do to the end nodes."""

    type: str
    verb: str
    start: Node
    end: Node
    properties: tuple[Property, ...]

    def __str__(self) -> str:
        properties = f" {{{', '.join(each.name for each in self.properties)}}}" if self.properties else ""
        return f"(:{self.start.label})-[:{self.type}{properties}]->(:{self.end.label})"


@dataclass(slots=True)
class _Asker:
    words: Vocabulary
    speaker: Speaker
    node: Node
    other: Node
    relationship: Relationship
    literals: list[Value] = field(default_factory=list)

    def any(self, properties: Any) -> Property:
        return self.words.rng.choice(list(properties))

    def plain(self, each: Property) -> str:
        return each.name.replace("_", " ") if self.words.rng.random() < 0.4 else each.name

    def many(self, node: Node) -> str:
        return f"{node.one}s" if self.words.rng.random() < 0.8 else node.label

    def one(self, node: Node) -> str:
        return node.one if self.words.rng.random() < 0.8 else node.label

    def literal(self, value: Value) -> str:
        self.literals.append(value)
        return str(value)

    def value(self, each: Property) -> Value:
        return self.words.integer() if each.numeric else self.words.value()

    @property
    def pattern(self) -> str:
        return f"(a:{self.node.label})-[r:{self.relationship.type}]->(b:{self.other.label})"


def make_cypher(words: Vocabulary, speaker: Speaker) -> Draft:
    """Draw one request with its Cypher over a graph of two or three labels."""
    rng = words.rng
    nodes = _nodes(words, 3)
    relationships = [
        Relationship(type_, verb, start, end, (Property(words.numeric_column(), True),) if with_property else ())
        for (type_, verb), start, end, with_property in zip(
            words.distinct(2, words.relationship),
            nodes,
            nodes[1:],
            [words.schema.random() < 0.6 for _ in range(2)],
            strict=False,
        )
    ]
    asker = _Asker(words, speaker, nodes[0], nodes[1], relationships[0])
    family, (_, make) = rng.choices(list(_FAMILIES.items()), weights=[weight for weight, _ in _FAMILIES.values()])[0]
    request, cypher = make(asker)
    count = rng.choice((2, 2, 3))
    parts: list[Node | Relationship] = [*nodes[:count], *relationships[: count - 1]]
    schema = ", ".join(map(str, parts))
    prompt = f"{speaker.end(request)}{speaker.say('schema', schema=schema)}"
    check: dict[str, object] = {
        "nodes": [[node.label, [[p.name, p.numeric] for p in node.properties]] for node in nodes[:count]],
        "relationships": [
            [each.type, each.start.label, each.end.label, [[p.name, p.numeric] for p in each.properties]]
            for each in relationships[: count - 1]
        ],
        "literals": asker.literals,
    }
    properties = ", ".join(each.name for each in nodes[0].properties)
    return prompt, cypher, family, check, speaker.say("words", nodes=f"{nodes[0].one}s", props=properties)


def _nodes(words: Vocabulary, count: int) -> list[Node]:
    nodes = []
    for one in words.distinct(count, words.table):
        names = [*words.distinct(1, words.numeric_column, taken=(one,))]
        names += words.distinct(1, words.text_column, taken=(one, *names))
        properties = [Property(names[0], True), Property(names[1], False)]
        for _ in range(words.schema.choice((0, 0, 1, 1, 2))):
            numeric = words.schema.random() < 0.4
            draw = words.numeric_column if numeric else words.text_column
            names += words.distinct(1, draw, taken=(one, *names))
            properties.append(Property(names[-1], numeric))
        words.schema.shuffle(properties)
        nodes.append(Node(one.capitalize(), one, tuple(properties)))
    return nodes


def _quoted(value: Value) -> str:
    return f"'{value}'" if isinstance(value, str) else str(value)


def _condition(asker: _Asker, each: Property, variable: str) -> tuple[str, str]:
    """One condition as (what is said of the property, Cypher)."""
    rng, speaker = asker.words.rng, asker.speaker
    forms = _FORMS["number" if each.numeric else "text"]
    form = rng.choices(list(forms), weights=list(forms.values()))[0]
    name = f"{variable}.{each.name}"
    if form == "null":
        return speaker.say("null"), f"{name} IS NULL"
    if form == "in":
        values = [asker.value(each) for _ in range(rng.choice((2, 3)))]
        texts = [asker.literal(value) for value in values]
        said = speaker.say("in", vs=", ".join(texts), vs_or=f"{', '.join(texts[:-1])} or {texts[-1]}")
        return said, f"{name} IN [{', '.join(map(_quoted, values))}]"
    value = asker.value(each)
    return speaker.say(form, v=asker.literal(value)), f"{name} {_OPERATORS[form]} {_quoted(value)}"


def _where(asker: _Asker, node: Node, variable: str, *, likely: float) -> tuple[str, str]:
    rng, speaker = asker.words.rng, asker.speaker
    if rng.random() > likely:
        return "", ""
    first = asker.any(node.properties)
    said, cypher = _condition(asker, first, variable)
    said = f"{speaker.say('lead')} {asker.plain(first)} {said}"
    if rng.random() > 0.18:
        return said, f" WHERE {cypher}"
    second = asker.any(each for each in node.properties if each != first)
    more, more_cypher = _condition(asker, second, variable)
    joiner = rng.choice(("and", "or"))
    return (
        f"{said} {speaker.say(joiner)} {asker.plain(second)} {more}",
        f" WHERE {cypher} {joiner.upper()} {more_cypher}",
    )


def _match(asker: _Asker, *, likely: float = 0.75) -> tuple[str, str]:
    rng, node = asker.words.rng, asker.node
    chosen = rng.sample(list(node.properties), min(rng.choice((1, 1, 1, 2)), len(node.properties)))
    said = f" {asker.speaker.say('and')} ".join(asker.plain(each) for each in chosen)
    where, clause = _where(asker, node, "a", likely=likely)
    request = asker.speaker.say("nodes", props=said, nodes=asker.many(node), where=where)
    return request, f"MATCH (a:{node.label}){clause} RETURN {', '.join(f'a.{each.name}' for each in chosen)}"


def _count(asker: _Asker) -> tuple[str, str]:
    where, clause = _where(asker, asker.node, "a", likely=0.75)
    request = asker.speaker.say("count", nodes=asker.many(asker.node), where=where)
    return request, f"MATCH (a:{asker.node.label}){clause} RETURN count(a)"


def _aggregate(asker: _Asker) -> tuple[str, str]:
    each = asker.any(asker.node.of(numeric=True))
    function = asker.words.rng.choice(("avg", "sum", "max", "min"))
    where, clause = _where(asker, asker.node, "a", likely=0.5)
    said = asker.speaker.say(function, prop=asker.plain(each))
    request = asker.speaker.say("aggregate", agg=said, nodes=asker.many(asker.node), where=where)
    return request, f"MATCH (a:{asker.node.label}){clause} RETURN {function}(a.{each.name})"


def _distinct(asker: _Asker) -> tuple[str, str]:
    each = asker.any(asker.node.properties)
    request = asker.speaker.say("distinct", prop=asker.plain(each), nodes=asker.many(asker.node))
    return request, f"MATCH (a:{asker.node.label}) RETURN DISTINCT a.{each.name}"


def _order(asker: _Asker) -> tuple[str, str]:
    rng = asker.words.rng
    each, label = asker.any(asker.node.of(numeric=True)), asker.node.label
    if rng.random() < 0.5:
        number, kind = rng.randint(1, 20), rng.choice(("top", "bottom"))
        request = asker.speaker.say(kind, n=str(number), nodes=asker.many(asker.node), prop=asker.plain(each))
        descending = " DESC" if kind == "top" else ""
        return request, f"MATCH (a:{label}) RETURN a ORDER BY a.{each.name}{descending} LIMIT {number}"
    request, cypher = _match(asker, likely=0.4)
    kind = rng.choice(("asc", "desc"))
    said = asker.speaker.say(f"order_{kind}", prop=asker.plain(each))
    descending = " DESC" if kind == "desc" else ""
    return f"{request}{rng.choice((' ', ', '))}{said}", f"{cypher} ORDER BY a.{each.name}{descending}"


def _names(asker: _Asker) -> dict[str, str]:
    return {
        "node": asker.one(asker.node),
        "nodes": asker.many(asker.node),
        "target": asker.one(asker.other),
        "targets": asker.many(asker.other),
        "verb": asker.relationship.verb,
        "rel": asker.relationship.type,
    }


def _related(asker: _Asker) -> tuple[str, str]:
    each = asker.any(asker.other.properties)
    names = _names(asker) | {"prop": asker.plain(each)}
    where, clause = _where(asker, asker.node, "a", likely=0.65)
    request = asker.speaker.say("related_where" if where else "related", where=where, **names)
    return request, f"MATCH {asker.pattern}{clause} RETURN b.{each.name}"


def _sources(asker: _Asker) -> tuple[str, str]:
    each = asker.any(asker.node.properties)
    where, clause = _where(asker, asker.other, "b", likely=0.85)
    request = asker.speaker.say("sources_where", where=where, prop=asker.plain(each), **_names(asker))
    return request, f"MATCH {asker.pattern}{clause} RETURN a.{each.name}"


def _relationship_property(asker: _Asker) -> tuple[str, str]:
    if not asker.relationship.properties:
        return _sources(asker)
    each, on = asker.any(asker.node.properties), asker.relationship.properties[0]
    value = asker.words.integer()
    form = asker.words.rng.choice(("gt", "lt", "ge", "le", "eq"))
    said = asker.speaker.say(form, v=asker.literal(value))
    request = asker.speaker.say("rel_where", prop=asker.plain(each), relprop=asker.plain(on), cmp=said, **_names(asker))
    return request, f"MATCH {asker.pattern} WHERE r.{on.name} {_OPERATORS[form]} {value} RETURN a.{each.name}"


def _count_related(asker: _Asker) -> tuple[str, str]:
    each = asker.any(asker.node.of(numeric=False))
    request = asker.speaker.say("count_related", prop=asker.plain(each), **_names(asker))
    return request, f"MATCH {asker.pattern} RETURN a.{each.name}, count(b)"


def _no_relation(asker: _Asker) -> tuple[str, str]:
    each = asker.any(asker.node.properties)
    request = asker.speaker.say("no_relation", prop=asker.plain(each), **_names(asker))
    pattern = f"(a)-[:{asker.relationship.type}]->(:{asker.other.label})"
    return request, f"MATCH (a:{asker.node.label}) WHERE NOT {pattern} RETURN a.{each.name}"


def _create(asker: _Asker) -> tuple[str, str]:
    rng, node = asker.words.rng, asker.node
    chosen = rng.sample(list(node.properties), rng.randint(1, min(3, len(node.properties))))
    values = [asker.value(each) for each in chosen]
    style = asker.speaker.frame("pair")
    pairs = [
        asker.speaker.fill(style, prop=asker.plain(each), v=asker.literal(value))
        for each, value in zip(chosen, values, strict=True)
    ]
    joined = ", ".join(pairs) if len(pairs) == 1 or rng.random() < 0.5 else f"{', '.join(pairs[:-1])} and {pairs[-1]}"
    request = asker.speaker.say("create", node=asker.one(node), pairs=joined)
    written = ", ".join(f"{each.name}: {_quoted(value)}" for each, value in zip(chosen, values, strict=True))
    return request, f"CREATE (a:{node.label} {{{written}}})"


def _merge(asker: _Asker) -> tuple[str, str]:
    node, each = asker.node, asker.any(asker.node.properties)
    value = asker.value(each)
    request = asker.speaker.say("merge", node=asker.one(node), prop=asker.plain(each), v=asker.literal(value))
    return request, f"MERGE (a:{node.label} {{{each.name}: {_quoted(value)}}})"


def _link(asker: _Asker) -> tuple[str, str]:
    ours, theirs = asker.any(asker.node.properties), asker.any(asker.other.properties)
    first, second = asker.value(ours), asker.value(theirs)
    request = asker.speaker.say(
        "link",
        node=asker.one(asker.node),
        target=asker.one(asker.other),
        prop=asker.plain(ours),
        tprop=asker.plain(theirs),
        v=asker.literal(first),
        w=asker.literal(second),
        rel=asker.relationship.type,
    )
    return request, (
        f"MATCH (a:{asker.node.label} {{{ours.name}: {_quoted(first)}}}), "
        f"(b:{asker.other.label} {{{theirs.name}: {_quoted(second)}}}) CREATE (a)-[:{asker.relationship.type}]->(b)"
    )


def _set(asker: _Asker) -> tuple[str, str]:
    each = asker.any(asker.node.properties)
    new = asker.value(each)
    where, clause = _where(asker, asker.node, "a", likely=0.9)
    names = {"nodes": asker.many(asker.node), "where": where}
    request = asker.speaker.say("set", prop=asker.plain(each), v=asker.literal(new), **names)
    return request, f"MATCH (a:{asker.node.label}){clause} SET a.{each.name} = {_quoted(new)}"


def _delete(asker: _Asker) -> tuple[str, str]:
    where, clause = _where(asker, asker.node, "a", likely=0.95)
    names = {"node": asker.one(asker.node), "nodes": asker.many(asker.node)}
    request = asker.speaker.say("delete", where=where, **names)
    return request, f"MATCH (a:{asker.node.label}){clause} DETACH DELETE a"


_OPERATORS = {
    "gt": ">",
    "lt": "<",
    "ge": ">=",
    "le": "<=",
    "eq": "=",
    "ne": "<>",
    "starts": "STARTS WITH",
    "ends": "ENDS WITH",
    "contains": "CONTAINS",
}
_FORMS = {
    "number": {"gt": 5, "lt": 5, "ge": 2, "le": 2, "eq": 3, "ne": 1, "in": 1, "null": 1},
    "text": {"eq": 8, "ne": 2, "starts": 1, "ends": 1, "contains": 2, "in": 2, "null": 1},
}
_FAMILIES: dict[str, tuple[int, Any]] = {
    "match": (20, _match),
    "count": (8, _count),
    "aggregate": (8, _aggregate),
    "distinct": (5, _distinct),
    "order": (10, _order),
    "relationship": (12, _related),
    "source": (10, _sources),
    "relationship-property": (8, _relationship_property),
    "count-related": (7, _count_related),
    "no-relation": (5, _no_relation),
    "create": (7, _create),
    "merge": (5, _merge),
    "link": (6, _link),
    "set": (6, _set),
    "delete": (5, _delete),
}
