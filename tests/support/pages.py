"""What is in an HTML page, read as a browser would for what matters here: elements, attributes, links, ids."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urljoin, urlsplit


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
    """Every link in a site that leads to a file or a place in a page that is not there; ``url`` is where the site will be."""
    pages = {path.relative_to(folder).as_posix(): read_page(path.read_text()) for path in folder.rglob("*.html")}
    for name, page in pages.items():
        for link in page.links:
            target = urlsplit(urljoin(f"{url}{name}", link))
            if not urljoin(f"{url}{name}", link).startswith(url):
                continue
            path = unquote(target.path.removeprefix(urlsplit(url).path))
            if not (folder / path).is_file():
                yield f"{name}: {link}"
            elif target.fragment and path in pages and target.fragment not in pages[path].ids:
                yield f"{name}: {link} has no such place"
