"""Which base and which experts answer a prompt, and in what order the experts act."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
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
    from xpm_runtime.router.decision import Decision
    from xpm_runtime.router.route import Router


@dataclass(frozen=True, slots=True, kw_only=True)
class Composition:
    """``experts`` in the order in which they act; ``decision`` is the router's, None where the user named them."""

    experts: tuple[Part, ...]
    decision: "Decision | None" = None


class Candidates:
    """The base of a run, and the experts that may act on it."""

    def __init__(self, environment: Environment, *, base: str, scratch: Path, progress: Progress) -> None:
        """
        Args:
            base: its path, "" for the environment's, which is fetched if need be.
            scratch: a folder for what has to be unpacked or compiled.
        """
        self._environment, self._scratch, self._progress = environment, scratch, progress
        self._base_path = base
        self._lock: Lockfile | None = None
        self._local: dict[str, Part] = {}
        if base:
            self.base = local_base(base, scratch, progress.note)
        else:
            self._lock = require_stored(environment, Options(progress=progress))
            self.base = part_of(self.packages[0])

    @property
    def is_local(self) -> bool:
        """Whether the base was named by its path, so that nothing that is installed acts unless it is named."""
        return bool(self._base_path)

    @cached_property
    def packages(self) -> tuple[Installed, ...]:
        """What is installed here: a base, then experts in the lock's order."""
        return packages_of(self._environment, self._lock or self._environment.lockfile())

    @cached_property
    def _router(self) -> "Router":
        return _router_over(self._environment, self.packages, progress=self._progress)

    def compose(self, prompt: str, experts: tuple[str, ...] | None) -> Composition:
        """The experts: in the lock's order, then those named by paths, as named.

        Args:
            experts: their names and paths; None lets the router choose, unless the base is named by its path.
        """
        if experts is None:
            if self._base_path:
                return Composition(experts=())
            decision, chosen = _routed_by(self._router, self.packages, prompt)
            return Composition(experts=tuple(chosen), decision=decision)
        names = [text for text in experts if not is_path(text)]
        chosen = named(self.packages, names) if names else []
        chosen += [self._local_expert(text) for text in experts if is_path(text)]
        if twice := [name for name, count in Counter(each.name for each in chosen).items() if count > 1]:
            raise UsageError(
                f"two experts are named {twice[0]}", hint="name each once; a folder without a manifest has its own name"
            )
        return Composition(experts=tuple(chosen))

    def warn_of_nobody(self, prompt: str, composition: Composition) -> None:
        """Say so where the router chose nobody and the base is one that knows nothing."""
        if composition.decision is not None and not composition.experts:
            note_of_nobody(
                self._environment, prompt, composition.decision, base=self.base.name, progress=self._progress
            )

    def _local_expert(self, text: str) -> Part:
        if text not in self._local:
            self._local[text] = local_expert(text, self._scratch, self._compile_adapter, self._progress.note)
        return self._local[text]

    def _compile_adapter(self, folder: Path, out: Path) -> None:
        if self._lock is not None and is_written(self.base.folder):
            _compile_for(self._environment, self._lock, folder, out, self._progress)
        elif self._base_path:
            compile_for_model(folder, out, source_of(self._base_path, self._scratch))
        else:
            source = base_source(self._environment, self.base.name, progress=self._progress)
            compile_for_model(folder, out, source)


def _compile_for(environment: Environment, lock: Lockfile, folder: Path, out: Path, progress: Progress) -> None:
    """Compile what PEFT saved for the installed base."""
    from xpm.operations.adapters import Target, compile_for_run

    options = Options(progress=progress)
    with environment.locked(), options.indexes(environment, environment.project(), allow_stale=True) as indexes:
        compile_for_run(Target.of(environment, lock, indexes, options), folder, out)


def routed(
    environment: Environment, packages: Sequence[Installed], prompt: str, *, progress: Progress
) -> tuple["Decision", list[Part]]:
    """(what the router decides for a prompt, the experts that it chose, with what they
    require, in the lock's order)."""
    return _routed_by(_router_over(environment, packages, progress=progress), packages, prompt)


def _router_over(environment: Environment, packages: Sequence[Installed], *, progress: Progress) -> "Router":
    return router_of(
        environment, [part_of(each) for each in packages if each.package.kind == "expert"], progress=progress
    )


def _routed_by(router: "Router", packages: Sequence[Installed], prompt: str) -> tuple["Decision", list[Part]]:
    decision = router.route(prompt)
    wanted = with_required(packages, set(decision.experts))
    return decision, [part_of(each) for each in packages if each.package.name in wanted]


def named(packages: Sequence[Installed], names: Sequence[str]) -> list[Part]:
    """The experts that a user names, with what they require, in the lock's order."""
    found = [find_in(packages, name).package for name in names]
    if bases := [each.name for each in found if each.kind != "expert"]:
        raise UsageError(f"{bases[0]} is a base, not an expert")
    wanted = with_required(packages, {each.name for each in found})
    return [part_of(each) for each in packages if each.package.name in wanted]


def with_required(packages: Sequence[Installed], names: set[str]) -> list[str]:
    """The installed experts of these names, which grow by what they require, in the lock's order."""
    experts = [each.package for each in packages if each.package.kind == "expert"]
    for each in reversed(experts):  # what requires stands behind what is required
        if each.name in names:
            names.update(spelled for required in each.requires for spelled in required.name.spellings())
    return [each.name for each in experts if each.name in names]
