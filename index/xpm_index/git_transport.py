"""Talking to remotes with dulwich: transports, logins, limits, and one kind of error for all that can go wrong."""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urljoin

import dulwich.errors
from dulwich.client import (
    AbstractHttpGitClient,
    BundleClient,
    FetchPackResult,
    GitClient,
    HTTPUnauthorized,
    LocalGitClient,
    TraditionalGitClient,
    get_transport_and_path,
)
from dulwich.config import ConfigFile, StackedConfig
from dulwich.objects import ObjectID
from dulwich.refs import Ref

from xpm_index.errors import FULL, DiskFullError, GitError, NoRepositoryError, XpmError
from xpm_index.git_login import ask_git
from xpm_index.pack_gauge import PackGauge
from xpm_index.urls import origin_of, path_of_file_url, without_credentials

BRANCH = "main"
BRANCH_REF = f"refs/heads/{BRANCH}"
MAIN = Ref(BRANCH_REF.encode())
_HEAD = Ref(b"HEAD")
_TIMEOUT_S = 60
MAX_REFS_BYTES = 32 << 20

T = TypeVar("T")
Refs = Mapping[Ref, ObjectID | None]


def talk(url: str, action: Callable[[GitClient, str], T], *, anonymous: bool = False) -> T:
    """Run ``action`` with a client for ``url``; if the remote wants a login, once more with the one Git knows.

    Args:
        anonymous: ask as a stranger would, who knows no login and no settings of Git, and of no
            other host than the URL's.
    """
    if (path := local_path(url)) is not None:
        return action(BundleClient() if path.is_file() else LocalGitClient(), str(path))
    defaults = ConfigFile()
    defaults.set((b"http",), b"timeout", str(_TIMEOUT_S).encode())
    own = [] if anonymous else StackedConfig.default_backends()
    config = StackedConfig([*own, defaults])
    try:
        return action(*_limited(*get_transport_and_path(url, config=config), same_origin=anonymous))
    except HTTPUnauthorized as error:
        if anonymous:
            raise NoRepositoryError(
                f"{without_credentials(url)} wants a login", hint="it must be readable by everybody"
            ) from error
        login = ask_git(url)
        if login is None:
            raise GitError(
                f"{without_credentials(url)} wants a login",
                hint="store one with a Git credential helper; xpm asks `git credential fill`",
            ) from error
        try:
            found = get_transport_and_path(url, config=config, username=login.username, password=login.password)
            return action(*_limited(*found))
        except HTTPUnauthorized as again:
            raise GitError(f"{without_credentials(url)} refused the login of {login.username}") from again


def local_path(url: str) -> Path | None:
    """The repository or bundle on this machine that is meant, by its ``file://`` URL or its
    path; None if it is elsewhere."""
    if url.startswith("file://"):
        return Path(path_of_file_url(url))
    return Path(url) if "://" not in url and Path(url).exists() else None


class RefsLimit:
    """How much a remote may tell of its refs; ``lift`` it before what is asked for comes,
    which has a limit of its own."""

    def __init__(self) -> None:
        self._left: int | None = MAX_REFS_BYTES

    def lift(self) -> None:
        self._left = None

    def on(self, read: Callable[[int], bytes]) -> Callable[[int], bytes]:
        def limited(size: int) -> bytes:
            data = read(size)
            if self._left is not None:
                self._left -= len(data)
                if self._left < 0:
                    raise GitError(f"the remote tells of more refs than fit {MAX_REFS_BYTES} bytes")
            return data

        return limited


def _limited(client: GitClient, path: str, *, same_origin: bool = False) -> tuple[GitClient, str]:
    """The client, which gives up on a remote that tells of refs without end, or with
    ``same_origin`` redirects to another."""
    refs = RefsLimit()
    fetch_pack = client.fetch_pack

    def fetch(path: Any, determine_wants: Any, *args: Any, **options: Any) -> FetchPackResult:
        def wants(*each: Any, **more: Any) -> Any:
            refs.lift()
            return determine_wants(*each, **more)

        return fetch_pack(path, wants, *args, **options)

    client.fetch_pack = fetch  # type: ignore[method-assign]
    if isinstance(client, TraditionalGitClient):
        connect = client._connect

        def connected(*args: Any, **options: Any) -> Any:
            protocol, can_read, stderr = connect(*args, **options)
            protocol.read = refs.on(protocol.read)
            return protocol, can_read, stderr

        client._connect = connected  # type: ignore[method-assign]
    elif isinstance(client, AbstractHttpGitClient):
        request = client._http_request

        def requested(url: str, *args: Any, **options: Any) -> Any:
            response, read = request(url, *args, **options)
            if same_origin and origin_of(urljoin(url, response.redirect_location)) != origin_of(url):
                raise NoRepositoryError(f"{without_credentials(url)} redirects to elsewhere")
            return response, refs.on(read)

        client._http_request = requested  # type: ignore[method-assign]
    return client, path


def ref_prefixes(tag: str | None = None, branch: str | None = None, *, default: bool = False) -> list[bytes]:
    """What ``pick`` looks at, so that a server need not tell of the rest."""
    if default:
        return [_HEAD]
    if branch is not None:
        return [branch_ref(branch)]
    return [b"refs/tags/" + tag.encode()] if tag is not None else [MAIN, _HEAD]


def branch_ref(name: str) -> Ref:
    return Ref(b"refs/heads/" + name.encode())


def limit(client: GitClient, max_bytes: int, max_object_bytes: int | None) -> None:
    """Make a client give up when more than ``max_bytes`` of a pack come, or what will
    inflate to more than is allowed."""
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


def pick(refs: Refs, url: str, tag: str | None, branch: str | None = None, *, default: bool = False) -> ObjectID:
    if default:
        commit = refs.get(_HEAD)
        if not commit:
            raise NoRepositoryError(f"{without_credentials(url)} has no commit on its default branch")
        return commit
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
    except dulwich.errors.NotGitRepository as error:
        raise NoRepositoryError(message, context="there is no Git repository") from error
    except FileNotFoundError as error:
        raise GitError(message, context="there is no Git repository") from error
    except OSError as error:
        if error.errno not in FULL:
            raise _unexpected(message, error) from error
        raise DiskFullError(message, context=str(error)) from error
    except Exception as error:  # dulwich and its transports raise many unrelated types
        raise _unexpected(message, error) from error


def _unexpected(message: str, error: Exception) -> GitError:
    reason = without_credentials(f"{type(error).__name__}: {error}")[:200]
    return GitError(message, context=reason, hint="check the address, the network and your rights")
