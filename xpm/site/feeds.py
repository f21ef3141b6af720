"""For programs: an Atom feed of what is new, a sitemap, and the index of words that the search script reads."""

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from xml.sax.saxutils import escape, quoteattr

from xpm.site.catalogue import Catalogue, Package
from xpm.site.pages import Site, folder_of

_NEWEST = 50
_PER_SITEMAP = 45_000
_WORD = re.compile(r"[^\W_]+")
_SHARD_CHARS = 2
_MAX_DESCRIPTION = 160
_NOT_IN_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def atom(catalogue: Catalogue, site: Site) -> bytes:
    """The versions published last, newest first; its addresses are relative if the site's is not known."""
    packages = sorted(catalogue.packages.values(), key=lambda each: each.name)
    packages.sort(key=lambda each: each.published_at, reverse=True)
    info = catalogue.snapshot.info
    urn = f"urn:xpm:{_xml(info.id)}"
    updated = packages[0].published_at if packages else "1970-01-01T00:00:00Z"
    entries = [
        f"<entry><id>{urn}:{each.name}:{_xml(each.version)}</id><title>{each.name} {_xml(each.version)}</title>"
        f"<updated>{each.published_at}</updated><author><name>{each.publisher}</name></author>"
        f"<link href={quoteattr(f'{site.url}{folder_of(each.kind)}/{each.name}.html')}/>"
        f'<summary type="text">{_xml(each.description[:_MAX_DESCRIPTION])}</summary></entry>'
        for each in packages[:_NEWEST]
    ]
    head = f"<id>{urn}</id><title>{_xml(info.name)}: new experts</title><updated>{updated}</updated>"
    link = f'<link rel="self" href={quoteattr(f"{site.url}feed.xml")}/>'
    body = "\n".join([head, link, *entries])
    head = '<?xml version="1.0" encoding="utf-8"?>\n<feed xmlns="http://www.w3.org/2005/Atom">'
    return f"{head}\n{body}\n</feed>\n".encode()


def sitemaps(paths: Iterable[str], site: Site) -> Iterator[tuple[str, bytes]]:
    """(path, content) of a sitemap, in several files if there is much; nothing if the site's address is not known."""
    if not site.url:
        return
    addresses = [f"<url><loc>{_xml(site.url + path)}</loc></url>" for path in paths]
    parts = [addresses[start : start + _PER_SITEMAP] for start in range(0, len(addresses), _PER_SITEMAP)]
    names = ["sitemap.xml"] if len(parts) < 2 else [f"sitemap-{number}.xml" for number in range(1, len(parts) + 1)]
    for name, part in zip(names, parts, strict=True):
        yield name, _sitemap("urlset", part)
    if len(parts) > 1:
        yield (
            "sitemap.xml",
            _sitemap("sitemapindex", [f"<sitemap><loc>{_xml(site.url + n)}</loc></sitemap>" for n in names]),
        )
    yield "robots.txt", f"User-agent: *\nAllow: /\nSitemap: {site.url}sitemap.xml\n".encode()


def search_shards(packages: Iterable[Package]) -> Mapping[str, bytes]:
    """File name → content: for the first two characters of a word, everything that has a word beginning so.

    A record is [name, kind, version, publisher, description, quality, words].
    """
    shards: dict[str, list[str]] = defaultdict(list)
    for package in packages:
        words = package.words
        record = json.dumps(
            [
                package.name,
                package.kind,
                package.version,
                package.publisher,
                package.description[:_MAX_DESCRIPTION],
                package.quality,
                " ".join(dict.fromkeys(_WORD.findall(words)))[: 4 * _MAX_DESCRIPTION],
            ],
            ensure_ascii=False,
        )
        for start in sorted({word[:_SHARD_CHARS] for word in _WORD.findall(words) if len(word) >= _SHARD_CHARS}):
            shards[start].append(record)
    return {
        f"words/{'-'.join(f'{ord(char):x}' for char in start)}.json": f"[{','.join(records)}]\n".encode()
        for start, records in shards.items()
    }


def _sitemap(kind: str, items: list[str]) -> bytes:
    body = "\n".join(items)
    return (
        f'<?xml version="1.0" encoding="utf-8"?>\n<{kind} xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">\n'
        f"{body}\n</{kind}>\n"
    ).encode()


def _xml(text: str) -> str:
    """Text for XML, without the characters that it can't hold."""
    return escape(_NOT_IN_XML.sub("�", text))
