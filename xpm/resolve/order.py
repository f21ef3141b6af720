"""The order in which experts act on one another, and circles among them."""

from collections.abc import Mapping, Sequence

from xpm_index.entries import Candidate
from xpm_index.manifest import TIERS
from xpm_index.names import spellings

MAX_EXPERTS = 10


def composition_order(entries: Sequence[Candidate]) -> tuple[Candidate, ...]:
    """What is required before what requires it; among what is free by load order, then tier, then name.

    Args:
        entries: one per name, closed under requirements, without circles (see ``find_cycle``).
    """
    required = {entry.name: _required(entry, entries) for entry in entries}
    left = sorted(entries, key=lambda each: (each.load_order, TIERS.index(each.tier), each.name))
    ordered: list[Candidate] = []
    while left:
        placed = {each.name for each in ordered}
        free = next(each for each in left if required[each.name] <= placed)
        ordered.append(free)
        left.remove(free)
    return tuple(ordered)


def find_cycle(entries: Sequence[Candidate]) -> tuple[Candidate, ...]:
    """The entries of one circle of requirements, in its order; () if there is none."""
    by_name = {entry.name: entry for entry in entries}
    required = {name: sorted(_required(entry, entries)) for name, entry in by_name.items()}
    finished: set[str] = set()
    for start in sorted(by_name):
        path: list[str] = []
        cycle = _walk(start, required, path, finished)
        if cycle:
            return tuple(by_name[name] for name in cycle)
    return ()


def _walk(start: str, required: Mapping[str, Sequence[str]], path: list[str], finished: set[str]) -> list[str]:
    """Depth-first from ``start`` without recursion; the names of a circle, [] if there is none."""
    stack = [(start, iter(required[start]))]
    path.append(start)
    while stack:
        name, rest = stack[-1]
        following = next((each for each in rest if each not in finished), None)
        if following is None:
            finished.add(name)
            stack.pop()
            path.pop()
        elif following in path:
            return path[path.index(following) :]
        else:
            path.append(following)
            stack.append((following, iter(required[following])))
    return []


def _required(entry: Candidate, entries: Sequence[Candidate]) -> set[str]:
    """The names, as published, of what an entry requires."""
    wanted = {spelled for requirement in entry.requires for spelled in spellings(requirement.name.name)}
    return {each.name for each in entries if each.name in wanted and each is not entry}
