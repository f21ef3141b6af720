"""The Hugging Face folder of a base, which training, judging and building need: found, fetched, or
written for the occasion."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from xpm.environment import Environment
from xpm.errors import NotFoundError
from xpm.lockfile import Indexed, LockedPackage
from xpm.operations.fetching import fetch_and_store
from xpm.operations.models import GGUF, is_made, locked_model
from xpm.operations.options import Options
from xpm.progress import Progress

_SOURCE, _UNPACKED = "source", "model"


@contextmanager
def model_folder(environment: Environment, base: str, *, progress: Progress) -> Iterator[Path]:
    """The folder of a base, there for as long as it is needed.

    Args:
        base: a folder, a GGUF file, the name of the base that was made here of a model, or of one that an index has.
    Raises:
        NotFoundError: there is no such base. IntegrityError: the model that a base was made of has changed.
    """
    path = Path(os.path.expanduser(base))
    if path.is_dir():
        yield path
    elif path.suffix == GGUF and path.is_file():
        with tempfile.TemporaryDirectory(prefix="xpm-model-") as scratch:
            yield _written(path, Path(scratch), progress)
    elif (made := _made(environment, base)) is not None:
        environment.home.make()
        with tempfile.TemporaryDirectory(prefix="model-", dir=environment.home.root) as scratch:
            with environment.locked(), locked_model(environment, made, Options(progress=progress)) as found:
                folder = _kept(found, Path(scratch), progress)
            yield folder
    else:
        yield base_source(environment, base, progress=progress)


def _made(environment: Environment, name: str) -> LockedPackage | None:
    lock = environment.lockfile()
    return lock.base if lock and lock.base.name == name and is_made(lock.base) else None


def _kept(found: Path, scratch: Path, progress: Progress) -> Path:
    """A folder that stays when a fetched one goes: hard links cost nothing."""
    if found.is_file():
        return _written(found, scratch, progress)
    folder = scratch / _UNPACKED
    try:
        shutil.copytree(found, folder, copy_function=os.link)
    except OSError:  # another file system
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(found, folder)
    return folder


def _written(gguf: Path, scratch: Path, progress: Progress) -> Path:
    from xpm_build.base.export import open_checkpoint
    from xpm_build.base.model_folder import write_model_folder

    progress.note(f"writing the weights of {gguf.name} as float32")
    write_model_folder(open_checkpoint(gguf), scratch / _UNPACKED)
    return scratch / _UNPACKED


def base_source(environment: Environment, name: str, *, progress: Progress) -> Path:
    """The Hugging Face folder of a published base (its source variant), fetched and verified
    if it is not in the store."""
    options = Options(progress=progress)
    with environment.locked(), options.indexes(environment, environment.project(), allow_stale=True) as indexes:
        index, entries = indexes.entries(name)
        sources = [
            (e, ref)
            for e in entries
            if e.kind == "base" and not e.yanked
            for ref in e.archives
            if ref.variant == _SOURCE
        ]
        if not sources:
            raise NotFoundError(
                f"{name} is neither a folder nor a base with a source", hint="see the bases with `xpm base list`"
            )
        entry, ref = sources[-1]
        if environment.store.is_intact(ref.digest):
            return environment.store.path_of(ref.digest)
        package = LockedPackage.of(entry, Indexed.of(index, entry))
        return fetch_and_store(environment, [(package, ref)], indexes, options)[0]
