"""``resolve``: solve, order, and say well what is wrong if there is nothing to order."""

from collections.abc import Mapping, Sequence

from xpm.errors import BaseMismatchError, ResolutionError
from xpm.resolve.explain import conclusion, conflict_graph, leaves, proof
from xpm.resolve.facts import Facts
from xpm.resolve.incompatibility import Cycle, Incompatibility, NoArchive, Unknown
from xpm.resolve.order import MAX_EXPERTS, composition_order, find_cycle
from xpm.resolve.package import Package
from xpm.resolve.problem import Candidates, Problem, Resolution
from xpm.resolve.solver import NoSolution, Solver
from xpm_index.entries import Candidate


def resolve(problem: Problem, candidates: Candidates) -> Resolution:
    """Choose the base and the experts.

    Raises:
        BaseMismatchError: there is no solution, and an expert without an archive for the base has part in that.
        ResolutionError: there is none for other reasons, or more experts are needed than can act together.
    """
    facts = Facts(problem, candidates)
    try:
        chosen = Solver(facts, check=_circle).solve()
    except NoSolution as failure:
        raise _explained(failure.root) from failure
    experts = [entry for package, entry in chosen.items() if package.kind == "expert"]
    _require_few(experts)
    return Resolution(base=chosen[facts.base], experts=composition_order(experts))


def _circle(chosen: Mapping[Package, Candidate]) -> Incompatibility | None:
    """An incompatibility of the members of a circle of requirements, at the versions chosen;
    None if there is no circle."""
    packages = {package.name: package for package in chosen if package.kind == "expert"}
    cycle = find_cycle([chosen[package] for package in packages.values()])
    if not cycle:
        return None
    terms = {}
    for entry in cycle:
        package = packages[entry.name]
        terms[package] = package.where(lambda each, entry=entry: each is entry)  # type: ignore[misc]
    names = tuple(entry.name for entry in cycle)
    return Incompatibility(terms, Cycle((*names, names[0])))


def _require_few(experts: Sequence[Candidate]) -> None:
    limit = min([MAX_EXPERTS, *(entry.max_chain for entry in experts)])
    if len(experts) <= limit:
        return
    strict = sorted(entry.name for entry in experts if entry.max_chain == limit)
    raise ResolutionError(
        f"{len(experts)} experts are needed, at most {limit} act together",
        context=", ".join(sorted(entry.name for entry in experts)),
        hint="remove some" if limit == MAX_EXPERTS else f"{' and '.join(strict)} allow no more: remove some",
    )


def _explained(root: Incompatibility) -> ResolutionError | BaseMismatchError:
    """The error that tells why the project is impossible."""
    facts = leaves(root)
    lines = tuple(proof(root))
    unknown = [fact.cause.requirement.name for fact in facts if isinstance(fact.cause, Unknown)]
    misfits = [fact for fact in facts if isinstance(fact.cause, NoArchive)]
    if misfits:
        return BaseMismatchError(
            conclusion(root),
            context="\n".join(lines),
            hint=_bases_hint(misfits),
            proof=lines,
            graph=conflict_graph(root),
        )
    hint = (
        "look for it with `xpm search`, or add an index with `xpm index add`"
        if unknown
        else "relax one of the requirements"
    )
    return ResolutionError(
        conclusion(root),
        context="\n".join(lines),
        hint=hint,
        proof=lines,
        graph=conflict_graph(root),
        unknown=tuple(map(str, unknown)),
    )


def _bases_hint(misfits: Sequence[Incompatibility]) -> str:
    """For which bases the experts of a conflict do have archives."""
    fitting = []
    for fact in misfits:
        expert = next(package for package in fact.terms if package.kind == "expert")
        base = next((package for package in fact.terms if package.kind == "base"), None)
        assert isinstance(fact.cause, NoArchive)
        others = [f"another {name}" if name == fact.cause.base else name for name in fact.cause.bases if base is None]
        fits = [base.describe(base.everything & ~fact.terms[base])] if base else []
        fitting.append(f"{expert.describe(fact.terms[expert])} is for {' and '.join([*fits, *others]) or 'no base'}")
    return "; ".join(dict.fromkeys(fitting))
