"""Everyday questions about graphs with real words, and the Cypher that answers or does what is asked.

``check`` is that of the domain ``neo4j``: the nodes and relationships that the request shows, and its literals.
"""

from collections.abc import Callable

from xpm_build.domains.case import Draft
from xpm_build.domains.everyday import cypher_counts, cypher_links, cypher_paths, cypher_plain
from xpm_build.domains.everyday.asking import Asker, Unfit
from xpm_build.domains.everyday.cypher_links import Linker
from xpm_build.domains.everyday.graph import Graph, Link, draw_graph, written_graph
from xpm_build.domains.everyday.schema import Column, Table
from xpm_build.domains.everyday.sql import closed
from xpm_build.domains.speech import ENGLISH, Speaker
from xpm_build.domains.words import Vocabulary

_Plain = Callable[[Asker], tuple[str, str]]
_Linked = Callable[[Linker], tuple[str, str]]


def make_everyday_cypher(words: Vocabulary, speaker: Speaker) -> Draft:
    """Draw one request with its Cypher."""
    graph = draw_graph(words)
    asker = Asker(words.rng, speaker, graph.schema)
    linker = Linker(asker, graph, [])
    family, request, cypher = _question(linker)
    request = closed(asker, request)
    nodes, links = _shown(linker)
    form = asker.rng.choices(("patterns", "typed", "listed", "lines"), weights=(78, 6, 11, 5))[0]
    prompt = speaker.say("graph_placed", request=request, schema=written_graph(nodes, links, form, asker.rng))
    return (
        prompt,
        cypher,
        family,
        {
            "nodes": [[each.name, _properties(each.columns)] for each in nodes],
            "relationships": [[each.type, each.start.name, each.end.name, _properties(each.columns)] for each in links],
            "literals": asker.literals,
        },
        speaker.say("words", table=nodes[0].name, cols=", ".join(each.name for each in nodes[0].columns)),
    )


def _properties(columns: tuple[Column, ...]) -> list[list[object]]:
    return [[each.name, each.kind != "text"] for each in columns]


def _question(linker: Linker) -> tuple[str, str, str]:
    """(family, request, Cypher) of the first family drawn that the graph has something for."""
    asker = linker.asker
    frames = list(asker.speaker.frames)
    is_foreign = asker.speaker.language != ENGLISH
    plain = {name: each for name, each in _PLAIN.items() if not is_foreign or each[2]}
    linked = {} if is_foreign else _LINKED
    names = [*plain, *linked]
    weights = [*(each[0] for each in plain.values()), *(each[0] for each in linked.values())]
    while True:
        family = asker.rng.choices(names, weights=weights)[0]
        try:
            request, cypher = plain[family][1](asker) if family in plain else linked[family][1](linker)
        except Unfit:
            asker.shown.clear()
            asker.literals.clear()
            linker.used.clear()
            asker.speaker.frames[:] = frames
        else:
            return family, request, cypher


def _shown(linker: Linker) -> tuple[list[Table], list[Link]]:
    """The nodes and links that a question needs, with others of the graph around them as in a real schema."""
    graph: Graph = linker.graph
    asker = linker.asker
    links = [each for each in graph.links if each in linker.used]
    others = [each for each in graph.links if each not in links]
    if others and (not links or asker.rng.random() < 0.55):
        links += asker.rng.sample(others, asker.rng.randint(1, min(2, len(others))))
    links = [each for each in graph.links if each in links]
    needed = [*asker.shown, *(table for each in links for table in (each.start, each.end))]
    nodes = [each for each in graph.schema.tables.values() if each in needed]
    return nodes, links


_PLAIN: dict[str, tuple[float, _Plain, bool]] = {
    "rows": (12, cypher_plain.rows, True),
    "two": (4, cypher_plain.two, True),
    "select": (8, cypher_plain.select, True),
    "count": (5, cypher_plain.count, True),
    "aggregate": (4, cypher_plain.aggregate, True),
    "group": (4, cypher_plain.group, True),
    "distinct": (2, cypher_plain.distinct, False),
    "superlative": (6, cypher_plain.superlative, False),
    "order": (3.5, cypher_plain.order, True),
    "create": (4.5, cypher_plain.create, True),
    "change": (4.5, cypher_plain.change, True),
    "change-many": (1.5, cypher_plain.change_many, False),
    "delete": (3, cypher_plain.delete, True),
}
_LINKED: dict[str, tuple[float, _Linked]] = {
    "starts": (8, cypher_links.starts_of),
    "ends": (8, cypher_links.ends_of),
    "linked-where": (7, cypher_links.filtered),
    "link-property": (5, cypher_links.by_property),
    "linked-names": (2.5, cypher_links.listed),
    "count-per": (7, cypher_counts.count_per),
    "aggregate-per": (4, cypher_counts.aggregate_per),
    "having": (3.5, cypher_counts.having),
    "missing": (5, cypher_counts.missing),
    "chain": (4, cypher_paths.chain),
    "steps": (8, cypher_paths.steps),
    "best-linked": (2, cypher_links.best_linked),
    "link-nouns": (28, cypher_paths.nouns),
    "compared": (2.5, cypher_paths.compared_ends),
    "between": (1, cypher_paths.between),
    "change-link": (4.5, cypher_paths.change_link),
}
