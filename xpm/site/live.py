"""The pages of an index as it is now: read anew when its head has moved, rendered when somebody asks."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

from xpm.errors import NotFoundError
from xpm.site.catalogue import Catalogue
from xpm.site.feeds import atom
from xpm.site.package_page import triable
from xpm.site.pages import Page, Site, comparison, listing_page, pages_of
from xpm.site.render import STATIC, static, to_json, to_page
from xpm.site.search import MAX_SHOWN, Wanted, search
from xpm.site.sparse import FOLDER, sparse_file
from xpm_index.digests import sha256_bytes
from xpm_index.entries import ArchiveRef, Entry, newest_of
from xpm_index.index import IndexSnapshot
from xpm_index.keys import PublicKey

_MAX_KEPT = 500
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".json": "application/json",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".xml": "application/xml",
    ".txt": "text/plain; charset=utf-8",
}


class Source(Protocol):
    """Where the index is."""

    def head(self) -> str:
        """The commit that it is at."""
        ...

    def snapshot(self, *, ahead: bool) -> IndexSnapshot:
        """The index at its head, verified; with ``ahead`` all entries are read at once, since all will be asked for."""
        ...


@dataclass(frozen=True, slots=True)
class Reply:
    """``etag`` identifies the bytes; ``status`` is 200, or 404 of the page that says so."""

    body: bytes
    media_type: str
    status: int = 200

    @property
    def etag(self) -> str:
        return f'"{sha256_bytes(self.body)[7:39]}"'


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """A version with one of its archives and the key that must have signed it; ``read`` gets its bytes, unverified."""

    entry: Entry
    ref: ArchiveRef
    key: PublicKey
    read: Callable[[], bytes]


class LiveSite:
    """Answers for one index; may be asked by several threads.

    Args:
        scratch: a folder for the cache of words.
    """

    def __init__(self, source: Source, site: Site, scratch: Path) -> None:
        self._source, self._site, self._words = source, site, scratch / "words.sqlite"
        self._lock = threading.Lock()
        self._known: Catalogue | None = None
        self._pages: dict[str, Page] = {}
        self._kept: OrderedDict[str, Reply] = OrderedDict()

    def reply(self, path: str, asked: Mapping[str, str]) -> Reply:
        """What is at a path, without its first slash; ``asked`` are the parameters.

        Raises:
            XpmError: the index can't be read.
        """
        with self._lock:
            self._follow()
            wanted = Wanted.parse(asked)
            if path in ("search.html", "search.json") and not wanted.is_empty:
                return self._rendered(self._found(wanted), path)
            if path.startswith(f"{FOLDER}/") and (found := self._sparse(path)) is not None:
                return found
            key = path or "index.html"
            if key not in self._kept:
                self._kept[key] = self._made(key)
            self._kept.move_to_end(key)
            reply = self._kept[key]
            while len(self._kept) > _MAX_KEPT:
                self._kept.popitem(last=False)
            if reply.status != 200:
                del self._kept[key]
            return reply

    def pair(self, first: str, second: str) -> str | None:
        """The path of the page that compares two packages; None if there is one that the index does not have."""
        with self._lock:
            self._follow()
            known = self._catalogue.packages
            if first not in known or second not in known or first == second:
                return None
            return f"compare/{min(first, second)}/{max(first, second)}.html"

    def held(self, name: str) -> Held | None:
        """The newest version of an expert, whose archive for the base of trials the index holds; None if there is none.

        Raises:
            XpmError: the index can't be read, or does not vouch for it.
        """
        with self._lock:
            self._follow()
            snapshot = self._catalogue.snapshot
            entries = snapshot.entries(name) if name in self._catalogue.packages else ()
            newest = newest_of(entries) if entries else None
            for ref in triable(newest) if newest else ():
                if newest and ref.base_digest == self._site.trial_base:
                    read = partial(self._archive, snapshot, ref)
                    return Held(entry=newest, ref=ref, key=snapshot.key_of(newest), read=read)
        return None

    def _archive(self, snapshot: IndexSnapshot, ref: ArchiveRef) -> bytes:
        with self._lock:
            data = snapshot.read_blob(ref.path_in_index or "", max_bytes=ref.size)
        if data is None:
            raise NotFoundError(f"the index does not have {ref.path_in_index}")
        return data

    def rendered(self, page: Page, path: str, *, status: int) -> Reply:
        """A page that lies nowhere, as HTML or JSON by the suffix of ``path``."""
        with self._lock:
            self._follow()
            return self._rendered(page, path, status=status)

    def _sparse(self, path: str) -> Reply | None:
        data = sparse_file(self._catalogue.snapshot, path.removeprefix(f"{FOLDER}/"))
        return Reply(data, _TYPES.get(Path(path).suffix, "application/octet-stream")) if data is not None else None

    def _follow(self) -> None:
        """Read the index anew if its head has moved; if that fails, nothing is answered until it can be read."""
        head = self._source.head()
        if self._known is None or head != self._known.snapshot.commit:
            before = self._known.packages if self._known else None
            catalogue = Catalogue.read(self._source.snapshot(ahead=before is None), known=before)
            self._pages = {each.path: each for each in pages_of(catalogue, self._site)}
            self._kept.clear()
            self._known = catalogue

    @property
    def _catalogue(self) -> Catalogue:
        assert self._known is not None, "ask _follow first"
        return self._known

    def _made(self, path: str) -> Reply:
        if path in STATIC:
            return Reply(static(path), _TYPES[Path(path).suffix])
        if path == "feed.xml":
            return Reply(atom(self._catalogue, self._site), "application/atom+xml")
        page = self._page(path)
        if page is None:
            return self._rendered(self._pages["404"], "404.html", status=404)
        return self._rendered(page, path)

    def _page(self, path: str) -> Page | None:
        name, _, suffix = path.rpartition(".")
        if suffix not in ("html", "json") or name == "404":
            return None
        if name in self._pages:
            return self._pages[name]
        match name.split("/"):
            case ["compare", first, second] if first < second and {first, second} <= self._catalogue.packages.keys():
                return comparison(self._catalogue, first, second)
        return None

    def _found(self, wanted: Wanted) -> Page:
        found = search(self._catalogue, wanted, self._words)
        shown = f"Found for “{wanted.q}”" if wanted.q else "Found"
        return listing_page(
            "search",
            shown,
            found[:MAX_SHOWN],
            total=len(found),
            page=1,
            pages=1,
            first="search",
            wanted=wanted.to_dict(),
        )

    def _rendered(self, page: Page, path: str, *, status: int = 200) -> Reply:
        document = page.document()
        if path.endswith(".json"):
            return Reply(to_json(document), _TYPES[".json"], status)
        index = self._catalogue.snapshot.info.name
        return Reply(to_page(page, document, index=index, site=self._site), _TYPES[".html"], status)
