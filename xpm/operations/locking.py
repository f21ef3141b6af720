"""From a project to a lock: the base first, then the experts that fit it."""

from collections.abc import Mapping, Sequence

from xpm.errors import LockfileError, ResolutionError
from xpm.indexes import Indexes
from xpm.lockfile import LOCK_FILE, LockedIndex, LockedPackage, Lockfile
from xpm.project import Project
from xpm.resolve import resolve
from xpm_index.entries import Entry
from xpm_index.requirements import Requirement
from xpm_index.versions import Version, VersionRange


def make_lock(
    project: Project, indexes: Indexes, *, previous: Lockfile | None, upgrade: Sequence[str] | None = ()
) -> Lockfile:
    """Resolve the project against its indexes.

    Args:
        previous: the lock whose versions are preferred.
        upgrade: names that take the newest version instead; None for all of them.
    Raises:
        ResolutionError, BaseMismatchError, TrustError and what fetching an index raises.
    """
    locked = _preferred(previous, upgrade)
    base_index, base = _choose_base(project, indexes, locked)
    digest = base.archives[0].base_digest
    homes: dict[str, str] = {}

    def candidates(name: str) -> Sequence[Entry]:
        index, entries = indexes.entries(name)
        homes.update({entry.name: index for entry in entries})
        return [entry for entry in entries if entry.kind == "expert"]

    chosen = resolve(project.requirements, candidates, base=project.base, base_digest=digest, locked=locked)
    used = {base_index, *(homes[entry.name] for entry in chosen)}
    return Lockfile(
        requirements=stated_requirements(project),
        variant=project.variant,
        indexes=tuple(_locked_index(name, indexes) for name in sorted(used)),
        base=_locked_package(base, base_index),
        experts=tuple(_locked_package(entry, homes[entry.name]) for entry in chosen),
    )


def stated_requirements(project: Project) -> tuple[str, ...]:
    """The project's wishes as the lock records them, to tell whether it is out of date."""
    base = f"{project.base}@{project.base_range}"
    return (base, *sorted(f"{name}@{wanted}" for name, wanted in project.experts.items()))


def require_current(lock: Lockfile, project: Project) -> None:
    """Raise LockfileError if the lock was made for other wishes than xpm.toml's."""
    if lock.requirements != stated_requirements(project) or lock.variant != project.variant:
        raise LockfileError(f"{LOCK_FILE} does not agree with xpm.toml", hint="run `xpm lock` and commit both")


def _preferred(previous: Lockfile | None, upgrade: Sequence[str] | None) -> Mapping[str, Version]:
    if previous is None or upgrade is None:
        return {}
    return {package.name: package.version for package in previous.packages if package.name not in upgrade}


def _choose_base(project: Project, indexes: Indexes, locked: Mapping[str, Version]) -> tuple[str, Entry]:
    index, entries = indexes.entries(project.base)
    wanted = Requirement.parse(f"{project.base}@{project.base_range}")
    bases = [entry for entry in entries if entry.kind == "base" and wanted.range.contains(entry.version)]
    bases = [entry for entry in bases if entry.yanked is None or locked.get(entry.name) == entry.version]
    if not bases:
        raise ResolutionError(f"no index has the base {wanted}", hint="see the bases with `xpm base list`")
    bases.sort(key=lambda entry: (locked.get(entry.name) == entry.version, entry.version))
    chosen = bases[-1]
    variants = sorted(ref.variant for ref in chosen.archives)
    if project.variant not in variants:
        raise ResolutionError(
            f"the base {chosen.name} {chosen.version} has no variant {project.variant}", context=f"it has {', '.join(variants)}",
            hint="set base.variant in xpm.toml",
        )  # fmt: skip
    return index, chosen


def _locked_index(name: str, indexes: Indexes) -> LockedIndex:
    snapshot = indexes.snapshot(name)
    return LockedIndex(name=name, id=snapshot.info.id, head=snapshot.commit)


def _locked_package(entry: Entry, index: str) -> LockedPackage:
    return LockedPackage(
        name=entry.name,
        version=entry.version,
        kind=entry.kind,
        index=index,
        publisher=entry.publisher,
        key_id=entry.key_id,
        load_order=entry.load_order,
        requires=tuple(str(requirement) for requirement in entry.requires),
        archives=entry.archives,
    )


def range_for(entry_version: Version) -> str:
    """The range written to xpm.toml if none was asked for: compatible with what was chosen."""
    return str(VersionRange.parse(f"^{entry_version}"))
