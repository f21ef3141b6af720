"""Experts made here of adapters as PEFT saved them: a folder, or one on a hub.

Nobody signs such an expert. The lock says of which files it was made (their digest, a hub's commit), for which base, by which
version of the tool, and what came of it; elsewhere it is made again of the same files, and must be the same.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from xpm.environment import Environment
from xpm.errors import BaseMismatchError, FetchError, NotFoundError, UsageError
from xpm.lockfile import LockedPackage, Lockfile, Made
from xpm.operations.adapter_files import AdapterFiles, adapter_files, forget
from xpm.operations.models import source_of
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
    """The base that adapters are compiled for: how it is locked, and its archive that is used here."""

    package: LockedPackage
    ref: ArchiveRef

    @classmethod
    def of(cls, lock: Lockfile) -> "Target":
        return cls(package=lock.base, ref=lock.archive_of(lock.base))


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
    environment: Environment,
    name: str,
    source: FromAdapter,
    target: Target,
    indexes: "Indexes",
    options: Options,
    *,
    previous: Lockfile | None,
    look: bool,
    must: bool = True,
) -> LockedPackage:
    """An adapter's expert as it is locked, if it is for this base; else made, of the files that were locked if there are some.

    Args:
        look: whether newer files are looked for.
        must: whether it is an error if the hub can't be asked for them; else a warning.
    Raises:
        BaseMismatchError: it does not fit the base. BuildError: it is not supported. FetchError, NotFoundError: it can't be had.
    """
    locked = _locked_as(name, source, previous)
    if locked is not None and not look and _is_for(locked, target):
        return locked
    revision = "" if look or locked is None else _made(locked).revision
    try:
        return _make(environment, name, source, target, indexes, options, revision=revision, locked=locked)
    except (FetchError, WebError) as error:
        if must or locked is None or not _is_for(locked, target):
            raise
        indexes.warn(f"{name} stays as it is: {error.message}")
        return locked


def make_again(
    environment: Environment,
    package: LockedPackage,
    ref: ArchiveRef,
    target: Target,
    indexes: "Indexes",
    options: Options,
) -> Path:
    """Make a locked expert and store it.

    Raises:
        IntegrityError: the adapter's files, or what came of them, are others than are locked.
    """
    from xpm.trust import verify_made

    origin = _made(package)
    source = FromAdapter(adapter=origin.source.removeprefix("adapter:"))
    with adapter_files(environment, source, origin.revision, options) as files:
        if files.digest != origin.made_of:
            forget(environment, source, origin.revision)
            raise IntegrityError(
                f"{source.adapter} is not the adapter that is locked",
                context=f"expected {origin.made_of}, got {files.digest}",
                hint=f"find out who altered it; to take it as it is now, `xpm update {package.name}`",
            )
        with _compiled(environment, files, source, target, indexes, options, package.name, package.version) as folder:
            return environment.store.add(verify_made(folder, ref))


def _make(
    environment: Environment,
    name: str,
    source: FromAdapter,
    target: Target,
    indexes: "Indexes",
    options: Options,
    *,
    revision: str,
    locked: LockedPackage | None,
) -> LockedPackage:
    from xpm import __version__
    from xpm.trust import made_digest, verify_made

    with adapter_files(environment, source, revision, options) as files:
        if locked is not None and _made(locked).made_of == files.digest and _is_for(locked, target):
            return locked
        told = files.commit or files.digest.removeprefix("sha256:")
        version = Version.parse(f"0.1.0+{told[:12]}")
        with _compiled(environment, files, source, target, indexes, options, name, version) as folder:
            manifest = Manifest.parse((folder / MANIFEST).read_bytes())
            ref = ArchiveRef(
                base=target.ref.base,
                base_digest=target.ref.base_digest,
                digest=made_digest(folder),
                size=sum(each.stat().st_size for each in folder.iterdir()),
                sources=(),
            )
            _tell(name, source, folder, target, options)
            if not options.dry_run:
                environment.store.add(verify_made(folder, ref))
    origin = Made(
        source=str(source), revision=files.commit, made_of=files.digest, tool=f"xpm {__version__}", archives=(ref,)
    )
    return LockedPackage(
        name=name, version=version, kind="expert", load_order=manifest.load_order, requires=(), origin=origin
    )


@contextmanager
def _compiled(
    environment: Environment,
    files: AdapterFiles,
    source: FromAdapter,
    target: Target,
    indexes: "Indexes",
    options: Options,
    name: str,
    version: Version,
) -> Iterator[Path]:
    """The package's folder, for as long as it is needed."""
    from xpm_build.errors import UnfitError
    from xpm_build.local_adapter import make_local_adapter, needs_weights, origin_of

    base = _base_folder(environment, target, indexes, options)
    stated = origin_of(files.folder)
    needed = needs_weights(files.folder, base)
    weights = _weights(environment, target, indexes, options) if needed else nullcontext()
    with weights as checkpoint, environment.store.scratch() as scratch:
        folder = scratch / "made"
        options.progress.note(f"compiling {source.adapter} for {target.package.name}")
        try:
            lost = make_local_adapter(
                files.folder,
                folder,
                name=name,
                version=str(version),
                description=f"Made here of {source.adapter}",
                base=base,
                base_name=target.ref.base,
                base_digest=target.ref.base_digest,
                weights=checkpoint,
            )
        except UnfitError as error:
            raise _unfit(source, stated, target, error) from error
        if lost:
            options.progress.warn(f"{name} was cut to the rank that fits: {lost:.1%} of an update is lost")
        yield folder


def _unfit(source: FromAdapter, stated: "Origin", target: Target, error: XpmError) -> BaseMismatchError:
    trained_on = stated.model or "a base that it does not name"
    hint = f"run on that one: `xpm base add {stated.model}`" if is_hub_id(stated.model) else ""
    return BaseMismatchError(
        f"{source.adapter} does not fit the base here",
        context=f"it was trained on {trained_on}, here is {shown(target.package)}; {error.message}",
        hint=hint or "run on the base that it was trained on: `xpm base add MODEL`",
    )


def _tell(name: str, source: FromAdapter, folder: Path, target: Target, options: Options) -> None:
    """Warn of an expert that was made if it was trained on another model than the base, or has no licence."""
    from xpm_build.local_adapter import license_of, origin_of

    if (differing := differing_base(origin_of(folder), target.package)) is not None:
        options.progress.warn(f"{name} {differing}; its tensors fit, its answers may not")
    if not license_of(folder):
        options.progress.warn(f"{name} states no licence: ask its owner before you use it")


def _base_folder(environment: Environment, target: Target, indexes: "Indexes", options: Options) -> Path:
    """The installed base, fetched if it is not in the store; a dry run fetches nothing."""
    from xpm.operations.fetching import fetch_and_store

    if environment.store.is_intact(target.ref.digest):
        return environment.store.path_of(target.ref.digest)
    if options.dry_run:
        raise UsageError(
            f"the base {target.package.name} is not here yet",
            context="an adapter is compiled for it, and a dry run fetches nothing",
            hint="run `xpm sync` first, or leave --dry-run out",
        )
    return fetch_and_store(environment, [(target.package, target.ref)], indexes, options)[0]


@contextmanager
def _weights(environment: Environment, target: Target, indexes: "Indexes", options: Options) -> Iterator["Checkpoint"]:
    """The weights of the model that the base was made of.

    Raises:
        NotFoundError: nobody published them.
    """
    from xpm.operations.fetching import fetch_and_store
    from xpm_build.base.export import open_checkpoint

    package = target.package
    if isinstance(package.origin, Made):
        with source_of(environment, package, options) as path:
            yield open_checkpoint(path)
        return
    ref = next((each for each in package.archives if each.variant == _SOURCE), None)
    if ref is None:
        raise NotFoundError(
            f"{package} has no source variant",
            context="DoRA, and IA3 on a base with biases, are compiled with the weights that the base was made of",
            hint="make the base of its model: `xpm base add MODEL`",
        )
    if environment.store.is_intact(ref.digest):
        yield open_checkpoint(environment.store.path_of(ref.digest))
        return
    yield open_checkpoint(fetch_and_store(environment, [(package, ref)], indexes, options)[0])


def _locked_as(name: str, source: FromAdapter, previous: Lockfile | None) -> LockedPackage | None:
    for each in previous.experts if previous else ():
        if each.name in spellings(name) and isinstance(each.origin, Made) and each.origin.source == str(source):
            return each
    return None


def _is_for(package: LockedPackage, target: Target) -> bool:
    return package.archives[0].base_digest == target.ref.base_digest


def _made(package: LockedPackage) -> Made:
    assert isinstance(package.origin, Made)
    return package.origin


def _place(source: FromAdapter) -> str:
    return f"{HUB}{source.hub_id}" if source.is_remote else source.adapter
