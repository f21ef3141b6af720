"""The indexes of an environment: add, list, remove, update."""

from dataclasses import dataclass, replace
from pathlib import Path

from xpm.environment import Environment
from xpm.errors import NotFoundError, UsageError
from xpm.indexes import Indexes
from xpm.progress import Progress
from xpm.project import EMBEDDED
from xpm_index.git import without_credentials
from xpm_index.names import validate_name


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexState:
    """``commit`` is the last head accepted, "" if the index was never fetched; ``num_names`` counts what it has."""

    name: str
    url: str
    commit: str
    num_names: int


def add(environment: Environment, name: str, url: str, *, progress: Progress) -> IndexState:
    """Fetch an index and add it to the environment, after those it has; nothing is kept if that fails.

    ``url`` may be the path of a local repository, which is kept as its file:// URL.
    """
    validate_name(name, what="index name")
    if not url.strip():
        raise UsageError("the URL is empty")
    if Path(url).is_dir():
        url = Path(url).resolve().as_uri()
    with environment.home.locked():
        project = environment.project()
        if name in project.indexes or name == EMBEDDED:
            raise UsageError(f"there is an index named {name} already", hint="remove it first, or choose another name")
        if without_credentials(url) != url:
            raise UsageError("the URL holds credentials", hint="keep them in git's credential helper")
        wanted = replace(project, indexes={**project.indexes, name: url})
        with Indexes(environment.home, wanted) as indexes:
            try:
                indexes.update(name, progress)
                state = _state(indexes, name)
            except BaseException:
                if not any(url == other for other in project.indexes.values()):
                    indexes.forget(name)
                raise
        wanted.save(environment.folder)
        return state


def remove(environment: Environment, name: str) -> None:
    """Remove an index from the environment, with its copy and the keys accepted through it."""
    with environment.home.locked():
        project = environment.project()
        if name not in project.indexes:
            raise NotFoundError(f"there is no index named {name} here", hint="see `xpm index list`")
        with Indexes(environment.home, project) as indexes:
            indexes.forget(name)
        replace(project, indexes={key: url for key, url in project.indexes.items() if key != name}).save(
            environment.folder
        )


def states(environment: Environment) -> list[IndexState]:
    with environment.home.locked(), Indexes(environment.home, environment.project()) as indexes:
        return [_state(indexes, name) for name in indexes.urls]


def update(environment: Environment, name: str | None, *, progress: Progress) -> dict[str, bool]:
    """Fetch one index or all; which of them changed."""
    with environment.home.locked(), Indexes(environment.home, environment.project()) as indexes:
        if name is None:
            return indexes.update_all(progress)
        if name not in indexes.urls:
            raise NotFoundError(f"there is no index named {name} here", hint="see `xpm index list`")
        return {name: indexes.update(name, progress)}


def _state(indexes: Indexes, name: str) -> IndexState:
    snapshot = indexes.snapshot(name)
    return IndexState(
        name=name, url=indexes.urls[name], commit=snapshot.commit, num_names=sum(1 for _ in snapshot.names())
    )
