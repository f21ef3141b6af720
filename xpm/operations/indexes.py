"""The indexes of an environment: add, list, remove, update, and the roots they are trusted by."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

from xpm.environment import Environment
from xpm.errors import NotFoundError, UsageError
from xpm.indexes import Indexes
from xpm.operations.names import did_you_mean
from xpm.operations.options import DEFAULTS, Options
from xpm.progress import Progress
from xpm.project import EMBEDDED, IndexSource, Project
from xpm_index.errors import TrustError
from xpm_index.names import validate_name
from xpm_index.publishers import Publisher
from xpm_index.sparse_server import PREFIX, Remote, is_sparse
from xpm_index.urls import check_no_credentials
from xpm_index.web import Web

Confirm = Callable[[str], bool]
"""Shows a fingerprint to a person; whether it is the right one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexState:
    """``commit`` is the last head accepted, of a sparse index the digest of its snapshot; ``age`` the
    time since it was fetched.

    ``num_names`` counts what it has, None of a sparse index, which does not tell.
    """

    name: str
    url: str
    fingerprint: str
    commit: str
    num_names: int | None
    age: timedelta


def add(
    environment: Environment,
    name: str,
    url: str,
    *,
    progress: Progress,
    fingerprint: str = "",
    confirm: Confirm = lambda fingerprint: False,
    explicit: bool = False,
) -> IndexState:
    """Fetch an index and add it to the environment, after those it has; nothing is kept if that fails.

    One that is there already under this name is only fetched: the root that it is trusted by stays, and
    ``fingerprint``, if given, must be of that root or of one that followed it.

    Args:
        url: of a Git repository, or ``sparse+https://…``; the path of one on this machine is kept as its file:// URL,
            and a web address where a sparse index is found as the sparse one that it is.
        fingerprint: of the root to trust; without it ``confirm`` is asked about the newest root that the index has.
        explicit: serve only experts that are pinned to this index.
    Raises:
        TrustError: the index has no root of this fingerprint, or nobody confirmed its root.
    """
    validate_name(name, what="index name")
    if not url.strip() or url.startswith("-"):
        raise UsageError(f"{url!r} is not the URL of an index")
    if Path(url).is_dir():
        url = Path(url).resolve().as_uri()
    with environment.locked():
        project = environment.project()
        known = project.indexes.get(name)
        if known and known.fingerprint and (known.url == url or known.url == _spelled(url)):
            return _fetched_again(environment, project, name, fingerprint, progress)
        if known or name == EMBEDDED:
            raise UsageError(f"there is an index named {name} already", hint="remove it first, or choose another name")
        check_no_credentials(url, what="the URL of the index")
        url = _spelled(url)
        source = IndexSource(url=url, fingerprint=fingerprint, explicit=explicit)
        fingerprint = fingerprint or _confirmed(environment, project, name, source, progress, confirm)
        wanted = _with_index(project, name, replace(source, fingerprint=fingerprint))
        with Indexes(environment.home, wanted, progress=progress) as indexes:
            is_kept = any(wanted.indexes[name].url == other.url for other in project.indexes.values())
            try:
                indexes.update(name)
                state = _state(indexes, name)
            except BaseException:
                if not is_kept:
                    indexes.forget(name)
                raise
        wanted.save(environment.folder)
        return state


def _fetched_again(
    environment: Environment, project: Project, name: str, fingerprint: str, progress: Progress
) -> IndexState:
    """Fetch an index that is there; raises TrustError if it is trusted by a root that
    ``fingerprint`` does not continue."""
    with Indexes(environment.home, project, progress=progress) as indexes:
        indexes.update(name)
        if fingerprint and not indexes.trusts(name, fingerprint):
            raise TrustError(
                f"index {name} is trusted here by another root",
                context=f"{project.indexes[name].fingerprint} is trusted; no root after it has {fingerprint}",
                hint="compare with what the index's maintainer publishes; then remove the index and add it again",
            )
        return _state(indexes, name)


def _spelled(url: str) -> str:
    """The URL as xpm.toml has it, which says what is there, so that nobody has to ask again."""
    if url.startswith(PREFIX):
        return PREFIX + Remote(url, Web()).url
    if not url.startswith(("https://", "http://")):
        return url
    with Web() as web:
        return PREFIX + Remote(url, web).url if is_sparse(url, web) else url


def confirm_root(
    environment: Environment, name: str, *, progress: Progress, fingerprint: str = "", confirm: Confirm
) -> str:
    """Set the root by which an index of the environment is trusted; its fingerprint."""
    with environment.locked():
        project = environment.project()
        source = _require(project, name)
        fingerprint = fingerprint or _confirmed(environment, project, name, source, progress, confirm)
        wanted = _with_index(project, name, replace(source, fingerprint=fingerprint))
        with Indexes(environment.home, wanted, progress=progress) as indexes:
            indexes.update(name)
        wanted.save(environment.folder)
        return fingerprint


def remove(environment: Environment, name: str) -> None:
    """Remove an index from the environment, with its copy."""
    with environment.locked():
        project = environment.project()
        _require(project, name)
        with Indexes(environment.home, project) as indexes:
            indexes.forget(name)
        replace(project, indexes={key: source for key, source in project.indexes.items() if key != name}).save(
            environment.folder
        )


def states(environment: Environment) -> list[IndexState]:
    options = Options()
    with environment.locked(), options.indexes(environment, environment.project(), allow_stale=True) as indexes:
        return [_state(indexes, name) for name in indexes.sources]


def update(
    environment: Environment,
    name: str | None,
    options: Options = DEFAULTS,
    *,
    done: Callable[[str, bool], object] = lambda name, is_new: None,
) -> dict[str, bool]:
    """Fetch one index or all; which of them changed.

    Args:
        done: told of each that was fetched, and whether it changed.
    Raises:
        XpmError: the first that kept an index from being fetched, after all the others were.
    """
    changed: dict[str, bool] = {}

    def note(fetched: str, is_new: bool) -> None:
        changed[fetched] = is_new
        done(fetched, is_new)

    with environment.locked(), options.indexes(environment, environment.project()) as indexes:
        if name is not None and name not in indexes.sources:
            raise NotFoundError(f"there is no index named {name} here", hint="see `xpm index list`")
        if name is not None:
            note(name, indexes.update(name))
        elif failures := indexes.update_all(note):
            raise failures[0]
    return changed


def publisher(environment: Environment, namespace: str, options: Options = DEFAULTS) -> tuple[str, Publisher]:
    """(index, publisher) of a namespace, from the first index that knows it; raises NotFoundError."""
    with environment.locked(), options.indexes(environment, environment.project(), allow_stale=True) as indexes:
        for name in indexes.sources:
            try:
                return name, indexes.snapshot(name).publisher(namespace)
            except TrustError:
                continue
    raise NotFoundError(f"no index knows a publisher {namespace}", hint="see the publishers with `xpm search`")


def _confirmed(
    environment: Environment, project: Project, name: str, source: IndexSource, progress: Progress, confirm: Confirm
) -> str:
    """The fingerprint of the index's newest root, after a person has said that it is the right one."""
    unconfirmed = _with_index(project, name, replace(source, fingerprint=""))
    with Indexes(environment.home, unconfirmed, progress=progress) as indexes:
        try:
            fingerprint = indexes.fingerprint_at(name)
        finally:
            indexes.forget(name)
    if not confirm(fingerprint):
        raise TrustError(
            f"the root of index {name} was not confirmed",
            context=f"its fingerprint is {fingerprint}",
            hint=f"compare it with what the maintainer publishes; then add --fingerprint {fingerprint}",
        )
    return fingerprint


def _with_index(project: Project, name: str, source: IndexSource) -> Project:
    return replace(project, indexes={**project.indexes, name: source})


def _require(project: Project, name: str) -> IndexSource:
    if name not in project.indexes:
        hint = did_you_mean(name, project.indexes) or "see `xpm index list`"
        raise NotFoundError(f"there is no index named {name} here", hint=hint)
    return project.indexes[name]


def _state(indexes: Indexes, name: str) -> IndexState:
    snapshot, source = indexes.snapshot(name), indexes.sources[name]
    return IndexState(
        name=name,
        url=source.url,
        fingerprint=source.fingerprint,
        commit=snapshot.files.state or snapshot.commit,
        num_names=None if indexes.is_sparse(name) else sum(1 for _ in snapshot.names()),
        age=indexes.age(name) if source.url else timedelta(),
    )
