"""What an index snapshot has, as pages need it: a summary of every name, who needs whom, and what can't be shown.

A summary is kept with the object ids that it was read from, so that the next reading takes over what did not change;
that the index still vouches for those bytes is asked anew each time.
"""

import contextlib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

from xpm_index.archive import MANIFEST
from xpm_index.digests import sha256_bytes
from xpm_index.entries import Entry, newest_of
from xpm_index.errors import TrustError, XpmError
from xpm_index.held import held_texts
from xpm_index.index import IndexSnapshot
from xpm_index.layout import ENTRIES, PUBLISHERS, REVIEWS, entry_path, publisher_path
from xpm_index.manifest import Manifest
from xpm_index.names import spellings
from xpm_index.provenance import PROVENANCE, Provenance, provenance_beside
from xpm_index.publishers import Publisher
from xpm_index.publishing import quality_of
from xpm_index.reviews import rating_of
from xpm_index.verified import newest_fingerprint

README = "README.md"
_MOST_ALIKE = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """What listings say of a name, by its newest version.

    ``requires`` are names; ``size`` is the largest archive's, in bytes; ``quality`` the share of cases passed, 0 to 1,
    that the publisher claims; ``stars`` the mean to be expected of its reviews, None if there are none. ``source``
    identifies the bytes it was read from, ``vouched`` are ``path digest`` of the files that the index has to vouch for.
    """

    name: str
    kind: str
    version: str
    publisher: str
    description: str
    published_at: str
    first_published_at: str
    num_versions: int
    bases: tuple[str, ...]
    capabilities: tuple[str, ...]
    keywords: tuple[str, ...]
    tags: tuple[str, ...]
    requires: tuple[str, ...]
    size: int
    quality: float | None
    license: str
    is_yanked: bool
    stars: float | None
    num_reviews: int
    source: str
    vouched: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        return {each.name: getattr(self, each.name) for each in fields(self)}

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> "Package":
        """Raises TypeError if ``raw`` is no package's document."""
        values: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in raw.items()}
        return cls(**values)

    @property
    def words(self) -> str:
        """Everything that a search looks at, in lower case."""
        name = self.name.replace("-", " ")
        return " ".join((name, self.description, *self.capabilities, *self.keywords, *self.tags)).lower()


class Catalogue:
    """The summaries of one snapshot. ``problems`` maps names and publishers that are not shown to the reason.

    ``compared`` is where pages keep what several of them show of a package.
    """

    def __init__(
        self,
        snapshot: IndexSnapshot,
        packages: Mapping[str, Package],
        publishers: Mapping[str, Publisher],
        problems: Mapping[str, str],
    ) -> None:
        self.snapshot = snapshot
        self.packages = packages
        self.publishers = publishers
        self.problems = problems
        self.compared: dict[str, dict[str, Any]] = {}
        self._alike: dict[str, list[str]] = {}

    @classmethod
    def read(cls, snapshot: IndexSnapshot, *, known: Mapping[str, Package] | None = None) -> "Catalogue":
        """Read every name; what the index does not vouch for, or is malformed, is a problem and stops nothing.

        Args:
            known: summaries from an earlier reading, by name.
        """
        repo, commit = snapshot.repo, snapshot.commit
        ids = repo.blob_ids(commit, PUBLISHERS) | repo.blob_ids(commit, ENTRIES)
        reviews: dict[str, list[str]] = defaultdict(list)
        for path, id in repo.blob_ids(commit, REVIEWS).items():
            reviews[path.split("/")[1]].append(path)
            ids[path] = id
        packages, publishers, problems = {}, {}, {}
        for name in sorted(path.rsplit("/", 1)[1].removesuffix(".jsonl") for path in ids if path.endswith(".jsonl")):
            try:
                packages[name] = _package(snapshot, ids, name, reviews.get(name, ()), (known or {}).get(name))
            except XpmError as error:
                problems[name] = error.message
        for path in ids:
            if path.startswith(f"{PUBLISHERS}/"):
                namespace = path.rsplit("/", 1)[1].removesuffix(".json")
                try:
                    publishers[namespace] = snapshot.publisher(namespace)
                except XpmError as error:
                    problems[namespace] = error.message
        return cls(snapshot, packages, publishers, problems)

    @cached_property
    def fingerprint(self) -> str:
        """Of the index's newest root; "" of an index without metadata of its own: the one that comes with xpm."""
        try:
            return newest_fingerprint(self.snapshot.repo.reader(self.snapshot.commit))
        except XpmError:
            return ""

    def find(self, name: str) -> Package | None:
        """The package that a requirement's name means, under either spelling."""
        return next((self.packages[each] for each in spellings(name) if each in self.packages), None)

    @cached_property
    def dependents(self) -> Mapping[str, Sequence[str]]:
        """Name → the names whose newest version requires it, of a base those that are made for it; sorted."""
        found: dict[str, list[str]] = defaultdict(list)
        for package in self.packages.values():
            bases = package.bases if package.kind == "expert" else ()
            for wanted in dict.fromkeys((*package.requires, *bases)):
                if (needed := self.find(wanted)) is not None and needed.name != package.name:
                    found[needed.name].append(package.name)
        return found

    @cached_property
    def by_capability(self) -> Mapping[str, Sequence[str]]:
        """Capability → names of the experts that state it; sorted."""
        found: dict[str, list[str]] = defaultdict(list)
        for package in self.packages.values():
            for capability in dict.fromkeys(package.capabilities):
                found[capability].append(package.name)
        return found

    @cached_property
    def by_publisher(self) -> Mapping[str, Sequence[str]]:
        found: dict[str, list[str]] = defaultdict(list)
        for package in self.packages.values():
            found[package.publisher].append(package.name)
        return found

    def alike(self, name: str) -> list[str]:
        """The three experts that share most capabilities with one, and a base; for comparing."""
        if name not in self._alike:
            own = self.packages[name]
            shared: dict[str, int] = defaultdict(int)
            for capability in dict.fromkeys(own.capabilities):
                for other in self.by_capability[capability][:_MOST_ALIKE]:
                    shared[other] += 4 if set(self.packages[other].bases) & set(own.bases) else 1
            shared.pop(name, None)
            self._alike[name] = sorted(shared, key=lambda each: (-shared[each], each))[:3]
        return self._alike[name]


def _package(
    snapshot: IndexSnapshot, ids: Mapping[str, str], name: str, reviews: Sequence[str], known: Package | None
) -> Package:
    path = entry_path(name)
    if path not in ids:
        raise TrustError(f"the entries of {name} are not at {path}, where clients look")
    if known is not None:
        is_same = known.source == _source(ids, name, known.publisher, reviews)
        if is_same and all(snapshot.files.promises(*each.split(" ", 1)) for each in known.vouched):
            return known
    data = snapshot.files.read(path)
    entries = snapshot.entries_in(data, name)
    if not entries:
        raise TrustError(f"the index has no entries of {name}")
    vouched = [(path, sha256_bytes(data or b""))]
    vouched += [(each, sha256_bytes(snapshot.files.read(each) or b"")) for each in reviews]
    rating = rating_of(snapshot.review_file(each) for each in reviews)
    newest = newest_of(entries)
    manifest = manifest_of(snapshot, newest)
    return Package(
        name=name,
        kind=newest.kind,
        version=str(newest.version),
        publisher=newest.publisher,
        description=newest.description,
        published_at=newest.published_at,
        first_published_at=min(each.published_at for each in entries),
        num_versions=len(entries),
        bases=tuple(sorted({each.base for each in newest.archives} - {name})),
        capabilities=newest.capabilities,
        keywords=newest.keywords,
        tags=newest.tags,
        requires=tuple(each.name.name for each in newest.requires),
        size=max((each.size for each in newest.archives), default=0),
        quality=newest.quality if newest.quality is not None or manifest is None else quality_of(manifest),
        license=manifest.license if manifest else "",
        is_yanked=newest.yanked is not None,
        stars=rating.mean if rating else None,
        num_reviews=rating.count if rating else 0,
        source=_source(ids, name, newest.publisher, reviews),
        vouched=tuple(f"{each} {digest}" for each, digest in vouched),
    )


def _source(ids: Mapping[str, str], name: str, publisher: str, reviews: Sequence[str]) -> str:
    return " ".join(ids.get(path, "") for path in (entry_path(name), publisher_path(publisher), *reviews))


def manifest_of(snapshot: IndexSnapshot, entry: Entry) -> Manifest | None:
    """A version's own manifest if the index holds its archive; None if not, or if it can't be read."""
    try:
        texts = held_texts(snapshot, entry, (MANIFEST,))
        return Manifest.parse(texts[MANIFEST]) if texts and MANIFEST in texts else None
    except XpmError:
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Texts:
    """What a version says of itself, None and "" as far as the index does not hold it or it can't be read.

    ``provenance`` is signed by the key that the entry names.
    """

    manifest: Manifest | None = None
    readme: str = ""
    provenance: Provenance | None = None


def texts_of(snapshot: IndexSnapshot, entry: Entry) -> Texts:
    try:
        texts = held_texts(snapshot, entry, (MANIFEST, README, PROVENANCE)) or {}
        manifest = Manifest.parse(texts[MANIFEST]) if MANIFEST in texts else None
    except XpmError:
        return Texts()
    provenance = None
    with contextlib.suppress(XpmError):  # nobody can install a package with a statement that does not verify
        if manifest and PROVENANCE in texts:
            provenance = provenance_beside(manifest, texts[PROVENANCE], snapshot.key_of(entry))
    return Texts(manifest=manifest, readme=texts.get(README, b"").decode("utf-8", "replace"), provenance=provenance)


def listed(packages: Sequence[Package], *, size: int) -> Iterator[Sequence[Package]]:
    """Pages of a listing; one empty page if there is nothing to list."""
    for start in range(0, max(len(packages), 1), size):
        yield packages[start : start + size]
