"""The proof that there is no solution, in plain words, and as a graph for machines.

A derived incompatibility follows from two others, so a failure is a graph of such steps over facts that the index
states. Each step becomes one sentence; one that is needed again gets a number to be referred to by.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from xpm.resolve.incompatibility import (
    Clashes,
    Cycle,
    Derived,
    Incompatibility,
    NoArchive,
    NoVersion,
    OnlyWith,
    Requires,
    Unknown,
    Unusable,
)
from xpm.resolve.package import ABSENT, Package

_PROJECT = "the project"
_MAX_KNOWN = 8


def conclusion(root: Incompatibility) -> str:
    """What the whole proof comes to, in one line."""
    stated = [fact.cause for fact in leaves(root) if isinstance(fact.cause, (Requires, Unknown, NoVersion))]
    wanted = sorted({str(cause.requirement) for cause in stated if cause.by is None})
    what = " and ".join(wanted) if wanted else "what the project needs"
    return f"{what} can't be had{' together' if len(wanted) > 1 else ''}"


def leaves(root: Incompatibility) -> list[Incompatibility]:
    """The facts that a proof rests on, in the order of the proof."""
    found: dict[Incompatibility, None] = {}
    stack, seen = [root], set[Incompatibility]()
    while stack:
        current = stack.pop()
        if current in seen:
            continue
        seen.add(current)
        if isinstance(current.cause, Derived):
            stack += [current.cause.right, current.cause.left]
        else:
            found[current] = None
    return list(found)


def proof(root: Incompatibility) -> list[str]:
    """The numbered proof, one sentence per line."""
    if not isinstance(root.cause, Derived):
        return [f"{_sentence(root)}."]
    writer = _Writer(root)
    writer.visit(root, concluding=True)
    return writer.lines


def conflict_graph(root: Incompatibility) -> dict[str, Any]:
    """The proof for machines: ``nodes`` with id, text and kind, and for derived ones the two
    ids they follow ``from``."""
    ids: dict[Incompatibility, int] = {}
    nodes: list[dict[str, Any]] = []

    def place(node: Incompatibility) -> None:
        ids[node] = len(nodes)
        entry: dict[str, Any] = {"id": ids[node], "text": _sentence(node), "kind": _kind(node)}
        if isinstance(node.cause, Derived):
            entry["from"] = [ids[node.cause.left], ids[node.cause.right]]
        nodes.append(entry)

    stack: list[tuple[Incompatibility, bool]] = [(root, False)]
    while stack:
        node, is_ready = stack.pop()
        if node in ids:
            continue
        if is_ready or not isinstance(node.cause, Derived):
            place(node)
        else:
            stack += [(node, True), (node.cause.right, False), (node.cause.left, False)]
    return {"conclusion": ids[root], "nodes": nodes}


class _Writer:
    """Writes the derivation of one failure; the algorithm is PubGrub's."""

    def __init__(self, root: Incompatibility) -> None:
        self.lines: list[str] = []
        self._numbers: dict[Incompatibility, int] = {}
        self._uses = _count_uses(root)

    def visit(self, node: Incompatibility, *, concluding: bool = False) -> None:
        assert isinstance(node.cause, Derived)
        left, right = node.cause.left, node.cause.right
        if _is_derived(left) and _is_derived(right):
            self._both_derived(node, left, right, concluding)
        elif _is_derived(left) or _is_derived(right):
            derived, fact = (left, right) if _is_derived(left) else (right, left)
            self._one_derived(node, derived, fact, concluding)
        else:
            self._write(node, f"Because {_sentence(left)} and {_sentence(right)}", concluding)

    def _both_derived(
        self, node: Incompatibility, left: Incompatibility, right: Incompatibility, concluding: bool
    ) -> None:
        if left in self._numbers and right in self._numbers:
            because = f"Because {self._refer(left)} and {self._refer(right)}"
        elif left in self._numbers or right in self._numbers:
            known, other = (left, right) if left in self._numbers else (right, left)
            self.visit(other)
            because = f"And because {self._refer(known)}"
        elif _is_single_line(left) or _is_single_line(right):
            first, second = (right, left) if _is_single_line(left) else (left, right)
            self.visit(first)
            self._number(first)
            self.visit(second)
            because = f"And because {self._refer(first)}"
        else:
            self.visit(left)
            self._number(left)
            self.visit(right)
            because = f"And because {self._refer(left)}"
        self._write(node, because, concluding)

    def _one_derived(
        self, node: Incompatibility, derived: Incompatibility, fact: Incompatibility, concluding: bool
    ) -> None:
        if derived in self._numbers:
            self._write(node, f"Because {_sentence(fact)} and {self._refer(derived)}", concluding)
        elif (inner := self._collapsible(derived)) is not None:
            deeper, inner_fact = inner
            self.visit(deeper)
            self._write(node, f"And because {_sentence(inner_fact)} and {_sentence(fact)}", concluding)
        else:
            self.visit(derived)
            self._write(node, f"And because {_sentence(fact)}", concluding)

    def _collapsible(self, node: Incompatibility) -> tuple[Incompatibility, Incompatibility] | None:
        """(the derived, the stated) of a step that needs no sentence of its own, None if it needs one."""
        assert isinstance(node.cause, Derived)
        left, right = node.cause.left, node.cause.right
        if self._uses[node] > 1 or _is_derived(left) == _is_derived(right):
            return None
        deeper, fact = (left, right) if _is_derived(left) else (right, left)
        return None if deeper in self._numbers else (deeper, fact)

    def _write(self, node: Incompatibility, premises: str, concluding: bool) -> None:
        result = "this can't be resolved" if concluding else _sentence(node)
        self.lines.append(f"{premises}, {result}.")
        if self._uses[node] > 1:
            self._number(node)

    def _number(self, node: Incompatibility) -> None:
        """Give the line just written a number, if it has none."""
        if node not in self._numbers:
            self._numbers[node] = len(self._numbers) + 1
            self.lines[-1] += f" ({self._numbers[node]})"

    def _refer(self, node: Incompatibility) -> str:
        return f"{_sentence(node)} ({self._numbers[node]})"


def _count_uses(root: Incompatibility) -> dict[Incompatibility, int]:
    uses: dict[Incompatibility, int] = {root: 1}
    stack = [root]
    while stack:
        cause = stack.pop().cause
        if isinstance(cause, Derived):
            for each in (cause.left, cause.right):
                uses[each] = uses.get(each, 0) + 1
                if uses[each] == 1:
                    stack.append(each)
    return uses


def _is_derived(node: Incompatibility) -> bool:
    return isinstance(node.cause, Derived)


def _is_single_line(node: Incompatibility) -> bool:
    return isinstance(node.cause, Derived) and not _is_derived(node.cause.left) and not _is_derived(node.cause.right)


def _kind(node: Incompatibility) -> str:
    return type(node.cause).__name__.lower()


def _sentence(node: Incompatibility) -> str:
    """What an incompatibility says, as a clause."""
    cause = node.cause
    if isinstance(cause, Requires):
        suffix = " (as xpm.toml overrides)" if cause.overridden else ""
        return f"{cause.by or _PROJECT} needs {cause.requirement}{suffix}"
    if isinstance(cause, Unknown):
        return f"{cause.by or _PROJECT} needs {cause.requirement}, which no index has"
    if isinstance(cause, NoVersion):
        return f"{cause.by or _PROJECT} needs {cause.requirement}, but there is only {_listed(cause.known)}"
    if isinstance(cause, Clashes):
        return f"{cause.by} is incompatible with {cause.requirement}"
    if isinstance(cause, OnlyWith):
        return f"{cause.by} goes only with {cause.requirement}"
    if isinstance(cause, Cycle):
        return f"{_versions(node.terms)} require each other in a circle ({' → '.join(cause.path)})"
    if isinstance(cause, NoArchive):
        return _fits(node.terms, cause)
    if isinstance(cause, Unusable):
        ((package, mask),) = node.terms.items()
        return _all_or_none(f"{package.describe(mask)} is {cause.why}", "is not", "is")
    return _derived(node.terms)


def _fits(terms: Mapping[Package, int], cause: NoArchive) -> str:
    expert = next(package for package in terms if package.kind == "expert")
    base = next((package for package in terms if package.kind == "base"), None)
    fits = f"fits only {base.describe(base.everything & ~terms[base])}" if base else f"has no archive for {cause.base}"
    return _all_or_none(f"{expert.describe(terms[expert])} {fits}", "has no", "has an")


def _all_or_none(clause: str, negative: str, positive: str) -> str:
    """ "every version of a is not b" as "no version of a is b"."""
    if not clause.startswith("every version of ") or f" {negative} " not in clause:
        return clause
    return clause.replace("every version of ", "no version of ", 1).replace(f" {negative} ", f" {positive} ", 1)


def _listed(known: Sequence[str]) -> str:
    shown = list(known[-_MAX_KNOWN:])
    return ("…, " if len(known) > _MAX_KNOWN else "") + ", ".join(shown)


def _derived(terms: Mapping[Package, int]) -> str:
    """A derived incompatibility: "a and b require c", "a is impossible", "a is incompatible with b"."""
    positive = {p: mask for p, mask in terms.items() if not mask & ABSENT and p.kind != "project"}
    negative = {p: mask for p, mask in terms.items() if mask & ABSENT}
    needed = [p.describe(p.everything & ~mask) for p, mask in negative.items()]
    given = [p.describe(mask) for p, mask in positive.items()]
    if not given and not needed:
        return "this can't be resolved"
    if not given:
        return f"{_PROJECT} needs {' or '.join(needed)}"
    if needed:
        return f"{' with '.join(given)} needs {' or '.join(needed)}"
    if len(given) == 1:
        return _all_or_none(f"{given[0]} can't be used", "can't", "can")
    return f"{given[0]} is incompatible with {' with '.join(given[1:])}"


def _versions(terms: Mapping[Package, int]) -> str:
    described: Sequence[str] = [package.describe(mask) for package, mask in terms.items()]
    return " and ".join(described)
