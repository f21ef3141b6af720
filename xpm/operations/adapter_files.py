"""The files of an adapter as PEFT saved it: those of a folder, or of a hub's commit, which are kept
until garbage collection."""

import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from xpm.environment import Environment
from xpm.errors import FetchError, NotFoundError
from xpm.operations.options import Options
from xpm.sources import FromAdapter
from xpm_index.digests import sha256_bytes, sha256_file

_COMMIT = re.compile(r"[0-9a-f]{40}")
_WHOLE = ".whole"  # lies beside the files of a commit when all are there


@dataclass(frozen=True, slots=True, kw_only=True)
class AdapterFiles:
    """An adapter's files in a folder, their digest, and the commit of a hub that they are of, "" of local ones."""

    folder: Path
    digest: str
    commit: str


@contextmanager
def adapter_files(
    environment: Environment, source: FromAdapter, revision: str, options: Options
) -> Iterator[AdapterFiles]:
    """An adapter's files: a hub's from its cache, what is missing fetched; a folder's copied, so
    that they stay as they are."""
    if source.is_remote:
        folder, commit = _fetched(environment, source, revision or source.revision, options)
        yield AdapterFiles(folder=folder, digest=_digest_of(folder), commit=commit)
        return
    from xpm_build.local_adapter import FILES

    place = source.locate(environment.folder)
    if not place.is_dir():
        raise NotFoundError(f"there is no folder {place}", context="an expert is made of the adapter in it")
    from xpm_build.adapter.peft_files import read_config, require_weights

    read_config(place)
    require_weights(place)
    with tempfile.TemporaryDirectory(prefix="xpm-adapter-") as scratch:
        for name in FILES:
            if (place / name).is_file():
                shutil.copyfile(place / name, Path(scratch) / name)
        yield AdapterFiles(folder=Path(scratch), digest=_digest_of(Path(scratch)), commit="")


def _fetched(environment: Environment, source: FromAdapter, revision: str, options: Options) -> tuple[Path, str]:
    """(the folder, the commit) of a hub's adapter. Beside the commits it is noted which of them a
    revision was last seen at."""
    kept = _cache(environment, source)
    note = kept / f"{(revision or 'main').replace('/', '--')}.seen"
    if options.offline:
        commit = revision if _COMMIT.fullmatch(revision) else _read(note)
        if not _COMMIT.fullmatch(commit) or not (kept / commit / _WHOLE).is_file():
            raise FetchError(f"{source.adapter} would have to be fetched, and --offline forbids it")
        return kept / commit, commit
    from xpm.model_hub import fetch_adapter

    if not (_COMMIT.fullmatch(revision) and (kept / revision / _WHOLE).is_file()):
        commit = fetch_adapter(source.hub_id, revision, kept, progress=options.progress)
        (kept / commit / _WHOLE).touch()
        note.write_text(commit, encoding="utf-8")
        return kept / commit, commit
    return kept / revision, revision


def _cache(environment: Environment, source: FromAdapter) -> Path:
    return environment.home.downloads / "adapters" / source.hub_id.replace("/", "--")


def forget(environment: Environment, source: FromAdapter, revision: str) -> None:
    if source.is_remote and revision:
        shutil.rmtree(_cache(environment, source) / revision, ignore_errors=True)


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.is_file() else ""


def _digest_of(folder: Path) -> str:
    """Of the names and digests of the files that count."""
    from xpm_build.local_adapter import FILES

    found = sorted(name for name in FILES if (folder / name).is_file())
    return sha256_bytes("".join(f"{name}\0{sha256_file(folder / name)}\n" for name in found).encode())
