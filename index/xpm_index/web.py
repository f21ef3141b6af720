"""HTTP(S) requests, one policy for all of them: what is followed, who is told a login, how much is read.

- Redirects go to https only; from this machine to this machine also over http.
- A login is asked of Git once per origin, only after a 401, and sent to that origin alone, never across a redirect.
- Proxies are those of the environment (``https_proxy``, ``no_proxy`` …).
- Bodies are streamed as they are on the wire; nothing foreign escapes but WebError, which shows no credentials and
  no query.
"""

import contextlib
import threading
from collections.abc import Collection, Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from urllib.parse import urljoin, urlsplit
from urllib.request import getproxies, proxy_bypass

import urllib3
import urllib3.exceptions
from urllib3.util import make_headers

from xpm_index.errors import XpmError
from xpm_index.git_login import Login, ask_git
from xpm_index.urls import InvalidUrl, check_web_url, is_loopback, origin_of, shown

_TIMEOUT = urllib3.Timeout(connect=15, read=60)
_MAX_REDIRECTS = 5
_REDIRECTS = (301, 302, 303, 307, 308)
_TRANSIENT = (408, 425, 429, 500, 502, 503, 504)
_CHUNK_BYTES = 1 << 18
_MAX_RETRY_AFTER_S = 60.0


class WebError(XpmError):
    """A request that failed. ``transient`` if the same may work later, after ``retry_after_s`` if the server said when.

    ``status`` is what the server answered, 0 if it did not.
    """

    code = "fetch"
    exit_code = 7

    def __init__(
        self,
        message: str,
        *,
        hint: str | None = None,
        transient: bool = False,
        retry_after_s: float = 0.0,
        status: int = 0,
    ) -> None:
        super().__init__(message, hint=hint)
        self.status = status
        self.transient = transient
        self.retry_after_s = retry_after_s


class Answer:
    """The head of an answer, and its body as a stream."""

    def __init__(self, response: urllib3.BaseHTTPResponse, url: str) -> None:
        """
        Args:
            url: where it came from, behind all redirects.
        """
        self._response = response
        self.url = url
        self.status = response.status
        self.headers: Mapping[str, str] = response.headers

    @property
    def length(self) -> int | None:
        """The stated length of the body."""
        text = self.headers.get("Content-Length", "")
        return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else None

    def chunks(self, *, max_bytes: int | None = None) -> Iterator[bytes]:
        """The body as it comes; raises WebError at what is more than ``max_bytes``."""
        num_bytes = 0
        with _wrapped(self.url):
            while chunk := self._response.read1(_CHUNK_BYTES, decode_content=False):
                num_bytes += len(chunk)
                if max_bytes is not None and num_bytes > max_bytes:
                    raise WebError(f"{shown(self.url)} sent more than {max_bytes} bytes")
                yield chunk

    def read(self, max_bytes: int) -> bytes:
        """The whole body; raises WebError if it is more than ``max_bytes``."""
        return b"".join(self.chunks(max_bytes=max_bytes))


class Web:
    """Requests with shared connections and logins. Threads may share one."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pools: dict[str | None, urllib3.PoolManager] = {}
        self._logins: dict[tuple[str, str, int], Login | None] = {}
        self._login_lock = threading.Lock()
        self._open: set[urllib3.BaseHTTPResponse] = set()
        self._cancelled = False

    def __enter__(self) -> "Web":
        return self

    def __exit__(self, *exc_info: object) -> None:
        for pool in self._pools.values():
            pool.clear()

    def cancel(self) -> None:
        """Break off every request, from any thread; the streams being read raise WebError."""
        with self._lock:
            self._cancelled = True
            for response in self._open:
                with contextlib.suppress(Exception):  # a stream that has just ended can't be shut down
                    response.shutdown()

    @contextlib.contextmanager
    def request(
        self,
        url: str,
        *,
        method: str = "GET",
        headers: Mapping[str, str] | None = None,
        private: Mapping[str, str] | None = None,
        body: bytes | None = None,
        answers: Collection[int] = (),
    ) -> Iterator[Answer]:
        """Send a request, follow redirects of a GET, and yield the answer, whose status is below 400,
        416 or one of ``answers``.

        Args:
            headers: sent to every server on the way.
            private: sent to the URL's own origin only.
        Raises:
            WebError: the server can't be reached, refuses, or redirects to where nobody may be sent.
            InvalidUrl: the URL is not one that is followed.
        """
        check_web_url(url, signed=True)
        response, url = self._follow(method, url, dict(headers or {}), dict(private or {}), body)
        try:
            with self._lock:
                self._open.add(response)
                if self._cancelled:
                    raise WebError("the download was broken off")
            if response.status >= 400 and response.status != 416 and response.status not in answers:
                raise _refusal(response, url)
            yield Answer(response, url)
        finally:
            with self._lock:
                self._open.discard(response)
            response.close()

    def _follow(
        self, method: str, url: str, headers: dict[str, str], private: dict[str, str], body: bytes | None
    ) -> tuple[urllib3.BaseHTTPResponse, str]:
        start = origin_of(url)
        for _ in range(_MAX_REDIRECTS + 1):
            response = self._send(method, url, headers, private, body, start)
            location = response.headers.get("Location")
            if response.status not in _REDIRECTS or not location:
                return response, url
            response.close()
            if method != "GET":
                raise WebError(f"{shown(url)} redirects what may not be redirected")
            url = _redirected(url, location)
        raise WebError(f"{shown(url)} redirects without end")

    def _send(
        self,
        method: str,
        url: str,
        headers: dict[str, str],
        private: dict[str, str],
        body: bytes | None,
        start: tuple[str, str, int],
    ) -> urllib3.BaseHTTPResponse:
        """One request without redirects; if the first origin wants a login and Git knows one,
        the request again with it."""
        origin = origin_of(url)
        sent = {**headers, **private} if origin == start else headers
        login = self._logins.get(origin) if origin == start and "Authorization" not in sent else None
        response = self._send_once(method, url, sent, body, login)
        if response.status != 401 or origin != start or "Authorization" in sent:
            return response
        if login is None and (login := self._ask(url)):
            response.close()
            response = self._send_once(method, url, sent, body, login)
        if response.status == 401:
            response.close()
            if login is None:
                hint = "store one with a Git credential helper; xpm asks `git credential fill`"
                raise WebError(f"{shown(url)} wants a login", hint=hint, status=401)
            raise WebError(f"{shown(url)} refused the login of {login.username}", status=401)
        return response

    def _ask(self, url: str) -> Login | None:
        origin = origin_of(url)
        with self._login_lock:
            if origin not in self._logins:
                self._logins[origin] = ask_git(url)
            return self._logins[origin]

    def _send_once(
        self, method: str, url: str, headers: dict[str, str], body: bytes | None, login: Login | None
    ) -> urllib3.BaseHTTPResponse:
        sent = {"User-Agent": _user_agent(), "Accept-Encoding": "identity", **headers}
        if login:
            sent |= make_headers(basic_auth=f"{login.username}:{login.password}")
        with _wrapped(url):
            return self._pool(url).request(
                method,
                url,
                headers=sent,
                body=body,
                redirect=False,
                retries=False,
                timeout=_TIMEOUT,
                preload_content=False,
                decode_content=False,
            )

    def _pool(self, url: str) -> urllib3.PoolManager:
        proxy = _proxy_of(url)
        with self._lock:
            if proxy not in self._pools:
                self._pools[proxy] = _make_pool(proxy)
            return self._pools[proxy]


def _redirected(url: str, location: str) -> str:
    target = urljoin(url, location)
    try:
        check_web_url(target, signed=True)
    except InvalidUrl as error:
        raise WebError(f"{shown(url)} redirects to where it may not: {error.message}") from error
    if is_loopback(urlsplit(target).hostname) and not is_loopback(urlsplit(url).hostname):
        raise WebError(f"{shown(url)} redirects to this machine")
    return target


def _refusal(response: urllib3.BaseHTTPResponse, url: str) -> WebError:
    reason = (response.reason or "")[:40]
    after = response.headers.get("Retry-After", "")
    return WebError(
        f"{shown(url)} answered {response.status}{' ' + reason if reason.isprintable() and reason else ''}",
        transient=response.status in _TRANSIENT,
        status=response.status,
        retry_after_s=min(float(after), _MAX_RETRY_AFTER_S) if after.isascii() and after.isdigit() else 0.0,
    )


def _proxy_of(url: str) -> str | None:
    parts = urlsplit(url)
    if is_loopback(parts.hostname) or proxy_bypass(parts.hostname or ""):
        return None
    proxies = getproxies()
    return proxies.get(parts.scheme) or proxies.get("all")


def _make_pool(proxy: str | None) -> urllib3.PoolManager:
    if proxy is None:
        return urllib3.PoolManager(maxsize=8)
    parts = urllib3.util.parse_url(proxy if "://" in proxy else f"http://{proxy}")
    if parts.scheme not in ("http", "https"):
        raise WebError(f"the proxy {shown(proxy)} is neither http:// nor https://", hint="look at https_proxy")
    login = make_headers(proxy_basic_auth=parts.auth) if parts.auth else None
    return urllib3.ProxyManager(parts._replace(auth=None).url, proxy_headers=login, maxsize=8)


def _user_agent() -> str:
    try:
        return f"xpm/{version('xpm-experts')}"
    except PackageNotFoundError:
        return "xpm"


@contextlib.contextmanager
def _wrapped(url: str) -> Iterator[None]:
    """Turn what urllib3 raises into a WebError; its texts are not shown, for they hold whole URLs."""
    try:
        yield
    except urllib3.exceptions.SSLError as error:
        raise WebError(f"{shown(url)} has no certificate that is trusted here") from error
    except urllib3.exceptions.ProxyError as error:
        raise WebError(
            f"the proxy for {shown(url)} can't be reached", hint="look at https_proxy", transient=True
        ) from error
    except (urllib3.exceptions.NewConnectionError, urllib3.exceptions.NameResolutionError) as error:
        raise WebError(f"{shown(url)} can't be reached", transient=True) from error
    except (urllib3.exceptions.TimeoutError, TimeoutError) as error:
        raise WebError(f"{shown(url)} did not answer in time", transient=True) from error
    except (urllib3.exceptions.HTTPError, OSError) as error:
        raise WebError(f"the connection to {shown(url)} broke", transient=True) from error
    except ValueError as error:  # e.g. a header that can't be parsed
        raise WebError(f"{shown(url)} answered what can't be understood") from error
