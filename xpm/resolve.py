"""Choose one version of every expert needed: pure, over a provider of candidates.

Depth-first with backtracking: newest first, the locked version before that. The composition is then ordered so that
what is required comes before what requires it, by load order, then by name.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from xpm.errors import BaseMismatchError, ResolutionError
from xpm_index.entries import Entry
from xpm_index.names import spellings
from xpm_index.requirements import Requirement
from xpm_index.versions import Version

MAX_EXPERTS = 10


@dataclass(frozen=True, slots=True)
class Demand:
    """A requirement and who makes it, in words."""

    requirement: Requirement
    by: str


Candidates = Callable[[str], Sequence[Entry]]
"""All published versions of a name under either spelling, in any order; () if there are none."""


def resolve(
    requirements: Sequence[Requirement],
    candidates: Candidates,
    *,
    base: str,
    base_digest: str,
    locked: Mapping[str, Version],
) -> tuple[Entry, ...]:
    """Return the chosen entries in composition order.

    Args:
        requirements: the project's own.
        base: the base's name, for messages; ``base_digest``: experts without an archive for it are no candidates.
        locked: versions to prefer. A yanked version is chosen only if it is locked.
    Raises:
        ResolutionError: nothing fits, a cycle, or more than ten experts. BaseMismatchError: nothing fits the base.
    """
    search = _Search(candidates, base, base_digest, locked)
    chosen = search.extend({}, [Demand(requirement, "the project") for requirement in requirements])
    if chosen is None:
        raise search.failure()
    if len(chosen) > MAX_EXPERTS:
        raise ResolutionError(
            f"{len(chosen)} experts are needed, at most {MAX_EXPERTS} act together",
            context=", ".join(sorted(chosen)),
            hint="remove some",
        )
    return _in_composition_order(chosen)


class _Search:
    def __init__(self, candidates: Candidates, base: str, base_digest: str, locked: Mapping[str, Version]) -> None:
        self._candidates = candidates
        self._base = base
        self._base_digest = base_digest
        self._locked = locked
        self._conflicts: list[ResolutionError | BaseMismatchError] = []

    def extend(self, chosen: dict[str, Entry], demands: list[Demand]) -> dict[str, Entry] | None:
        """Satisfy the demands on top of what is chosen, or None with the conflict noted."""
        if not demands:
            return chosen
        demand, rest = demands[0], demands[1:]
        wanted = demand.requirement
        held = next((chosen[name] for name in spellings(wanted.name.name) if name in chosen), None)
        if held is not None:
            if wanted.range.contains(held.version):
                return self.extend(chosen, rest)
            self._note(f"{demand.by} needs {wanted}, but {held.version} was chosen for what came before")
            return None
        for entry in self._fitting(demand):
            clash = _clash(entry, chosen)
            if clash:
                self._note(clash)
                continue
            inner = [Demand(requirement, f"{entry.name} {entry.version}") for requirement in entry.requires]
            found = self.extend({**chosen, entry.name: entry}, [*inner, *rest])
            if found is not None:
                return found
        return None

    def failure(self) -> ResolutionError | BaseMismatchError:
        """The first conflict met: it concerns the newest versions, which people expect."""
        return self._conflicts[0]

    def _fitting(self, demand: Demand) -> list[Entry]:
        """Candidates for a demand, best first; notes why if there are none."""
        wanted = demand.requirement
        entries = [e for e in self._candidates(wanted.name.name) if wanted.name.namespace in (None, e.publisher)]
        if not entries:
            self._note(
                f"{demand.by} needs {wanted}, which no index has",
                hint="look for it with `xpm search`, or add an index with `xpm index add`",
            )
            return []
        in_range = [e for e in entries if wanted.range.contains(e.version)]
        usable = [e for e in in_range if e.yanked is None or self._locked.get(e.name) == e.version]
        if not usable:
            versions = ", ".join(
                f"{e.version}{' (yanked)' if e.yanked else ''}" for e in sorted(entries, key=lambda e: e.version)
            )
            self._note(f"{demand.by} needs {wanted}, but there is no such version", context=f"there are {versions}")
            return []
        fitting = [e for e in usable if e.archive_for(self._base_digest)]
        if not fitting:
            bases = ", ".join(sorted({ref.base for e in usable for ref in e.archives}))
            self._conflicts.append(
                BaseMismatchError(
                    f"{wanted} has no archive for the base {self._base}",
                    context=f"it is there for {bases}",
                    hint="choose one of those bases",
                )
            )
        newest_first = sorted(fitting, key=lambda e: e.version, reverse=True)
        return sorted(newest_first, key=lambda e: self._locked.get(e.name) != e.version)

    def _note(self, message: str, *, context: str | None = None, hint: str | None = None) -> None:
        self._conflicts.append(ResolutionError(message, context=context, hint=hint or "relax one of the requirements"))


def _clash(entry: Entry, chosen: Mapping[str, Entry]) -> str | None:
    for one, other in [(entry, each) for each in chosen.values()] + [(each, entry) for each in chosen.values()]:
        for bad in one.incompatible_with:
            if other.name in spellings(bad.name.name) and bad.range.contains(other.version):
                return f"{one.name} {one.version} is incompatible with {bad}, but {other.name} {other.version} is needed too"
    return None


def _in_composition_order(chosen: Mapping[str, Entry]) -> tuple[Entry, ...]:
    """Required before requiring, then load order, then name; raises ResolutionError that prints a cycle."""
    ordered: list[Entry] = []
    path: list[str] = []

    def visit(entry: Entry) -> None:
        if entry in ordered:
            return
        if entry.name in path:
            cycle = " → ".join([*path[path.index(entry.name) :], entry.name])
            raise ResolutionError(
                "experts require each other in a circle", context=cycle, hint="one of them must drop its requirement"
            )
        path.append(entry.name)
        for requirement in entry.requires:
            visit(next(chosen[name] for name in spellings(requirement.name.name) if name in chosen))
        path.pop()
        ordered.append(entry)

    for entry in sorted(chosen.values(), key=lambda each: (each.load_order, each.name)):
        visit(entry)
    return tuple(ordered)
