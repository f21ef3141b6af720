"""Questions about an environment's lock: the tree of requirements, why something is there, what is out of date."""

from dataclasses import dataclass

from xpm.environment import Environment
from xpm.errors import NotFoundError
from xpm.lockfile import Indexed, LockedPackage, Lockfile
from xpm.operations.locking import resolve_project
from xpm.operations.names import not_installed
from xpm.operations.options import DEFAULTS, Options
from xpm_index.names import spellings
from xpm_index.requirements import Requirement
from xpm_index.versions import Version


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A package in the tree; ``wanted`` is the requirement that led to it. ``is_repeated`` if it
    was shown in full before."""

    package: LockedPackage
    wanted: str
    children: tuple["Node", ...] = ()
    is_repeated: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Outdated:
    """``allowed`` is what `xpm update` would take, ``newest`` the newest of all; ``yanked`` the reason if it is."""

    name: str
    version: Version
    allowed: Version
    newest: Version
    yanked: str | None


def tree(environment: Environment) -> tuple[LockedPackage, tuple[Node, ...]]:
    """(the base, what the project asks for with all that it requires)."""
    lock, project = environment.require_lockfile(), environment.project()
    seen: set[str] = set()

    def node(requirement: Requirement) -> Node:
        package = _find(lock, requirement)
        if package.name in seen:
            return Node(package=package, wanted=str(requirement), is_repeated=bool(package.requires))
        seen.add(package.name)
        children = tuple(node(each) for each in package.requires)
        return Node(package=package, wanted=str(requirement), children=children)

    return lock.base, tuple(node(requirement) for requirement in project.requirements)


def why(environment: Environment, name: str) -> tuple[tuple[str, ...], ...]:
    """Every chain of requirements from the project to a package, shortest first: ("the project", "expert-a@^1", …)."""
    lock, project = environment.require_lockfile(), environment.project()
    target = next((each for each in lock.experts if each.name in spellings(name)), None)
    if target is None:
        raise not_installed(name, [each.name for each in lock.experts])
    chains: list[tuple[str, ...]] = []
    queue: list[tuple[Requirement, tuple[str, ...]]] = [(r, ("the project",)) for r in project.requirements]
    while queue:
        requirement, chain = queue.pop(0)
        package = _find(lock, requirement)
        longer = (*chain, str(requirement))
        if package is target:
            chains.append(longer)
        else:
            queue += [(each, longer) for each in package.requires]
    return tuple(chains)


def outdated(environment: Environment, options: Options = DEFAULTS) -> list[Outdated]:
    """The installed packages for which there is something newer, or which were yanked."""
    with environment.locked():
        lock, project = environment.require_lockfile(), environment.project()
        with options.indexes(environment, project) as indexes:
            indexes.refresh(options.index_max_age)
            updated = resolve_project(environment, project, indexes, lock, options, upgrade=None)
            allowed = {package.name: package.version for package in updated.packages}
            found = []
            for package in lock.packages:
                if not isinstance(package.origin, Indexed):
                    continue
                _, entries = indexes.entries(package.name)
                usable = [e.version for e in entries if e.yanked is None and not e.version.is_prerelease]
                own = next((e for e in entries if e.version == package.version), None)
                newest = max([*usable, package.version])
                if newest != package.version or (own and own.yanked):
                    found.append(
                        Outdated(
                            name=package.name,
                            version=package.version,
                            newest=newest,
                            allowed=allowed.get(package.name, package.version),
                            yanked=own.yanked.reason if own and own.yanked else None,
                        )
                    )
            return found


def _find(lock: Lockfile, requirement: Requirement) -> LockedPackage:
    for package in lock.experts:
        if package.name in requirement.name.spellings():
            return package
    raise NotFoundError(f"{requirement} is not in xpm.lock", hint="run `xpm lock`")
