"""What is in an HTML page, read as a browser would for what matters here: elements, attributes, links, ids."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urljoin, urlsplit
from xml.etree import ElementTree


@dataclass(slots=True)
class Seen:
    elements: list[tuple[str, dict[str, str | None]]] = field(default_factory=list)
    text: str = ""

    @property
    def links(self) -> list[str]:
        return [
            value
            for _, given in self.elements
            for key, value in given.items()
            if key in ("href", "src", "action") and value
        ]

    @property
    def ids(self) -> list[str]:
        return [given["id"] for _, given in self.elements if given.get("id")]


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.seen = Seen()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.seen.text += data


def read_page(html: str) -> Seen:
    reader = _Reader()
    reader.feed(html)
    reader.close()
    return reader.seen


def broken_links(folder: Path, url: str) -> Iterator[str]:
    """Every link in a site that leads to a file or a place in a page that is not there: of pages, their JSON, feed,
    sitemaps, robots.txt and the search's words. ``url`` is where the site will be.
    """
    files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    pages = {name: read_page(path.read_text()) for name, path in files.items() if name.endswith(".html")}
    for name, path in files.items():
        for link in _links_in(name, path, pages):
            whole = urljoin(f"{url}{name}", link)
            target = urlsplit(whole)
            if not whole.startswith(url):
                if not name.endswith(".html"):
                    yield f"{name}: {link} is elsewhere"
                continue
            there = unquote(target.path.removeprefix(urlsplit(url).path))
            if there not in files:
                yield f"{name}: {link}"
            elif target.fragment and there in pages and target.fragment not in pages[there].ids:
                yield f"{name}: {link} has no such place"


def _links_in(name: str, path: Path, pages: Mapping[str, Seen]) -> Iterator[str]:
    if name in pages:
        yield from pages[name].links
    elif name.endswith(".xml"):
        for element in ElementTree.fromstring(path.read_bytes()).iter():
            link = element.attrib.get("href") or (element.text if element.tag.endswith("}loc") else None)
            if link:
                yield link
    elif name == "robots.txt":
        yield from re.findall(r"^Sitemap: (.+)$", path.read_text(), re.MULTILINE)
    elif name.startswith("words/"):
        root = "../"
        yield from (f"{root}{_folder(kind)}/{package}.html" for package, kind, *_ in json.loads(path.read_text()))
    elif name.endswith(".json") and not name.startswith("."):
        root = "../" * name.count("/")
        yield from (f"{root}{each}" for each in _named_in(json.loads(path.read_text())))


def _named_in(document: object) -> Iterator[str]:
    """The pages of the packages and domains that a page's JSON names."""
    if isinstance(document, list):
        for each in document:
            yield from _named_in(each)
    elif isinstance(document, dict):
        if document.get("kind") in ("expert", "base") and "name" in document:
            yield f"{_folder(document['kind'])}/{document['name']}.html"
            yield from (f"experts/{each}.html" for each in document.get("compare", ()))
        if "publisher" in document:
            yield f"publishers/{document['publisher']}.html"
        if "slug" in document:
            yield f"domains/{document['slug']}.html"
        for each in document.values():
            yield from _named_in(each)


def _folder(kind: str) -> str:
    return "bases" if kind == "base" else "experts"
