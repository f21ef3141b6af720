"""What indexes have: info, versions, search."""

from dataclasses import dataclass, replace

from xpm.environment import Environment
from xpm.errors import NotFoundError
from xpm.indexes import Indexes
from xpm.operations.names import did_you_mean
from xpm.operations.options import DEFAULTS, Options
from xpm.project import DEFAULT_BASE, DEFAULT_BASE_LIMITATIONS
from xpm.search import Query
from xpm_index.archive import MANIFEST
from xpm_index.entries import Entry, newest_of
from xpm_index.errors import XpmError
from xpm_index.held import held_texts
from xpm_index.manifest import Manifest
from xpm_index.provenance import PROVENANCE, Provenance, provenance_beside
from xpm_index.publishers import Publisher
from xpm_index.publishing import quality_of
from xpm_index.reviews import Rating, rating_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A search hit: ``entry`` is as ``newest_of`` has it, None if it can't be verified for ``problem``.

    ``quality`` is the share of cases, 0 to 1, that the package claims to answer rightly; None if it claims nothing.
    """

    name: str
    index: str
    rank: float
    entry: Entry | None
    problem: str = ""
    quality: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """What is published under a name; ``manifest`` is the newest version's own, None where it
    can't be had without fetching.

    ``publisher`` is who may sign it; ``provenance`` is what that version was built of, None where it does not say so;
    ``rating`` is None if nobody reviewed it.
    """

    index: str
    entries: tuple[Entry, ...]
    manifest: Manifest | None
    publisher: Publisher
    provenance: Provenance | None = None
    rating: Rating | None = None

    @property
    def limitations(self) -> tuple[str, ...]:
        """What it can't do: by its own manifest, and by what is known of the base that comes with xpm."""
        stated = self.manifest.raw.get("limitations") if self.manifest else None
        own = [
            str(each.get("description", "") if isinstance(each, dict) else each)
            for each in (stated if isinstance(stated, list) else ())
        ]
        newest = self.entries[-1]
        is_tiny = newest.name == DEFAULT_BASE or any(each.base == DEFAULT_BASE for each in newest.archives)
        return (*own, *(DEFAULT_BASE_LIMITATIONS if is_tiny else ()))


def published(environment: Environment, name: str, options: Options = DEFAULTS) -> Published:
    """What the indexes have of a name, with the newest version's manifest if it is at hand; raises NotFoundError."""
    index, entries = versions_of(environment, name, options)
    with environment.locked(), options.indexes(environment, environment.project(), allow_stale=True) as indexes:
        newest, snapshot = newest_of(entries), indexes.snapshot(index)
        documents = _documents_at_hand(environment, indexes, index, newest)
        manifest = Manifest.parse(documents[MANIFEST]) if MANIFEST in documents else None
        stated = documents.get(PROVENANCE)
        return Published(
            index=index,
            entries=entries,
            manifest=manifest,
            publisher=snapshot.publisher(newest.publisher),
            provenance=provenance_beside(manifest, stated, snapshot.key_of(newest)) if manifest and stated else None,
            rating=rating_of(snapshot.reviews(entries[-1].name)),
        )


def _documents_at_hand(environment: Environment, indexes: Indexes, index: str, entry: Entry) -> dict[str, bytes]:
    """A published version's manifest and provenance, from the store or an archive that the index holds;
    {} if that takes fetching.

    An archive's digest is the one that the index vouches for; its signature is verified when it is installed.
    """
    names = (MANIFEST, PROVENANCE)
    for ref in entry.archives:
        if (folder := environment.store.get(ref.digest)) is not None:
            return {name: (folder / name).read_bytes() for name in names if (folder / name).is_file()}
    return held_texts(indexes.snapshot(index), entry, names) or {}


def versions_of(environment: Environment, name: str, options: Options = DEFAULTS) -> tuple[str, tuple[Entry, ...]]:
    """(index, entries oldest first) of a published name; raises NotFoundError."""
    with environment.locked(), options.indexes(environment, environment.project(), allow_stale=True) as indexes:
        index, entries = indexes.entries(name)
        hint = None if entries else did_you_mean(name, indexes.all_names())
    if not entries:
        raise NotFoundError(f"no index has {name}", hint=hint or "look for it with `xpm search`")
    return index, entries


def search(environment: Environment, query: Query, options: Options = DEFAULTS) -> list[Found]:
    """Experts and bases that match, best first; what can't be verified is found too, and says so."""
    found = []
    with environment.locked(), options.indexes(environment, environment.project(), allow_stale=True) as indexes:
        for index in indexes.sources:
            for name, rank in indexes.search(index, query):
                try:
                    entries = indexes.snapshot(index).entries(name)
                except XpmError as error:
                    found.append(Found(name=name, index=index, rank=rank, entry=None, problem=error.message))
                    continue
                if entries:
                    found.append(Found(name=name, index=index, rank=rank, entry=newest_of(entries)))
        best = sorted(found, key=lambda each: (each.rank, each.name))[: query.limit]
        return [
            replace(each, quality=_quality(environment, indexes, each.index, each.entry)) if each.entry else each
            for each in best
        ]


def _quality(environment: Environment, indexes: Indexes, index: str, entry: Entry) -> float | None:
    """What the entry says; where it says nothing, what the manifest does, if it is at hand."""
    if entry.quality is not None or entry.kind == "base":
        return entry.quality
    try:
        documents = _documents_at_hand(environment, indexes, index, entry)
        return quality_of(Manifest.parse(documents[MANIFEST])) if MANIFEST in documents else None
    except XpmError:
        return None
