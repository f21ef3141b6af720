"""Downloads over HTTP: streamed, resumed where they stopped, redirected with care, and with Git's logins if one is wanted."""

import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from urllib.parse import urljoin, urlsplit

import urllib3
from urllib3.exceptions import HTTPError

from xpm.errors import FetchError
from xpm_index.git import without_credentials
from xpm_index.git_login import ask_git

CHUNK_BYTES = 1 << 18
_TIMEOUT = urllib3.Timeout(connect=20, read=60)
_TRIES = 4
_MAX_REDIRECTS = 5
_REDIRECTS = (301, 302, 303, 307, 308)
_TRANSIENT = (408, 425, 429, 500, 502, 503, 504)
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


class _Interrupted(Exception):
    """A transfer that is worth another try."""


def download(
    url: str, *, start: Callable[[], int], write: Callable[[bytes], None], rewind: Callable[[], None], size: int,
    headers: Mapping[str, str] | None = None, sleep: Callable[[float], None] = time.sleep,
) -> None:  # fmt: skip
    """Get ``url`` from where an earlier try stopped.

    Args:
        start: how many bytes are there already. write: appends what came. rewind: drops what is there.
        size: how many bytes there must be in the end; a server that announces another number is refused.
        headers: for the first origin only; a redirect elsewhere does not get them.
    Raises:
        FetchError: it can't be had, after a few tries with growing pauses.
    """
    problem = ""
    for attempt in range(_TRIES):
        if attempt:
            sleep(0.5 * 2 ** (attempt - 1))
        try:
            _get(url, start(), write, rewind, size, dict(headers or {}))
            return
        except (HTTPError, _Interrupted, OSError) as error:
            problem = without_credentials(str(error))[:200]
    raise FetchError(f"{without_credentials(url)} could not be got", context=problem)


def _get(
    url: str, have: int, write: Callable[[bytes], None], rewind: Callable[[], None], size: int, headers: dict[str, str]
) -> None:
    if have == size:
        return
    if have:
        headers["Range"] = f"bytes={have}-"
    with _opened(url, headers) as response:
        if response.status == 416:
            rewind()
            raise _Interrupted("the server does not have the rest")
        offset = _offset(response) if response.status == 206 else 0
        if offset != have:
            rewind()
            if offset:
                raise _Interrupted("the server sent another part than was asked for")
        _check_length(response, size - offset)
        received = offset
        for chunk in response.stream(CHUNK_BYTES):
            received += len(chunk)
            if received > size:
                raise FetchError(f"more than the stated {size} bytes came")
            write(chunk)
        if received < size:
            raise _Interrupted(f"the connection ended after {received} of {size} bytes")


def _offset(response: urllib3.BaseHTTPResponse) -> int:
    """Where a partial answer begins: ``bytes 100-199/200``."""
    stated = response.headers.get("Content-Range", "")
    first = stated.removeprefix("bytes ").partition("-")[0]
    if not stated.startswith("bytes ") or not first.isdigit():
        raise _Interrupted("the server does not say which part it sent")
    return int(first)


def _check_length(response: urllib3.BaseHTTPResponse, wanted: int) -> None:
    stated = response.headers.get("Content-Length")
    if stated is not None and stated.isdigit() and int(stated) != wanted and "Content-Encoding" not in response.headers:
        raise FetchError(f"the server announces {stated} bytes where there must be {wanted}")


@contextmanager
def _opened(url: str, headers: dict[str, str]) -> Iterator[urllib3.BaseHTTPResponse]:
    """The answer to a GET, after redirects and, if the server wants one, with the login that Git knows."""
    asked_for_login = False
    for _ in range(_MAX_REDIRECTS + 1):
        _require_encrypted(url)
        response = _pool(url).request(
            "GET", url, headers={"Accept-Encoding": "identity", **headers}, preload_content=False, redirect=False,
            retries=False, timeout=_TIMEOUT,
        )  # fmt: skip
        if response.status in _REDIRECTS and (location := response.headers.get("Location")):
            response.release_conn()
            target = urljoin(url, location)
            if urlsplit(target)[:2] != urlsplit(url)[:2]:
                headers = {name: value for name, value in headers.items() if name == "Range"}
            url = target
            continue
        if response.status == 401 and not asked_for_login and (login := ask_git(url)) is not None:
            response.release_conn()
            asked_for_login = True
            headers = headers | login.header()
            continue
        try:
            _require_success(response, url)
            yield response
        finally:
            response.close()
        return
    raise FetchError(f"{without_credentials(url)} is redirected in a circle")


def _require_success(response: urllib3.BaseHTTPResponse, url: str) -> None:
    if response.status in (200, 206, 416):
        return
    told = f"{without_credentials(url)} answered {response.status} {response.reason or ''}".rstrip()
    if response.status in _TRANSIENT:
        raise _Interrupted(told)
    hint = "store a login with a Git credential helper" if response.status in (401, 403) else None
    raise FetchError(told, hint=hint)


def _require_encrypted(url: str) -> None:
    parts = urlsplit(url)
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in _LOOPBACK):
        raise FetchError(f"{without_credentials(url)} is not encrypted", hint="use https")


def _pool(url: str) -> urllib3.PoolManager:
    """A fresh pool, through the proxy that the environment names for the URL."""
    parts = urlsplit(url)
    proxy = urllib.request.getproxies().get(parts.scheme)
    if proxy and not urllib.request.proxy_bypass(parts.hostname or ""):
        return urllib3.ProxyManager(proxy)
    return urllib3.PoolManager()
