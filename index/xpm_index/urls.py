"""Which URLs, tags and paths are followed at all (docs/reference/formats/sources.md); everything else is
refused before it is used.

They come from strangers' files and from command lines, and end in requests, Git commands and messages. So: no
credentials, no control characters, nothing that could be taken for an option, and plain HTTP only on this machine.
"""

import ipaddress
import re
from urllib.parse import SplitResult, urlsplit
from urllib.request import url2pathname

from xpm_index.errors import XpmError

MAX_URL_LENGTH = 2048
_MAX_TAG_LENGTH = 200
_MAX_PATH_LENGTH = 400
_NOT_PRINTABLE = re.compile(r"[\x00-\x20\x7f-\x9f\u2028\u2029\\]")
_SSH_USER = re.compile(r"(git\+)?ssh://[^/@:\s]+@")
_CREDENTIALS = re.compile(r"(?<=://)[^/@\s]+@")
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\]")
_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")
_SCP = re.compile(rf"(?P<user>{_USER.pattern})@(?P<host>{_HOST.pattern}):(?P<path>[^:]+)")
_BAD_IN_TAG = re.compile(r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|//|/\.|\.lock(/|$)")
_SECRET_NAME = r"(?:[^=&;?#\s]*(?:token|secret|password|passwd|signature|credential)|sig|auth|key|api_?key)="
_SECRET = re.compile(rf"(?:^|[&;]){_SECRET_NAME}", re.I)
_SECRET_VALUE = re.compile(rf"((?<=[?&;#]){_SECRET_NAME})[^&;#\s'\"]+", re.I)
_HELPER = "keep logins in git's credential helper; xpm asks `git credential fill`"


class InvalidUrl(XpmError):
    """A URL, tag or path of a source that is not followed."""

    code = "invalid-url"
    exit_code = 2


def is_loopback(host: str | None) -> bool:
    """Whether a host (without brackets) is this machine by definition, without asking a name server."""
    try:
        return host == "localhost" or ipaddress.ip_address(host or "").is_loopback
    except ValueError:
        return False


def origin_of(url: str) -> tuple[str, str, int]:
    """Scheme, host and port: what a login may be sent to."""
    parts = urlsplit(url)
    return parts.scheme, parts.hostname or "", parts.port or {"https": 443, "http": 80}.get(parts.scheme, 0)


def without_credentials(text: str) -> str:
    """A text with the logins, and the secrets of queries, cut out of the URLs in it."""
    return _SECRET_VALUE.sub(r"\1…", _CREDENTIALS.sub("", text))


def holds_credentials(url: str) -> bool:
    """Whether a URL holds a password, a token in its query, or a user where a user is a login; SSH's user is none."""
    return _SECRET_VALUE.search(url) is not None or bool(_CREDENTIALS.search(url) and not _SSH_USER.match(url))


def check_no_credentials(url: str, *, what: str) -> str:
    """Return ``url``; raises InvalidUrl if it holds a password or a token. ``what`` names it in the error."""
    if holds_credentials(url):
        raise InvalidUrl(f"{what} holds credentials", context=shown(url), hint=_HELPER)
    return url


def shown(url: str) -> str:
    """A URL as messages may show it: without credentials, query and fragment, of printable characters."""
    plain = _NOT_PRINTABLE.sub("?", url.partition("#")[0].partition("?")[0])
    return re.sub(r"(?<=://)[^/]*@", "", plain)[:200]


def check_web_url(url: str, *, signed: bool = False) -> str:
    """Return ``url`` if it is ``https://`` or, on this machine, ``http://``.

    Args:
        signed: a server gave it for this one download, so that its query may hold a passing secret.
    Raises:
        InvalidUrl: it is neither, or holds credentials.
    """
    parts = _split(url)
    if parts.scheme not in ("https", "http"):
        raise InvalidUrl(f"{shown(url)!r} is not an https:// URL", hint="nothing else is followed there")
    _check_host(url, parts)
    if parts.username is not None or parts.password is not None or (not signed and _SECRET.search(parts.query)):
        raise InvalidUrl(f"the URL {shown(url)} holds credentials", hint=_HELPER)
    if parts.fragment:
        raise InvalidUrl(f"the URL {shown(url)} has an unknown part after `#`", hint="leave it out")
    _check_transport(url, parts)
    return url


def path_of_file_url(url: str) -> str:
    """The local path that a ``file://`` URL names; what should be quoted in it (spaces, ä) need
    not be, but ``?`` and ``#``."""
    parts = urlsplit(url)
    if parts.scheme != "file" or parts.netloc not in ("", "localhost") or not parts.path.startswith("/"):
        raise InvalidUrl(f"{shown(url)!r} is not of the form file:///absolute/path", hint="or write the path itself")
    if parts.query or parts.fragment:
        raise InvalidUrl(f"{shown(url)} has more than a path", hint="write `?` and `#` in names as %3F and %23")
    path = url2pathname(parts.path)
    if "\0" in path or "\n" in path:
        raise InvalidUrl(f"{shown(url)} names a path with control characters")
    return path


def check_file_url(url: str) -> str:
    """The local path that a well-formed ``file://`` URL names; raises InvalidUrl."""
    _check_text(url)
    return path_of_file_url(url)


def check_git_url(url: str) -> str:
    """Return the URL of a Git repository if it is ``https://``, ``ssh://``, ``file://``,
    ``user@host:path`` or a local ``http://``.

    Raises:
        InvalidUrl: it is none of these, or holds a password, a query or a fragment.
    """
    if "://" not in url:
        _check_text(url)
        if not _SCP.fullmatch(url):
            raise InvalidUrl(
                f"{shown(url)!r} is not the URL of a Git repository", hint="write git+https://host/repo.git"
            )
        return url
    parts = _split(url)
    if parts.scheme == "file":
        check_file_url(url)
        return url
    if parts.scheme not in ("https", "http", "ssh"):
        raise InvalidUrl(
            f"repositories are not fetched over {parts.scheme[:20]!r}", hint="use git+https, git+ssh or git+file"
        )
    if parts.path in ("", "/"):
        raise InvalidUrl(f"{shown(url)} names no repository", hint="write git+https://host/repo.git@<tag>")
    _check_host(url, parts)
    if parts.password is not None or (parts.username is not None and parts.scheme != "ssh"):
        raise InvalidUrl(f"the URL {shown(url)} holds credentials", hint=_HELPER)
    if parts.username is not None and not _USER.fullmatch(parts.username):
        raise InvalidUrl(f"{shown(url)} has a malformed user name", hint="write git+ssh://git@host/repo.git")
    if parts.query or parts.fragment:
        raise InvalidUrl(
            f"{shown(url)} has more than a path", hint="the URL of a repository has no query and no fragment"
        )
    if parts.scheme != "ssh":
        _check_transport(url, parts)
    return url


def is_local_git(url: str) -> bool:
    """Whether a repository is on this machine, so that no socket is opened for it."""
    return url.startswith("file://")


def split_scp(url: str) -> tuple[str, str, str] | None:
    """User, host and path of ``user@host:path``, or None for any other form."""
    match = _SCP.fullmatch(url)
    return (match["user"], match["host"], match["path"]) if match else None


def check_tag(tag: str) -> str:
    """Return ``tag`` if Git allows it as a tag's name; raises InvalidUrl."""
    bad = _BAD_IN_TAG.search(tag) or tag[:1] in ("-", "/", ".") or tag[-1:] in ("/", ".") or tag == "@"
    if not tag or bad or len(tag) > _MAX_TAG_LENGTH or not tag.isprintable():
        raise InvalidUrl(f"{tag[:80]!r} is not the name of a Git tag", hint="write e.g. v1.2.0")
    return tag


def check_path(path: str) -> str:
    """Return ``path`` if it is a relative path inside a repository, ``a/b``; raises InvalidUrl."""
    parts = path.split("/")
    if (
        not path.isprintable()
        or "\\" in path
        or len(path) > _MAX_PATH_LENGTH
        or any(part in ("", ".", "..") or part.lower() == ".git" for part in parts)
    ):
        raise InvalidUrl(f"{path[:80]!r} is not a path inside a repository", hint="write e.g. experts/sql")
    return path


def _split(url: str) -> SplitResult:
    _check_text(url)
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError as error:
        raise InvalidUrl(
            f"{shown(url)!r} is not a URL", hint="write https://host/path or https://host:port/path"
        ) from error
    return parts


def _check_text(url: str) -> None:
    if not url or url.startswith("-") or len(url) > MAX_URL_LENGTH or _NOT_PRINTABLE.search(url):
        raise InvalidUrl(
            f"{shown(url)!r} is not a URL",
            hint="a URL has no spaces, backslashes or control characters, and no leading `-`",
        )


def _check_host(url: str, parts: SplitResult) -> None:
    host = parts.netloc.rpartition("@")[2]
    bare = host if host.endswith("]") else re.sub(r":[0-9]*$", "", host)
    if not _HOST.fullmatch(bare):
        raise InvalidUrl(f"{shown(url)!r} names no host", hint="write hosts outside ASCII in their xn-- form")


def _check_transport(url: str, parts: SplitResult) -> None:
    if parts.scheme == "http" and not is_loopback(parts.hostname):
        raise InvalidUrl(f"{shown(url)} is not encrypted", hint="use https; plain http is only for this machine")
