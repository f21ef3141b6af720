"""Experts made here of adapters as PEFT saved them: a folder, or one on a hub.

Nobody signs such an expert. The lock says of which files it was made (their digest, a hub's commit), for which base, by
which version of the tool, and what came of it; elsewhere it is made again of the same files, and must be the same.
"""

import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from xpm.environment import Environment
from xpm.errors import BaseMismatchError, FetchError, NotFoundError, UsageError
from xpm.lockfile import LockedPackage, Lockfile, Made
from xpm.operations.adapter_files import AdapterFiles, adapter_files, forget
from xpm.operations.models import locked_model
from xpm.operations.options import Options
from xpm.operations.trained_on import differing_base, shown
from xpm.sources import HUB, FromAdapter, is_hub_id
from xpm_index.archive import MANIFEST
from xpm_index.entries import ArchiveRef
from xpm_index.errors import IntegrityError, InvalidName, XpmError
from xpm_index.manifest import Manifest
from xpm_index.names import spellings, validate_name
from xpm_index.versions import Version
from xpm_index.web import WebError

if TYPE_CHECKING:
    from xpm.indexes import Indexes
    from xpm.project import Project
    from xpm_build.base.checkpoint import Checkpoint
    from xpm_build.local_adapter import Origin

_SOURCE = "source"


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """The base that adapters are compiled for: how it is locked, its archive that is used
    here, and what it is had with.

    Its methods are called while holding the environment's lock.
    """

    environment: Environment
    package: LockedPackage
    ref: ArchiveRef
    indexes: "Indexes"
    options: Options

    @classmethod
    def of(cls, environment: Environment, lock: Lockfile, indexes: "Indexes", options: Options) -> "Target":
        package, ref = lock.stored[0]
        return cls(environment=environment, package=package, ref=ref, indexes=indexes, options=options)

    def folder(self) -> Path:
        """The installed base, fetched if it is not in the store; a dry run fetches nothing."""
        if not self.environment.store.is_intact(self.ref.digest) and self.options.dry_run:
            raise UsageError(
                f"the base {self.package.name} is not here yet",
                context="an adapter is compiled for it, and a dry run fetches nothing",
                hint="leave --dry-run out",
            )
        return self._stored(self.ref)

    @contextmanager
    def weights(self) -> Iterator["Checkpoint"]:
        """The weights of the model that the base was made of.

        Raises:
            NotFoundError: nobody published them.
        """
        from xpm_build.base.export import open_checkpoint

        if isinstance(self.package.origin, Made):
            with locked_model(self.environment, self.package, self.options) as path:
                yield open_checkpoint(path)
            return
        ref = next((each for each in self.package.archives if each.variant == _SOURCE), None)
        if ref is None:
            raise NotFoundError(
                f"{self.package} has no source variant",
                context="DoRA, and IA3 on a base with biases, are compiled with the weights that the base was made of",
                hint="make the base of its model: `xpm base add MODEL`",
            )
        yield open_checkpoint(self._stored(ref))

    def is_of(self, package: LockedPackage) -> bool:
        """Whether an expert was made for this base."""
        return package.archives[0].base_digest == self.ref.base_digest

    def _stored(self, ref: ArchiveRef) -> Path:
        from xpm.operations.fetching import fetch_and_store

        if self.environment.store.is_intact(ref.digest):
            return self.environment.store.path_of(ref.digest)
        return fetch_and_store(self.environment, [(self.package, ref)], self.indexes, self.options)[0]


def name_of(source: FromAdapter, folder: Path) -> str:
    """An expert's name made of its adapter's, for the project in ``folder``."""
    last = source.hub_id.rpartition("/")[2] if source.is_remote else source.locate(folder).resolve().name
    try:
        return validate_name(re.sub(r"[^a-z0-9]+", "-", last.lower()).strip("-"), what="expert name")
    except InvalidName as error:
        raise UsageError(f"{source.adapter} gives no name of an expert", hint="choose one with --name") from error


def require_free(name: str, source: FromAdapter, project: "Project", previous: Lockfile | None) -> None:
    """Raise UsageError if an expert of another source, or the base, has the name in either spelling."""
    hint = "choose another name with --name"
    if project.base in spellings(name):
        raise UsageError(f"{project.base} is the base here, not an expert", hint=hint)
    for known in spellings(name):
        wanted = project.experts.get(known)
        if wanted is None and any(each.name == known for each in (previous.experts if previous else ())):
            raise UsageError(f"{known} is here already, because another expert requires it", hint=hint)
        if wanted is not None and not (isinstance(wanted, FromAdapter) and _place(wanted) == _place(source)):
            raise UsageError(
                f"{known} is here already",
                context=f"it comes from {wanted}",
                hint=f"{hint}, or uninstall {known} first",
            )


def find_or_make(
    target: Target, name: str, source: FromAdapter, *, previous: Lockfile | None, look: bool, must: bool = True
) -> LockedPackage:
    """An adapter's expert as it is locked, if it is for this base; else made, of the files that were
    locked if there are some.

    Args:
        look: whether newer files are looked for.
        must: whether it is an error if the hub can't be asked for them; else a warning.
    Raises:
        BaseMismatchError: it does not fit the base. BuildError: it is not supported. FetchError,
            NotFoundError: it can't be had.
    """
    locked = _locked_as(name, source, previous)
    if locked is not None and not look and target.is_of(locked):
        return locked
    revision = "" if look or locked is None else _made(locked).revision
    try:
        with adapter_files(target.environment, source, revision, target.options) as files:
            if locked is not None and _is_made_of(locked, files, target):
                return locked
            return _make(target, name, source, files)
    except (FetchError, WebError) as error:
        if must or locked is None or not target.is_of(locked):
            raise
        target.indexes.warn(f"{name} stays as it is: {error.message}")
        return locked


def make_again(target: Target, package: LockedPackage, ref: ArchiveRef) -> Path:
    """Make a locked expert and store it.

    Raises:
        IntegrityError: the adapter's files, or what came of them, are others than are locked.
    """
    from xpm.trust import verify_made

    origin, environment = _made(package), target.environment
    source = FromAdapter(adapter=origin.source.removeprefix("adapter:"))
    with adapter_files(environment, source, origin.revision, target.options) as files:
        if files.digest != origin.made_of:
            forget(environment, source, origin.revision)
            raise IntegrityError(
                f"{source.adapter} is not the adapter that is locked",
                context=f"expected {origin.made_of}, got {files.digest}",
                hint=f"find out who altered it; to take it as it is now, `xpm update {package.name}`",
            )
        with _compiled(target, source, files, package.name, package.version) as folder:
            return environment.store.add(verify_made(folder, ref, name=package.name))


def compile_for_run(target: Target, folder: Path, out: Path) -> None:
    """Compile the adapter in a folder into the new folder ``out``, for one run; raises as ``find_or_make`` does."""
    _compile(target, FromAdapter(adapter=folder.as_posix()), folder, out, "adapter", Version.parse("0.1.0"))


def _make(target: Target, name: str, source: FromAdapter, files: AdapterFiles) -> LockedPackage:
    from xpm import __version__
    from xpm.trust import made_digest, verify_made

    told = files.commit or files.digest.removeprefix("sha256:")
    version = Version.parse(f"0.1.0+{told[:12]}")
    with _compiled(target, source, files, name, version) as folder:
        manifest = Manifest.parse((folder / MANIFEST).read_bytes())
        ref = ArchiveRef(
            base=target.ref.base,
            base_digest=target.ref.base_digest,
            digest=made_digest(folder),
            size=sum(each.stat().st_size for each in folder.iterdir()),
            sources=(),
        )
        _tell(target, name, folder)
        if not target.options.dry_run:
            target.environment.store.add(verify_made(folder, ref, name=name))
    return LockedPackage(
        name=name,
        version=version,
        kind="expert",
        load_order=manifest.load_order,
        requires=(),
        origin=Made(
            source=str(source), revision=files.commit, made_of=files.digest, tool=f"xpm {__version__}", archives=(ref,)
        ),
    )


@contextmanager
def _compiled(target: Target, source: FromAdapter, files: AdapterFiles, name: str, version: Version) -> Iterator[Path]:
    """The package's folder beside the store, for as long as it is needed."""
    with tempfile.TemporaryDirectory(dir=target.environment.home.root, prefix="adapter-") as scratch:
        folder = Path(scratch) / "made"
        _compile(target, source, files.folder, folder, name, version)
        yield folder


def _compile(target: Target, source: FromAdapter, files: Path, out: Path, name: str, version: Version) -> None:
    from xpm_build.errors import UnfitError
    from xpm_build.local_adapter import make_local_adapter, needs_weights, origin_of

    base, stated, options = target.folder(), origin_of(files), target.options
    with target.weights() if needs_weights(files, base) else nullcontext() as weights:
        options.progress.note(f"compiling {source.adapter} for {target.package.name}")
        try:
            lost = make_local_adapter(
                files,
                out,
                name=name,
                version=str(version),
                description=f"Made here of {source.adapter}",
                base=base,
                base_name=target.ref.base,
                base_digest=target.ref.base_digest,
                weights=weights,
            )
        except UnfitError as error:
            raise _unfit(source, stated, target, error) from error
    if lost:
        options.progress.warn(f"{name} was cut to the rank that fits: {lost:.1%} of an update is lost")


def _unfit(source: FromAdapter, stated: "Origin", target: Target, error: XpmError) -> BaseMismatchError:
    trained_on = stated.model or "a base that it does not name"
    hint = f"run on that one: `xpm base add {stated.model}`" if is_hub_id(stated.model) else ""
    return BaseMismatchError(
        f"{source.adapter} does not fit the base here",
        context=f"it was trained on {trained_on}, here is {shown(target.package)}; {error.message}",
        hint=hint or "run on the base that it was trained on: `xpm base add MODEL`",
    )


def _tell(target: Target, name: str, folder: Path) -> None:
    """Warn of an expert that was made if it was trained on another model than the base, or has no licence."""
    from xpm_build.adapter.hub_folder import license_of
    from xpm_build.local_adapter import origin_of

    progress = target.options.progress
    if (differing := differing_base(origin_of(folder), target.package)) is not None:
        progress.warn(f"{name} {differing}; its tensors fit, its answers may not")
    if not license_of(folder):
        progress.warn(f"{name} states no licence: ask its owner before you use it")


def _locked_as(name: str, source: FromAdapter, previous: Lockfile | None) -> LockedPackage | None:
    for each in previous.experts if previous else ():
        if each.name in spellings(name) and isinstance(each.origin, Made) and each.origin.source == str(source):
            return each
    return None


def _is_made_of(package: LockedPackage, files: AdapterFiles, target: Target) -> bool:
    """Whether an expert is of these files, for this base, and at hand; one that can't be
    made again here is made anew."""
    is_here = target.environment.store.is_intact(package.archives[0].digest)
    return _made(package).made_of == files.digest and target.is_of(package) and is_here


def _made(package: LockedPackage) -> Made:
    assert isinstance(package.origin, Made)
    return package.origin


def _place(source: FromAdapter) -> str:
    return f"{HUB}{source.hub_id}" if source.is_remote else source.adapter
