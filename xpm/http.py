"""Downloads that go on where they stopped: ranges, validators, and patience with servers that are busy or break off."""

import re
import time
from collections.abc import Callable, Mapping
from typing import Protocol

from xpm_index.urls import shown
from xpm_index.web import Answer, Web, WebError

MAX_FAILURES = 4
_PAUSE_S = 0.5
_WORTHWHILE_BYTES = 1 << 20
_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,19})-([0-9]{1,19})/([0-9]{1,19}|\*)")


class Target(Protocol):
    """What a download is written to. Its ``validator`` is what the server said of the bytes that are there, or ""."""

    num_bytes: int

    def write(self, chunk: bytes) -> None: ...

    def rewind(self) -> None: ...

    def validator(self, url: str) -> str: ...

    def remember(self, url: str, validator: str) -> None: ...


def download_to(
    target: Target,
    url: str,
    *,
    size: int,
    web: Web,
    headers: Mapping[str, str] | None = None,
    sleep: Callable[[float], object] = time.sleep,
) -> None:
    """Fill ``target`` up to ``size`` bytes, going on from what it has; whether they are the right
    ones is the caller's affair.

    A try that fails in passing is repeated after a growing pause, until several in a row brought nothing worthwhile.

    Args:
        headers: for the first origin only; a redirect elsewhere does not get them.
    Raises:
        WebError: the server can't be reached, refuses, or announces another size.
    Source:
        docs/reference/formats/sources.md, "Fetching".
    """
    failures, best = 0, target.num_bytes
    while target.num_bytes < size:
        try:
            _get_rest(target, url, size, web, headers or {})
        except WebError as error:
            failures = 1 if target.num_bytes - best >= _WORTHWHILE_BYTES else failures + 1
            best = max(best, target.num_bytes)
            if not error.transient or failures >= MAX_FAILURES:
                raise
            sleep(max(error.retry_after_s, _PAUSE_S * 2 ** (failures - 1)))


def _get_rest(target: Target, url: str, size: int, web: Web, private: Mapping[str, str]) -> None:
    have = target.num_bytes
    asked = {"Range": f"bytes={have}-"} if have else {}
    if have and (validator := target.validator(url)):
        asked["If-Range"] = validator
    with web.request(url, headers=asked, private=private) as answer:
        _position(target, answer, url, size)
        target.remember(url, _validator_of(answer))
        for chunk in answer.chunks():
            if target.num_bytes + len(chunk) > size:
                target.rewind()
                raise WebError(f"{shown(url)} sent more than the stated {size} bytes")
            target.write(chunk)
    if target.num_bytes < size:
        raise WebError(f"the connection to {shown(url)} ended after {target.num_bytes} of {size} bytes", transient=True)


def _position(target: Target, answer: Answer, url: str, size: int) -> None:
    """Make ``target`` end where the answer's body begins; refuse an answer that can't lead to ``size`` bytes."""
    have = target.num_bytes
    if answer.status == 206 and have:
        match = _CONTENT_RANGE.fullmatch(answer.headers.get("Content-Range", ""))
        if match is None or int(match[1]) != have or int(match[2]) >= size:
            target.rewind()
            raise WebError(f"{shown(url)} sent another part than was asked for", transient=True)
        if match[3] not in ("*", str(size)):
            raise WebError(f"{shown(url)} has {match[3]} bytes where there must be {size}")
        return
    if answer.status == 416 and have:
        target.rewind()
        raise WebError(f"{shown(url)} does not have the rest", transient=True)
    if answer.status != 200:
        raise WebError(f"{shown(url)} answered {answer.status}, which was not asked for")
    if have:
        target.rewind()
    if answer.length not in (None, size):
        raise WebError(f"{shown(url)} announces {answer.length} bytes where there must be {size}")


def _validator_of(answer: Answer) -> str:
    """What If-Range may hold: a strong ETag, else the date of the last change."""
    etag = answer.headers.get("ETag", "")
    return etag if etag.startswith('"') else answer.headers.get("Last-Modified", "")
