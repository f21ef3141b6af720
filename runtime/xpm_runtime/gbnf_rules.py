"""The rules of a grammar as trees, and which of them a text can come by: what never ends, and what is
not reached, is left out."""

from collections.abc import Iterator
from dataclasses import dataclass

ROOT = "root"


@dataclass(frozen=True, slots=True)
class Text:
    """Terminals, as Lark writes them."""

    lark: str


@dataclass(frozen=True, slots=True)
class Rule:
    name: str
    place: int


@dataclass(frozen=True, slots=True)
class All:
    parts: tuple["Node", ...]


@dataclass(frozen=True, slots=True)
class Either:
    options: tuple["Node", ...]


@dataclass(frozen=True, slots=True)
class Repeated:
    """``most`` None: without end."""

    node: "Node"
    least: int
    most: int | None


Node = Text | Rule | All | Either | Repeated
EMPTY = All(())


def rules_used(node: Node) -> Iterator[Rule]:
    """The rules that a node names."""
    if isinstance(node, Rule):
        yield node
    elif isinstance(node, Repeated):
        yield from rules_used(node.node)
    elif isinstance(node, All | Either):
        for each in node.parts if isinstance(node, All) else node.options:
            yield from rules_used(each)


def ending_rules(rules: dict[str, Node]) -> dict[str, Node]:
    """The rules without those, and without those ways through them, that never come to an end."""
    users: dict[str, set[str]] = {name: set() for name in rules}
    for name, node in rules.items():
        for used in rules_used(node):
            users[used.name].add(name)
    ending: set[str] = set()
    waiting = list(rules)
    while waiting:
        name = waiting.pop()
        if name not in ending and _pruned(rules[name], ending) is not None:
            ending.add(name)
            waiting += users[name]
    pruned = {name: _pruned(rules[name], ending) for name in rules if name in ending}
    return {name: node for name, node in pruned.items() if node is not None}


def _pruned(node: Node, ending: set[str]) -> Node | None:
    """A node without the options that need another rule than those in ``ending``; None if
    there is no way through it."""
    match node:
        case Rule():
            return node if node.name in ending else None
        case Repeated():
            inner = _pruned(node.node, ending)
            return Repeated(inner, node.least, node.most) if inner is not None else EMPTY if node.least == 0 else None
        case All():
            parts = [_pruned(each, ending) for each in node.parts]
            whole = tuple(each for each in parts if each is not None)
            return All(whole) if len(whole) == len(parts) else None
        case Either():
            options = tuple(each for each in (_pruned(each, ending) for each in node.options) if each is not None)
            return Either(options) if options else None
    return node


def reached_rules(rules: dict[str, Node]) -> list[str]:
    """The root and what it needs, directly or not."""
    found, waiting = {ROOT: None}, [ROOT]
    while waiting:
        for used in rules_used(rules[waiting.pop()]):
            if used.name not in found:
                found[used.name] = None
                waiting.append(used.name)
    return list(found)
