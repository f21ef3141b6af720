"""Bases made here of models: a GGUF file, a Hugging Face folder, or one on a hub.

Nobody signs such a base. The lock says how it was made (the model's digest, the variant, the version of the tool) and
what came of it; elsewhere it is made again, and must be the same.
"""

import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from xpm.environment import Environment
from xpm.errors import FetchError, NotFoundError, UsageError
from xpm.lockfile import LockedPackage, Made
from xpm.operations.extras import require_extra
from xpm.operations.options import Options
from xpm.parse_source import near
from xpm.sources import HUB, FromModel, is_hub_id
from xpm_index.archive import MANIFEST
from xpm_index.digests import sha256_bytes, sha256_file
from xpm_index.entries import ArchiveRef, Candidate
from xpm_index.errors import IntegrityError, InvalidName
from xpm_index.manifest import Manifest
from xpm_index.names import validate_name

if TYPE_CHECKING:
    from xpm.trust import Verified

GGUF = ".gguf"
Report = Callable[[str], object]
_CONFIG = "config.json"
_VARIANTS = ("fp32", "fp16", "int8", "int4")


def find_model(text: str, *, folder: Path, cwd: Path, quantizer: str = "") -> FromModel | None:
    """What a person typed, if that is a model and not the name of a base.

    Args:
        folder: the project's; paths are kept relative to it if they are near.
    Raises:
        UsageError: it looks like a model, and is none.
    """
    if text.startswith(HUB):
        if not is_hub_id(text.removeprefix(HUB).partition("#")[0]):
            raise UsageError(
                f"{text[:120]!r} names no model", hint="write hf:OWNER/NAME, perhaps with @REVISION and #FILE"
            )
        return FromModel(model=text, quantizer=quantizer)
    path = cwd / os.path.expanduser(text)
    if text.endswith((GGUF, "/")) or text.startswith((".", "/", "~")) or (path / _CONFIG).is_file():
        is_model = path.is_file() if text.endswith(GGUF) else (path / _CONFIG).is_file()
        if not is_model:
            raise UsageError(
                f"{path} is no model", hint=f"name a {GGUF} file, or a folder with {_CONFIG} and safetensors"
            )
        return FromModel(model=near(path, folder).as_posix(), quantizer=quantizer)
    name = text.partition("@")[0]
    if "/" in name and is_hub_id(text) and re.search(r"[A-Z_.]", name):  # no publisher's name has these
        return FromModel(model=f"{HUB}{text}", quantizer=quantizer)
    return None


def name_of(source: FromModel) -> str:
    """A base's name made of its model's."""
    stem = source.model.partition("#")[2] or source.model.partition("@")[0]
    stem = re.sub(r"[^a-z0-9]+", "-", Path(stem).name.removesuffix(GGUF).lower()).strip("-")
    try:
        return validate_name(stem, what="base name")
    except InvalidName as error:
        raise UsageError(f"{source.model} gives no name of a base", hint="choose one with --name") from error


def make_base(
    environment: Environment,
    source: FromModel,
    options: Options,
    *,
    name: str,
    variant: str,
    checked: Report | None = None,
) -> LockedPackage:
    """Make a base and store it (a dry run throws it away); call it while holding the environment's lock.

    Args:
        checked: have what it predicts compared with what Transformers does with the model, and be told what was found.
    Raises:
        BuildError: the model is not supported. FetchError, NotFoundError: it can't be had. MissingExtraError:
            Transformers is not installed. ParityError: it predicts otherwise.
    """
    if variant not in _VARIANTS:
        raise UsageError(f"variant {variant!r} is unknown", hint=f"a model is made {', '.join(_VARIANTS)}")
    if checked is not None:
        require_extra(("torch", "transformers"), what="comparing a base with its model")
    from xpm import __version__
    from xpm.trust import made_digest, verify_made

    with environment.store.scratch() as scratch, _files(environment, source, "", options) as (path, made_of, revision):
        folder = _make(path, scratch, source, name=name, variant=variant, made_of=made_of, options=options)
        if checked is not None:
            options.progress.note("comparing with Transformers on a text")
            checked(_compared(path, folder, scratch, variant))
        manifest = Manifest.parse((folder / MANIFEST).read_bytes())
        base = manifest.base
        assert base is not None
        ref = ArchiveRef(
            base=name,
            base_digest=base.digest,
            variant=variant,
            digest=made_digest(folder),
            size=sum(each.stat().st_size for each in folder.iterdir()),
            sources=(),
        )
        if not options.dry_run:
            environment.store.add(verify_made(folder, ref, name=name))
    return LockedPackage(
        name=name,
        version=manifest.version,
        kind="base",
        load_order=manifest.load_order,
        requires=(),
        origin=Made(source=str(source), revision=revision, made_of=made_of, tool=f"xpm {__version__}", archives=(ref,)),
    )


def is_made(package: LockedPackage) -> bool:
    return isinstance(package.origin, Made)


def made_candidate(package: LockedPackage) -> Candidate:
    """What the resolver goes by of a package that is made here."""
    return Candidate(name=package.name, version=package.version, kind=package.kind, archives=package.archives)


def make_again(environment: Environment, package: LockedPackage, ref: ArchiveRef, options: Options) -> Path:
    """Make a locked base and store it.

    Raises:
        IntegrityError: the model, or what came of it, is another than is locked.
    """
    from xpm.trust import verify_made

    source, origin = _origin(package)
    with environment.store.scratch() as scratch:
        with locked_model(environment, package, options) as path:
            folder = _make(
                path, scratch, source, name=package.name, variant=ref.variant, made_of=origin.made_of, options=options
            )
        verified: Verified = verify_made(folder, ref, name=package.name)
        return environment.store.add(verified)


@contextmanager
def locked_model(environment: Environment, package: LockedPackage, options: Options) -> Iterator[Path]:
    """The model's file or folder that a locked base was made of, fetched for as long as it is needed.

    Raises:
        IntegrityError: it is another than is locked. FetchError, NotFoundError: it can't be had.
    """
    source, origin = _origin(package)
    with _files(environment, source, origin.revision, options) as (path, made_of, _):
        if made_of != origin.made_of:
            raise IntegrityError(
                f"{source.model} is not the model that is locked",
                context=f"expected {origin.made_of}, got {made_of}",
                hint=f"find the one that it was, or `xpm base add {source.model}` again",
            )
        yield path


def _origin(package: LockedPackage) -> tuple[FromModel, Made]:
    origin = package.origin
    assert isinstance(origin, Made)
    model, _, quantizer = origin.source.removeprefix("model:").partition(" ")
    return FromModel(model=model, quantizer=quantizer), origin


def _make(
    path: Path, scratch: Path, source: FromModel, *, name: str, variant: str, made_of: str, options: Options
) -> Path:
    from xpm_build.local_base import DEFAULT_QUANTIZER, make_local_base

    folder = scratch / "made"
    quantizer = source.quantizer or DEFAULT_QUANTIZER
    make_local_base(
        path, folder, name=name, variant=variant, quantizer=quantizer, made_of=made_of, report=options.progress.note
    )
    return folder


def _compared(path: Path, made: Path, scratch: Path, variant: str) -> str:
    from xpm_build.base.export import open_checkpoint
    from xpm_build.base.model_folder import write_model_folder
    from xpm_build.base.parity import compare_with_source

    folder = path
    if path.is_file():
        folder = scratch / "model"
        write_model_folder(open_checkpoint(path), folder)
    return f"beside Transformers with the model: {compare_with_source(made, folder, variant)}"


@contextmanager
def _files(
    environment: Environment, source: FromModel, revision: str, options: Options
) -> Iterator[tuple[Path, str, str]]:
    """(the model's file or folder, the digest of its files, its commit): fetched for as long as it is needed.

    What was fetched is left where the work on it fails, so that it need not come again.
    """
    if not source.is_remote:
        path = source.locate(environment.folder)
        if not path.exists():
            raise NotFoundError(f"there is no {path}", context="a base is made of it")
        yield path, _digest_of(path), ""
        return
    if options.offline:
        raise FetchError(f"{source.model} would have to be fetched, and --offline forbids it")
    from xpm.model_hub import fetch_model

    named, _, file = source.model.removeprefix(HUB).partition("#")
    model_id, _, wanted = named.partition("@")
    kept = environment.home.downloads / "models" / model_id.replace("/", "--")
    commit = fetch_model(model_id, revision or wanted, kept, file=file, progress=options.progress)
    folder = kept / commit
    path = folder / file if file else folder
    yield path, _digest_of(path), commit
    shutil.rmtree(kept)


def _digest_of(path: Path) -> str:
    """Of a file; of a folder, that of its files' names and digests."""
    if path.is_file():
        return sha256_file(path)
    from xpm_build.base.hub import WANTED

    files = sorted({each for pattern in WANTED for each in path.glob(pattern)})
    return sha256_bytes("".join(f"{each.name}\0{sha256_file(each)}\n" for each in files).encode())
