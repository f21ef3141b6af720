"""Which base and which experts answer a prompt, and in what order the experts act."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from xpm.environment import Environment
from xpm.errors import UsageError
from xpm.lockfile import Lockfile
from xpm.operations.install import require_stored
from xpm.operations.installed import Installed, find_in, packages_of
from xpm.operations.local import compile_for_model, is_path, is_written, local_base, local_expert, source_of
from xpm.operations.model_folder import base_source
from xpm.operations.options import Options
from xpm.operations.parts import Part, part_of
from xpm.operations.route import note_of_nobody, router_of
from xpm.progress import Progress

if TYPE_CHECKING:
    from xpm_runtime.router.route import Decision


@dataclass(frozen=True, slots=True, kw_only=True)
class Composition:
    """``experts`` in the order in which they act; ``decision`` is the router's, None where the user named them."""

    base: Part
    experts: tuple[Part, ...]
    decision: "Decision | None" = None


def composition(
    environment: Environment,
    prompt: str,
    *,
    base: str,
    experts: tuple[str, ...] | None,
    scratch: Path,
    progress: Progress,
) -> Composition:
    """The base and the experts: in the lock's order, then those named by paths, as named.

    Args:
        base: its path, "" for the environment's.
        experts: their names and paths; None lets the router choose.
        scratch: a folder for what has to be unpacked or compiled.
    """
    paths = [text for text in experts or () if is_path(text)]
    names = None if experts is None else tuple(text for text in experts if not is_path(text))
    lock: Lockfile | None = None
    decision = None
    if base:
        part = local_base(base, scratch, progress.note)
        chosen = named(packages_of(environment, environment.lockfile()), names) if names else []
    else:
        lock = require_stored(environment, Options(progress=progress))
        packages = packages_of(environment, lock)
        part = part_of(packages[0])
        if names is None:
            decision, chosen = routed(environment, packages, prompt, progress=progress)
            if not chosen:
                note_of_nobody(environment, prompt, decision, base=part.name, progress=progress)
        else:
            chosen = named(packages, names)

    def compile_adapter(folder: Path, out: Path) -> None:
        if lock is not None and is_written(part.folder):
            _compile_for(environment, lock, folder, out, progress)
            return
        source = source_of(base, scratch) if base else base_source(environment, part.name, progress=progress)
        compile_for_model(folder, out, source)

    chosen += [local_expert(text, scratch, compile_adapter, progress.note) for text in paths]
    if twice := [name for name, count in Counter(each.name for each in chosen).items() if count > 1]:
        raise UsageError(
            f"two experts are named {twice[0]}", hint="name each once; a folder without a manifest has its own name"
        )
    return Composition(base=part, experts=tuple(chosen), decision=decision)


def _compile_for(environment: Environment, lock: Lockfile, folder: Path, out: Path, progress: Progress) -> None:
    """Compile what PEFT saved for the installed base."""
    from xpm.operations.adapters import Target, compile_for_run

    options = Options(progress=progress)
    with environment.locked(), options.indexes(environment, environment.project(), allow_stale=True) as indexes:
        compile_for_run(Target.of(environment, lock, indexes, options), folder, out)


def routed(
    environment: Environment, packages: Sequence[Installed], prompt: str, *, progress: Progress
) -> tuple["Decision", list[Part]]:
    """(what the router decides for a prompt, the experts that it chose, with what they require, in the lock's order)."""
    parts = {each.package.name: part_of(each) for each in packages if each.package.kind == "expert"}
    decision = router_of(environment, list(parts.values()), progress=progress).route(prompt)
    return decision, [parts[name] for name in _with_required(packages, set(decision.experts))]


def named(packages: Sequence[Installed], names: Sequence[str]) -> list[Part]:
    """The experts that a user names, with what they require, in the lock's order."""
    found = [find_in(packages, name).package for name in names]
    if bases := [each.name for each in found if each.kind != "expert"]:
        raise UsageError(f"{bases[0]} is a base, not an expert")
    wanted = _with_required(packages, {each.name for each in found})
    return [part_of(each) for each in packages if each.package.name in wanted]


def _with_required(packages: Sequence[Installed], names: set[str]) -> list[str]:
    experts = [each.package for each in packages if each.package.kind == "expert"]
    for each in reversed(experts):  # what requires stands behind what is required
        if each.name in names:
            names.update(spelled for required in each.requires for spelled in required.name.spellings())
    return [each.name for each in experts if each.name in names]
