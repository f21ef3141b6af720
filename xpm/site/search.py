"""Search on a served site: what a person asks for, and the packages that match."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from xpm.search import Query, SearchCache, words_of
from xpm.site.catalogue import Catalogue, Package

_MAX_CHARS = 200
_MOST = 1000
MAX_SHOWN = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """``quality`` is the least share of cases passed, in per cent; ``megabytes`` the most that an
    archive may have. 0: any."""

    q: str = ""
    kind: str = ""
    base: str = ""
    capability: str = ""
    publisher: str = ""
    license: str = ""
    quality: float = 0.0
    megabytes: float = 0.0

    @classmethod
    def parse(cls, asked: Mapping[str, str]) -> "Wanted":
        """Of what a form sent; what is no number or too long is as if it had not been asked for."""
        texts = {key: asked.get(key, "").strip() for key in ("q", "kind", "base", "capability", "publisher", "license")}
        kept = {key: value if len(value) <= _MAX_CHARS and value.isprintable() else "" for key, value in texts.items()}
        return cls(**kept, quality=_number(asked, "quality"), megabytes=_number(asked, "megabytes"))

    @property
    def is_empty(self) -> bool:
        return self == Wanted()

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def allows(self, package: Package) -> bool:
        """What the words' cache does not know."""
        right = self.quality == 0 or (package.quality or 0) * 100 >= self.quality
        small = self.megabytes == 0 or package.size <= self.megabytes * 1e6
        return right and small and (not self.license or self.license.lower() in package.license.lower())


def search(catalogue: Catalogue, wanted: Wanted, cache: Path) -> list[Package]:
    """What matches, best first.

    Args:
        cache: the file of the words' cache, which is made or brought up to date.
    """
    query = Query(
        words=words_of([wanted.q]),
        kind=wanted.kind,
        base=wanted.base,
        capability=wanted.capability,
        publisher=wanted.publisher,
        limit=_MOST,
    )
    with SearchCache(cache) as opened:
        opened.follow(catalogue.snapshot.repo, catalogue.snapshot.commit)
        names = [name for name, _ in opened.search(query)]
    found = [catalogue.packages[name] for name in names if name in catalogue.packages]
    return [each for each in found if wanted.allows(each)]


def _number(asked: Mapping[str, str], key: str) -> float:
    try:
        value = float(asked.get(key, "") or 0)
    except ValueError:
        return 0.0
    return value if 0 <= value < 1e9 else 0.0
