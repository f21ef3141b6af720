"""Which pages there are, and what each says: a document of plain JSON, from which the HTML is rendered
and which lies beside it.

A page knows what it depends on before its document is made, so that only what changed is rendered. Nothing here depends
on the present time: the same snapshot gives the same bytes.
"""

import json
import re
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

from xpm.site.catalogue import Catalogue, Package, listed
from xpm.site.graph import graph_of
from xpm.site.package_page import package_document
from xpm.site.sparse import FOLDER, has_sparse_form
from xpm.site.status_page import status_document
from xpm_index.digests import sha256_bytes
from xpm_index.index import IndexSnapshot

PER_PAGE = 100
MAX_PROMPT_CHARS, MAX_TRIAL_TOKENS = 4_000, 256  # of what is asked in the pages, and answered
_NEWEST = 12
_MAX_DOMAINS = 60
_MAX_DESCRIPTION = 300
_COMPARED = (
    "name kind version publisher description published_at license bases size quality requires incompatible_with "
    "circles limitations"
).split()


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """``url`` is where the site will be, with a final slash, or ""; ``clone_url`` where the
    index is cloned from, or "".

    ``live`` tells that a server answers searches and comparisons, ``trial_base`` is the digest of the base by which it
    lets experts be tried, or "".
    """

    url: str = ""
    clone_url: str = ""
    live: bool = False
    trial_base: str = ""

    def add_url(self, snapshot: IndexSnapshot) -> str:
        """What ``xpm index add`` is told: where the index is cloned from, else its sparse
        form; "" if neither is known."""
        sparse = f"sparse+{self.url}{FOLDER}/" if self.url and has_sparse_form(snapshot) else ""
        return self.clone_url or sparse


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """``path`` has no suffix. ``depends`` gives everything that the document depends on, where that
    costs less than the document.

    ``is_answer``: it answers a request, so that nothing lies at its path.
    """

    path: str
    template: str
    title: str
    document: Callable[[], dict[str, Any]]
    depends: Callable[[], list[Any]] | None = None
    is_answer: bool = False

    @property
    def inputs(self) -> str:
        """A digest of everything that the document depends on."""
        return _digest(self.depends() if self.depends else self.document())

    @property
    def root(self) -> str:
        """The way from the page to the site's start."""
        return "../" * self.path.count("/")


def pages_of(catalogue: Catalogue, site: Site) -> Iterator[Page]:
    """Every page of a snapshot; of a live site without comparisons, which are made when somebody asks.
    None is made before that."""
    packages, add = sorted(catalogue.packages.values(), key=lambda each: each.name), add_index(catalogue, site)
    yield _made("index", "home.html", "Experts", lambda: _home(catalogue, add))
    yield from _listing("search", "All experts and bases", packages)
    for capability in sorted(catalogue.by_capability):
        found = [catalogue.packages[each] for each in catalogue.by_capability[capability]]
        yield from _listing(f"domains/{slug(capability)}", capability[:80], found)
    for package in packages:
        yield _package_page(catalogue, package, site, add)
    for first, second in sorted(comparable(catalogue)) if not site.live else ():
        yield comparison(catalogue, first, second)
    yield _made("publishers", "publishers.html", "Publishers", lambda: _publishers(catalogue))
    for name in sorted(catalogue.publishers):
        yield _made(f"publishers/{name}", "publisher.html", name, partial(_publisher, catalogue, name))
    status = partial(status_document, catalogue, clone_url=site.clone_url, add_index=add)
    yield _made("status", "status.html", "Status of the index", status)
    yield _made("404", "404.html", "Not found", dict)


def add_index(catalogue: Catalogue, site: Site) -> str:
    """The command by which the index is added; "" if it is not known where it is, and for what comes with xpm."""
    url = site.add_url(catalogue.snapshot)
    if not (url and catalogue.fingerprint):
        return ""
    return f"xpm index add {catalogue.snapshot.info.name} {shlex.quote(url)} --fingerprint {catalogue.fingerprint}"


def slug(text: str) -> str:
    """A file name for any text; texts that differ have different ones."""
    plain = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:40]
    return plain if plain == text else f"{plain or 'x'}-{sha256_bytes(text.encode())[7:15]}"


def folder_of(kind: str) -> str:
    return "bases" if kind == "base" else "experts"


def card(package: Package) -> dict[str, Any]:
    """What listings show of a package."""
    return {
        "name": package.name,
        "kind": package.kind,
        "version": package.version,
        "publisher": package.publisher,
        "description": package.description[:_MAX_DESCRIPTION],
        "published_at": package.published_at,
        "quality": package.quality,
        "size": package.size,
        "bases": list(package.bases[:4]),
        "capabilities": [{"name": each[:80], "slug": slug(each)} for each in package.capabilities[:6]],
        "license": package.license[:80],
        "yanked": package.is_yanked,
        "stars": round(package.stars, 1) if package.stars is not None else None,
        "num_reviews": package.num_reviews,
    }


def comparable(catalogue: Catalogue) -> set[tuple[str, str]]:
    """Pairs of names that a page compares: each expert with those most like it."""
    experts = [each.name for each in catalogue.packages.values() if each.kind == "expert"]
    pairs = ((name, other) for name in experts for other in catalogue.alike(name))
    return {(first, second) if first < second else (second, first) for first, second in pairs}


def comparison(catalogue: Catalogue, first: str, second: str) -> Page:
    """The page that shows two experts side by side."""
    one, two = catalogue.packages[first], catalogue.packages[second]

    def document() -> dict[str, Any]:
        return {"packages": [_compared(catalogue, each) for each in (one, two)]}

    return Page(
        path=f"compare/{first}/{second}",
        template="compare.html",
        title=f"{first} and {second}",
        document=document,
        depends=lambda: [one.name, one.source, two.name, two.source],
    )


def _compared(catalogue: Catalogue, package: Package) -> dict[str, Any]:
    """What a comparison shows of a package, which several do."""
    if package.name not in catalogue.compared:
        document = package_document(catalogue, package, card=card(package))
        catalogue.compared[package.name] = {key: document[key] for key in _COMPARED}
    return catalogue.compared[package.name]


def listing_page(path: str, title: str, packages: Sequence[Package], **more: Any) -> Page:
    """One page of a listing; ``more`` is what else its document says."""
    return _made(path, "listing.html", title, lambda: {"packages": [card(each) for each in packages], **more})


def _listing(path: str, title: str, packages: Sequence[Package]) -> Iterator[Page]:
    """A listing in pages of a hundred: ``path``, ``path/2``, …"""
    parts = list(listed(packages, size=PER_PAGE))
    for number, part in enumerate(parts, start=1):
        yield listing_page(
            path if number == 1 else f"{path}/{number}",
            title if number == 1 else f"{title}, page {number}",
            part,
            total=len(packages),
            page=number,
            pages=len(parts),
            first=path,
        )


def _package_page(catalogue: Catalogue, package: Package, site: Site, add: str) -> Page:
    commands = {"add_index": add, "review": _review(package, site)}
    return Page(
        path=f"{folder_of(package.kind)}/{package.name}",
        template="package.html",
        title=package.name,
        document=lambda: package_document(catalogue, package, card=card(package)) | commands,
        depends=lambda: _depends(catalogue, package, commands),
    )


def _review(package: Package, site: Site) -> str:
    """The command by which an expert is reviewed; "" if it is not known where its index is."""
    if package.kind != "expert" or not site.clone_url:
        return ""
    wanted = f"{package.name}@{package.version}"
    return f'xpm review {wanted} --stars STARS --text "WHY" --key me --index {shlex.quote(site.clone_url)}'


def _depends(catalogue: Catalogue, package: Package, commands: Mapping[str, str]) -> list[Any]:
    """Everything that a package's page shows: its own entries, whether what it names is there, who depends on it, and
    commands that name the index."""
    named = (*package.requires, *package.bases)
    return [
        package.name,
        package.source,
        [(found.name, found.kind) if (found := catalogue.find(each)) else None for each in named],
        catalogue.dependents.get(package.name, ()),
        catalogue.alike(package.name) if package.kind == "expert" else [],
        graph_of(catalogue, package.name).to_dict(),
        commands,
    ]


def _home(catalogue: Catalogue, add: str) -> dict[str, Any]:
    packages = [each for each in catalogue.packages.values() if not each.is_yanked]
    newest = sorted(packages, key=lambda each: each.name)
    newest.sort(key=lambda each: each.first_published_at, reverse=True)
    updated = [each for each in newest if each.num_versions > 1]
    updated.sort(key=lambda each: each.published_at, reverse=True)
    needed = sorted(packages, key=lambda each: (-len(catalogue.dependents.get(each.name, ())), each.name))
    domains = sorted(catalogue.by_capability.items(), key=lambda each: (-len(each[1]), each[0]))
    return {
        "index": catalogue.snapshot.info.name,
        "add_index": add,
        "experts": sum(each.kind == "expert" for each in catalogue.packages.values()),
        "bases": [card(each) for each in newest if each.kind == "base"][:_NEWEST],
        "num_bases": sum(each.kind == "base" for each in catalogue.packages.values()),
        "num_publishers": len(catalogue.publishers),
        "new": [card(each) for each in newest if each.kind == "expert"][:_NEWEST],
        "updated": [card(each) for each in updated if each.kind == "expert"][:_NEWEST],
        "most_depended_on": [
            card(each) | {"dependents": len(catalogue.dependents[each.name])}
            for each in needed[:_NEWEST]
            if each.kind == "expert" and catalogue.dependents.get(each.name)
        ],
        "domains": [
            {"name": name[:80], "slug": slug(name), "count": len(names)} for name, names in domains[:_MAX_DOMAINS]
        ],
    }


def _publishers(catalogue: Catalogue) -> dict[str, Any]:
    counts = {name: len(catalogue.by_publisher.get(name, ())) for name in catalogue.publishers}
    return {"publishers": [{"name": name, "packages": counts[name]} for name in sorted(counts)]}


def _publisher(catalogue: Catalogue, namespace: str) -> dict[str, Any]:
    publisher = catalogue.publishers[namespace]
    names = catalogue.by_publisher.get(namespace, ())
    return {
        "name": namespace,
        "contact": publisher.contact,
        "homepage": publisher.homepage,
        "domain": publisher.proof.domain if publisher.proof else None,
        "domain_checked_at": publisher.proof.checked_at if publisher.proof else None,
        "repository": proof.repository if (proof := publisher.git_proof) else None,
        "repository_commit": proof.commit if proof else None,
        "repository_checked_at": proof.checked_at if proof else None,
        "keys": [
            {
                "key_id": each.public.key_id,
                "public": each.public.text,
                "valid_from": each.valid_from,
                "valid_until": each.valid_until,
                "revoked_at": each.revoked_at,
            }
            for each in publisher.keys
        ],
        "packages": [card(catalogue.packages[each]) for each in names[:PER_PAGE]],
        "num_packages": len(names),
    }


def _made(path: str, template: str, title: str, document: Callable[[], dict[str, Any]]) -> Page:
    """A page whose document is cheap, and made once: it is its own input."""
    return Page(path=path, template=template, title=title, document=cache(document))


def _digest(value: object) -> str:
    return sha256_bytes(json.dumps(value, sort_keys=True).encode())
