"""The server of a sparse index, an index that lies file by file below a web address. Nothing that
comes from there is verified.

Owns the address, ``sparse+https://host/path/``, and the one file that the form has beside those of the index's
repository: the list of a package's reviews (docs/reference/formats/index-repository.md, "The sparse form").
"""

import contextlib
from urllib.parse import quote

from xpm_index import strict_json
from xpm_index.errors import IndexFormatError, XpmError
from xpm_index.fields import Fields
from xpm_index.index import IndexInfo
from xpm_index.layout import INDEX_JSON, metadata_path
from xpm_index.urls import check_web_url, shown
from xpm_index.web import Web, WebError

PREFIX = "sparse+"
"""What the URL of a sparse index begins with, before ``https://``."""

TIMESTAMP = metadata_path("timestamp")
_NOT_THERE = (403, 404, 410)  # some stores of files answer 403 to who may not list them
_MAX_ROOTS = 256
_MAX_ROOT_BYTES = 1 << 16
_MAX_TIMESTAMP_BYTES = 1 << 14
_MAX_LIST_BYTES = 1 << 20


class Remote:
    """A sparse index at its address, ``sparse+https://host/path/``; what comes from there is not verified yet."""

    def __init__(self, url: str, web: Web) -> None:
        """Raises InvalidUrl if the address is none that is followed."""
        self.url = check_web_url(url.removeprefix(PREFIX)).rstrip("/") + "/"
        self._web = web

    def url_of(self, path: str) -> str:
        return self.url + quote(path)

    def get(self, path: str, max_bytes: int) -> bytes | None:
        """The file at ``path``, None if there is none.

        Raises:
            WebError: the server can't be reached or refuses, or the file is more than ``max_bytes`` or breaks off.
        """
        return self.get_newer(path, max_bytes, etag="")[0]

    def get_newer(self, path: str, max_bytes: int, *, etag: str) -> tuple[bytes | None, str]:
        """(file, its ETag) at ``path`` unless it still has ``etag``; (None, ``etag``) if it has,
        (None, "") if there is none."""
        url = self.url_of(path)
        headers = {"If-None-Match": etag} if etag else {}
        with self._web.request(url, headers=headers, answers=_NOT_THERE) as answer:
            if answer.status in _NOT_THERE:
                return None, ""
            if answer.status == 304 and etag:
                return None, etag
            if answer.status != 200:
                raise WebError(f"{shown(url)} answered {answer.status}, which was not asked for")
            if answer.headers.get("Content-Encoding", "identity") != "identity":
                raise WebError(f"{shown(url)} sent a packed file, which was not asked for")
            if (answer.length or 0) > max_bytes:
                raise WebError(f"{shown(url)} announces {answer.length} bytes where there may be {max_bytes}")
            data = answer.read(max_bytes)
            if answer.length not in (None, len(data)):
                raise WebError(f"{shown(url)} broke off after {len(data)} of {answer.length} bytes", transient=True)
            return data, answer.headers.get("ETag", "")

    def timestamp(self, *, etag: str = "") -> tuple[bytes | None, str]:
        """What ``get_newer`` has of the timestamp; raises WebError if there is none."""
        data, found = self.get_newer(TIMESTAMP, _MAX_TIMESTAMP_BYTES, etag=etag)
        if data is None and not found:
            raise WebError(f"{shown(self.url)} has no {TIMESTAMP}: it is no index, or not all of one")
        return data, found

    def reviews(self, folder: str) -> list[str]:
        """The paths of a package's reviews, which lie in ``reviews/<name>``; nothing
        vouches for there being no more."""
        data = self.get(review_list_path(folder), _MAX_LIST_BYTES)
        if data is None:
            return []
        listed = Fields(strict_json.loads(data, what="the list of reviews"), error=IndexFormatError).strings("keys")
        return [f"{folder}/{each}.json" for each in listed]

    def roots(self) -> dict[str, bytes]:
        """Every root of the index, path → bytes, oldest first."""
        found: dict[str, bytes] = {}
        while (data := self.get(path := metadata_path("root", len(found) + 1), _MAX_ROOT_BYTES)) is not None:
            found[path] = data
            if len(found) > _MAX_ROOTS:
                raise WebError(f"{shown(self.url)} has more than {_MAX_ROOTS} roots")
        return found


def is_sparse(url: str, web: Web) -> bool:
    """Whether a sparse index is at a web address. Nothing is trusted by that but how to ask for it."""
    with contextlib.suppress(XpmError):
        data = Remote(url, web).get(INDEX_JSON, _MAX_LIST_BYTES)
        return data is not None and bool(IndexInfo.parse(data))
    return False


def review_list_path(folder: str) -> str:
    """Where a sparse index lists the key ids of a package's reviews, of ``reviews/<name>``."""
    return f"{folder}.json"


def review_list(paths: list[str]) -> bytes:
    """The list of the reviews at these paths; what it leaves out is not read, and nothing vouches for it."""
    return strict_json.canonical({"keys": sorted(path.rsplit("/", 1)[1].removesuffix(".json") for path in paths)})
