"""Which experts the marketplace has: one for each kind of task of the templates' domains, one for each foreign
language, and the embedded experts in two parts each.

The order is fixed and mixes the domains, so that the first few already are a marketplace.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest

SPECIALIST, CORE, REST = "specialist", "core", "rest"


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """One expert. Of a specialist's domain, ``field`` = ``value`` are the cases that it is for;
    the others take all of them."""

    name: str
    kind: str
    domain: str
    publisher: str
    description: str
    field: str = ""
    value: str = ""
    requires: str = ""

    @property
    def has_earlier_version(self) -> bool:
        """Whether there is a version 0.1.0, cut to rank 1, beside 0.2.0."""
        return self.kind == SPECIALIST and sum(self.name.encode()) % 4 == 0


_JSON = {
    "extract": "Takes the latest values out of a note and writes them as a JSON object",
    "transform": "Changes, adds or removes a field of a JSON object",
    "object": "Writes loose facts as a flat JSON object",
    "repair": "Mends JSON that does not parse",
    "records": "Turns small tables into JSON arrays of records",
    "shape": "Fills a JSON shape with the values that a sentence names",
    "array": "Writes lists of values as JSON arrays",
    "schema": "Derives a JSON schema from an object",
    "nested": "Writes facts about a thing as nested JSON",
}
_SQL = {
    "select": "Selects columns of rows that fit a condition",
    "join": "Joins a table with the one that it refers to",
    "group": "Groups rows and computes a figure for each group",
    "aggregate": "Computes a sum, mean, least or greatest value of a table",
    "rows": "Selects whole rows by a condition",
    "top": "Sorts rows and takes the first few",
    "update": "Changes values of the rows that fit a condition",
    "dates": "Compares dates and asks for what has none",
    "order": "Selects columns in an order",
    "count": "Counts the rows that fit a condition",
    "join-group": "Counts or adds up over a join, for each group",
    "subquery": "Asks for rows that have, or lack, rows in another table",
    "and-or": "Combines two conditions",
    "null": "Asks for values that are there, or missing",
    "insert": "Inserts a row",
    "like": "Asks for texts that begin with, end in or hold others",
    "between": "Asks for values within bounds",
    "delete": "Deletes the rows that fit a condition",
    "distinct": "Lists different values",
    "having": "Asks for groups of a certain size",
    "in": "Asks for values out of a list",
    "join3": "Joins three tables",
}
_NEO4J = {
    "match": "Finds nodes and returns properties of them",
    "relationship": "Follows a relationship to what it leads to",
    "source": "Follows a relationship back to where it comes from",
    "order": "Sorts nodes and takes the first few",
    "count": "Counts nodes that fit a condition",
    "aggregate": "Computes a figure over nodes",
    "count-related": "Counts for each node what it is related to",
    "relationship-property": "Combines a relationship with a condition on a property",
    "create": "Creates a node",
    "set": "Changes a property of nodes",
    "link": "Creates a relationship between two nodes",
    "delete": "Deletes nodes with their relationships",
    "no-relation": "Finds nodes that lack a relationship",
    "distinct": "Lists different values of a property",
    "merge": "Creates a node unless it is there",
}
_CODE = {
    "edit": "Renames what a short function is called, or what it takes",
    "records": "Writes functions over lists of records",
    "list": "Writes functions over lists: the largest, the sorted, the different",
    "text": "Writes functions over texts",
    "define": "Defines a record type with its fields",
    "filter": "Writes functions that keep some items of a list",
    "arithmetic": "Writes functions that compute with numbers",
    "map": "Writes functions that change every item of a list",
    "filter-map": "Writes functions that keep some items and change them",
    "map-type": "Writes functions over dictionaries",
    "sum": "Writes functions that add up some items of a list",
    "test": "Writes functions that answer with one of two values",
    "algorithm": "Writes small algorithms: primes, digits, factorials",
    "any-all": "Writes functions that tell whether any or all items fit",
    "count": "Writes functions that count items",
    "first": "Writes functions that find the first item that fits",
    "choose": "Writes functions that choose among several values",
    "two-lists": "Writes functions over two lists",
}
_FOREIGN = {"de": "German", "es": "Spanish", "fr": "French"}
_TITLES: Mapping[str, str] = {
    "sql": "SQL",
    "json": "JSON",
    "neo4j": "Cypher",
    "python": "Python",
    "typescript": "TypeScript",
    "rust": "Rust",
}
_DOMAINS: Mapping[str, tuple[Mapping[str, str], str]] = {
    "sql": (_SQL, "tabula"),
    "json": (_JSON, "plain-json"),
    "neo4j": (_NEO4J, "graphwright"),
    "python": (_CODE, "pyforge"),
    "typescript": (_CODE, "tessel"),
    "rust": (_CODE, "oxide"),
}


def title_of(domain: str) -> str:
    return _TITLES[domain]


def planned() -> list[Planned]:
    """Every expert, in the order in which they are made; one comes after those that it requires."""
    pairs = [each for domain in _DOMAINS for each in _halves(domain)]
    groups: list[Sequence[Planned]] = [
        *([_specialist(domain, family) for family in families] for domain, (families, _) in _DOMAINS.items()),
        [_foreign(domain, language) for language in _FOREIGN for domain in _DOMAINS],
        pairs[2:],
    ]
    return [*pairs[:2], *(each for turn in zip_longest(*groups) for each in turn if each)]


def _specialist(domain: str, family: str) -> Planned:
    families, publisher = _DOMAINS[domain]
    return Planned(
        name=f"expert-{domain}-{family}",
        kind=SPECIALIST,
        domain=domain,
        publisher=publisher,
        description=families[family] if domain == "json" else f"{families[family]}, in {title_of(domain)}",
        field="family",
        value=family,
    )


def _foreign(domain: str, language: str) -> Planned:
    return Planned(
        name=f"expert-{domain}-in-{_FOREIGN[language].lower()}",
        kind=SPECIALIST,
        domain=domain,
        publisher="polyglot",
        description=f"Answers requests in {_FOREIGN[language]} with {title_of(domain)}",
        field="language",
        value=language,
    )


def _halves(domain: str) -> list[Planned]:
    core = Planned(
        name=f"expert-{domain}-core",
        kind=CORE,
        domain=domain,
        publisher="halves",
        description=f"The four strongest directions of the embedded expert for {title_of(domain)}, at a quarter of "
        "its size",
    )
    rest = Planned(
        name=f"expert-{domain}-rest",
        kind=REST,
        domain=domain,
        publisher="halves",
        description=f"What expert-{domain}-core leaves out: together they are the embedded expert for "
        f"{title_of(domain)}",
        requires=core.name,
    )
    return [core, rest]
