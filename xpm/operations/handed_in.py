"""Archives handed in to an index's maintainer: files, or files in an expert's own repository at a tag."""

from collections.abc import Sequence
from pathlib import Path

from xpm.errors import NotFoundError, UsageError
from xpm.parse_source import parse_source
from xpm.progress import Progress
from xpm.sources import ARCHIVE_SUFFIX, FromArchive, FromGit
from xpm_index.git_files import tagged


def archives_of(items: Sequence[str], folder: Path, *, progress: Progress) -> tuple[list[Path], dict[str, str]]:
    """(archive files, file name → source URL of those that the index shall not hold itself).

    Raises:
        NotFoundError: there is no such file. UsageError: an item is neither an archive nor a git+ URL of one.
    """
    archives: list[Path] = []
    sources: dict[str, str] = {}
    for item in items:
        source = parse_source(item, folder=Path.cwd())
        if isinstance(source, FromArchive):
            archives.append(source.locate(Path.cwd()))
        elif isinstance(source, FromGit) and source.subpath:
            progress.note(f"fetching {source.subpath} of {source.url} at {source.tag}")
            path = folder / Path(source.subpath).name
            _fetch(source, path)
            archives.append(path)
            sources[path.name] = f"git+{source.url}#{source.tag}:{source.subpath}"
        else:
            raise UsageError(
                f"{item} is not something to accept",
                hint="name .expert files, a branch made by `xpm publish`, or "
                "git+https://host/repo.git@TAG#path/to/file.expert",
            )
    return archives, sources


def _fetch(source: FromGit, path: Path) -> None:
    """Write one file of a repository at a tag to ``path``; raises NotFoundError."""
    with tagged(source.url, source.tag) as tree, path.open("wb") as file:
        if source.subpath not in tree.paths():
            known = ", ".join(each for each in tree.paths() if each.endswith(ARCHIVE_SUFFIX))
            raise NotFoundError(f"{source} has no such file", hint=f"it has {known}" if known else None)
        file.writelines(tree.chunks(source.subpath))
