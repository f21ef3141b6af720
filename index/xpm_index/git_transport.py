"""Talking to remotes with dulwich: transports, logins, limits, and one kind of error for all that can go wrong."""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

import dulwich.errors
from dulwich.client import FetchPackResult, GitClient, HTTPUnauthorized, get_transport_and_path
from dulwich.config import ConfigFile, StackedConfig
from dulwich.objects import ObjectID
from dulwich.refs import Ref

from xpm_index.errors import GitError, XpmError
from xpm_index.git_login import ask_git
from xpm_index.pack_gauge import PackGauge
from xpm_index.urls import without_credentials

BRANCH = "main"
BRANCH_REF = f"refs/heads/{BRANCH}"
MAIN = Ref(BRANCH_REF.encode())
_HEAD = Ref(b"HEAD")
_TIMEOUT_S = 60

T = TypeVar("T")
Refs = Mapping[Ref, ObjectID | None]


def talk(url: str, action: Callable[[GitClient, str], T]) -> T:
    """Run ``action`` with a client for ``url``; if the remote wants a login, once more with the one Git knows."""
    defaults = ConfigFile()
    defaults.set((b"http",), b"timeout", str(_TIMEOUT_S).encode())
    config = StackedConfig([*StackedConfig.default_backends(), defaults])
    try:
        return action(*get_transport_and_path(url, config=config))
    except HTTPUnauthorized as error:
        login = ask_git(url)
        if login is None:
            raise GitError(
                f"{without_credentials(url)} wants a login",
                hint="store one with a Git credential helper; xpm asks `git credential fill`",
            ) from error
        try:
            return action(*get_transport_and_path(url, config=config, username=login.username, password=login.password))
        except HTTPUnauthorized as again:
            raise GitError(f"{without_credentials(url)} refused the login of {login.username}") from again


def branch_ref(name: str) -> Ref:
    return Ref(b"refs/heads/" + name.encode())


def limit(client: GitClient, max_bytes: int, max_object_bytes: int | None) -> None:
    """Make a client give up when more than ``max_bytes`` of a pack come, or what will inflate to more than is allowed."""
    fetch_pack, received = client.fetch_pack, 0
    gauge = PackGauge(max_object_bytes=max_object_bytes, max_bytes=max_bytes) if max_object_bytes is not None else None

    def limited(
        path: Any, wants: Any, walker: Any, write: Callable[[bytes], int], *args: Any, **options: Any
    ) -> FetchPackResult:
        def count(data: bytes) -> int:
            nonlocal received
            received += len(data)
            if received > max_bytes:
                raise GitError("the remote sends more than an index may hold", hint="tell its maintainer")
            if gauge is not None:
                gauge.feed(data)
            return write(data)

        return fetch_pack(path, wants, walker, count, *args, **options)

    client.fetch_pack = limited  # type: ignore[assignment,method-assign]


def pick(refs: Refs, url: str, tag: str | None, branch: str | None = None) -> ObjectID:
    if branch is not None:
        commit = refs.get(branch_ref(branch))
        if not commit:
            raise GitError(f"{without_credentials(url)} has no branch {branch[:80]!r}")
        return commit
    if tag is not None:
        commit = refs.get(Ref(b"refs/tags/" + tag.encode()))
        if not commit:
            raise GitError(f"{without_credentials(url)} has no tag {tag[:80]!r}")
        return commit
    commit = refs.get(MAIN) or refs.get(_HEAD)
    if not commit:
        raise GitError(
            f"{without_credentials(url)} has no branch main", hint="is it an index? make one with `xpm index init`"
        )
    return commit


@contextlib.contextmanager
def wrapped(message: str) -> Iterator[None]:
    try:
        yield
    except XpmError:
        raise
    except (dulwich.errors.NotGitRepository, FileNotFoundError) as error:
        raise GitError(message, context="there is no Git repository") from error
    except Exception as error:  # dulwich and its transports raise many unrelated types
        told = without_credentials(f"{type(error).__name__}: {error}")[:200]
        raise GitError(message, context=told, hint="check the address, the network and your rights") from error
