"""The embedded base and experts as folders: what all experts here are made for, and some of."""

from pathlib import Path

from examples.embedded.rebuild import BASE_NAME, EXPERTS, unpack_whole
from examples.embedded.rebuild import unpack as unpack_archive
from xpm_index.git import BareRepo
from xpm_index.index import IndexSnapshot

BUNDLE = Path("xpm/embedded/index.bundle")


def unpack(work: Path) -> Path:
    """The folder that holds ``base/`` (its source variant) and ``expert-…/`` of each embedded expert."""
    out = work / "embedded"
    if not (out / "done").is_file():
        with BareRepo.init(work / "embedded.git") as repo:
            index = IndexSnapshot.enclosed(repo, repo.fetch(str(BUNDLE.resolve())))
            unpack_archive(index, index.entries(BASE_NAME)[-1], "source", out / "base")
            for name in EXPERTS:
                unpack_whole(index, name, out / name)
        (out / "done").touch()
    return out
