"""The embedded base and experts as folders: what all experts here are made for, and some of."""

from pathlib import Path

from xpm_build.errors import BuildError
from xpm_index.archive import extract_archive
from xpm_index.digests import sha256_bytes
from xpm_index.git import BareRepo
from xpm_index.index import IndexSnapshot

BUNDLE = Path("xpm/embedded/index.bundle")
BASE = "xpm-tiny"
DOMAINS = ("sql", "json", "neo4j", "python", "typescript", "rust")


def unpack(work: Path) -> Path:
    """The folder that holds ``base/`` (its source variant) and ``expert-…/`` of each embedded expert."""
    out = work / "embedded"
    if not (out / "done").is_file():
        with BareRepo.init(work / "embedded.git") as repo:
            index = IndexSnapshot.enclosed(repo, repo.fetch(str(BUNDLE.resolve())))
            _unpack(index, BASE, "source", out / "base")
            for domain in DOMAINS:
                _unpack(index, f"expert-{domain}", "", out / f"expert-{domain}")
        (out / "done").touch()
    return out


def _unpack(index: IndexSnapshot, name: str, variant: str, folder: Path) -> None:
    reference = next(each for each in index.entries(name)[-1].archives if each.variant == variant)
    held = index.read_blob(reference.sources[0].removeprefix("blob:"))
    if held is None or sha256_bytes(held) != reference.digest:
        raise BuildError(f"the embedded archive of {name} is damaged", hint="check out xpm/embedded/index.bundle anew")
    folder.mkdir(parents=True, exist_ok=True)
    archive = folder.with_suffix(".archive")
    archive.write_bytes(held)
    extract_archive(archive, folder)
    archive.unlink()
