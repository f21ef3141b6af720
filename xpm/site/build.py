"""A site written into a folder, with the index's sparse form: only what changed since the last time is written, and
what is no more is removed.

``.market.json`` in the folder says what lies there and of which inputs it was made. While files are written it says
that of none, so that a build that was cut off is followed by a whole one.
"""

import contextlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from xpm.errors import UsageError
from xpm.site.catalogue import Catalogue, Package
from xpm.site.feeds import atom, search_shards, sitemaps
from xpm.site.pages import Page, Site, pages_of
from xpm.site.render import STATIC, code_digest, static, to_json, to_page
from xpm.site.sparse import sparse_files
from xpm_index.digests import sha256_bytes
from xpm_index.index import IndexSnapshot

STATE = ".market.json"
_FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """How many pages there are and were rendered, files removed; ``problems`` is what is not shown: name → reason."""

    num_pages: int
    num_rendered: int
    num_removed: int
    problems: Mapping[str, str]


@dataclass(slots=True)
class _State:
    """``inputs`` maps each file to what it was made of."""

    code: str = ""
    inputs: dict[str, str] = field(default_factory=dict)
    packages: dict[str, Package] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> "_State":
        """An empty one if there is none, or one that can't be read."""
        try:
            raw = json.loads(path.read_bytes())
            if any(".." in name or name.startswith("/") for name in raw["inputs"]):
                return cls()
            if raw["format"] != _FORMAT or raw["code"] != code_digest():
                return cls(inputs=dict.fromkeys(raw["inputs"], ""))
            packages = {name: Package.from_dict(each) for name, each in raw["packages"].items()}
            return cls(code=raw["code"], inputs=dict(raw["inputs"]), packages=packages)
        except (OSError, ValueError, LookupError, TypeError, AttributeError):
            return cls()

    def write(self, path: Path) -> None:
        packages = {name: each.to_dict() for name, each in self.packages.items()}
        document = {"format": _FORMAT, "code": self.code, "inputs": self.inputs, "packages": packages}
        _write(path, json.dumps(document).encode())


def build_site(snapshot: IndexSnapshot, out: Path, site: Site) -> Built:
    """Write the site of a snapshot, and its sparse form, into ``out``; the same snapshot and site
    always give the same files.

    Raises:
        UsageError: ``out`` holds something that is no such site.
    """
    path = out / STATE
    if out.exists() and not path.is_file() and any(out.iterdir()):
        raise UsageError(f"{out} is not empty, and no site that xpm made", hint="name a new folder")
    state = _State.read(path)
    catalogue = Catalogue.read(snapshot, known=state.packages)
    context = sha256_bytes(f"{code_digest()} {site} {snapshot.info.id} {snapshot.info.name}".encode())
    new = _State(code=code_digest(), packages=dict(catalogue.packages))
    writer = _Writer(out, state.inputs, path)
    num_pages = 0
    for page in pages_of(catalogue, site):
        num_pages += 1
        writer.put_page(page, f"{context} {page.inputs}", index=snapshot.info.name, site=site)
    pages = list(writer.inputs)
    for name, inputs, read in sparse_files(snapshot):
        writer.put(name, inputs, read)
    for name, content in _other_files(catalogue, site, pages):
        writer.put(name, sha256_bytes(content), lambda content=content: content)  # type: ignore[misc]
    removed = writer.remove_others()
    new.inputs = writer.inputs
    new.write(path)
    return Built(
        num_pages=num_pages, num_rendered=writer.num_rendered, num_removed=removed, problems=catalogue.problems
    )


def _other_files(catalogue: Catalogue, site: Site, pages: Iterable[str]) -> Iterator[tuple[str, bytes]]:
    for name in STATIC:
        yield name, static(name)
    yield "feed.xml", atom(catalogue, site)
    yield from sitemaps((each for each in pages if each.endswith(".html") and each != "404.html"), site)
    yield from search_shards(catalogue.packages.values()).items()


class _Writer:
    """Writes what changed. ``inputs`` collects what each file of the site was made of."""

    def __init__(self, out: Path, before: Mapping[str, str], state: Path) -> None:
        self._out, self._before, self._state = out, before, state
        self._folders: set[Path] = set()
        self.inputs: dict[str, str] = {}
        self.num_rendered = 0
        self._has_begun = False

    def put_page(self, page: Page, inputs: str, *, index: str, site: Site) -> None:
        html, data = f"{page.path}.html", f"{page.path}.json"
        self.inputs |= {html: inputs, data: inputs}
        if not (self._is_there(html, inputs) and self._is_there(data, inputs)):
            document = page.document()
            self._write(html, to_page(page, document, index=index, site=site))
            self._write(data, to_json(document))
            self.num_rendered += 1

    def put(self, name: str, inputs: str, content: Callable[[], bytes]) -> None:
        self.inputs[name] = inputs
        if not self._is_there(name, inputs):
            self._write(name, content())

    def remove_others(self) -> int:
        """Remove what was part of the site and is no more; how many files."""
        gone = [name for name in self._before if name not in self.inputs]
        for name in gone:
            self._begin()
            path = self._out / name
            path.unlink(missing_ok=True)
            for folder in path.parents:
                if folder == self._out:
                    break
                with contextlib.suppress(OSError):
                    folder.rmdir()
        return len(gone)

    def _begin(self) -> None:
        """Say, before the first change, that what lies here is of no known inputs."""
        if not self._has_begun:
            self._out.mkdir(parents=True, exist_ok=True)
            _State(inputs=dict.fromkeys(self._before, "")).write(self._state)
            self._has_begun = True

    def _is_there(self, name: str, inputs: str) -> bool:
        return self._before.get(name) == inputs and (self._out / name).is_file()

    def _write(self, name: str, content: bytes) -> None:
        self._begin()
        path = self._out / name
        if path.parent not in self._folders:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._folders.add(path.parent)
        _write(path, content)


def _write(path: Path, content: bytes) -> None:
    """Whole or not at all, so that whoever reads the site meanwhile sees no half page."""
    partial = path.with_name(f".{path.name}.partial")
    partial.write_bytes(content)
    partial.replace(path)
