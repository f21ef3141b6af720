"""Reviews: what somebody who holds a key says of a version, signed by that key; one per key and version.

Owns ``reviews/<name>/<key id>.json`` (docs/reference/formats/index-repository.md). A key edits its review by
signing a later one. Maintainers take one down by putting a reason in its place, which the index's metadata vouches
for; the key can't write it anew.
"""

import math
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from xpm_index import strict_json
from xpm_index.errors import IndexFormatError, TrustError, XpmError
from xpm_index.fields import Fields
from xpm_index.keys import PublicKey, SigningKey
from xpm_index.names import validate_name
from xpm_index.publishers import parse_time
from xpm_index.versions import Version

MAX_CHARS = 2000
MOST_STARS = 5
_DOMAIN = b"xpm-review-v1\n"
_MAX_USED_WITH = 20
_Z95 = 1.959963984540054


@dataclass(frozen=True, slots=True, kw_only=True)
class Review:
    """``stars`` are 1 to 5; ``used_with`` are ``name version`` of what was installed beside
    it, if the reviewer told."""

    version: Version
    stars: int
    text: str
    written_at: str
    used_with: tuple[str, ...] = ()
    signature: str = ""

    def to_dict(self) -> dict[str, Any]:
        document = {
            "version": str(self.version),
            "stars": self.stars,
            "text": self.text,
            "written_at": self.written_at,
            "used_with": list(self.used_with),
        }
        return document | ({"signature": self.signature} if self.signature else {})

    def signed_bytes(self, name: str, key: PublicKey) -> bytes:
        document = {**replace(self, signature="").to_dict(), "name": name, "key": key.text}
        return _DOMAIN + strict_json.canonical(document)


@dataclass(frozen=True, slots=True, kw_only=True)
class Removed:
    """What maintainers put in a review's place."""

    version: Version
    reason: str
    removed_at: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReviewFile:
    """The reviews of one package by one key."""

    name: str
    key: PublicKey
    reviews: tuple[Review, ...] = ()
    removed: tuple[Removed, ...] = ()

    def with_review(self, review: Review) -> "ReviewFile":
        """The same with a signed review added, or put in the place of an earlier one of its version.

        Raises:
            SignatureError: it is not by this key. TrustError: it is not later, or one of its version was taken down.
        """
        self.key.verify(review.signed_bytes(self.name, self.key), review.signature, what=f"the review of {self.name}")
        for each in self.removed:
            if each.version == review.version:
                raise TrustError(
                    f"the review of {self.name} {review.version} by this key was taken down", context=each.reason
                )
        before = next((each for each in self.reviews if each.version == review.version), None)
        if before is not None and before.written_at >= review.written_at:
            raise TrustError(
                f"the review of {self.name} {review.version} is not later than the one that is there",
                context=f"{review.written_at}, there is one of {before.written_at}",
            )
        kept = (*(each for each in self.reviews if each is not before), review)
        return replace(self, reviews=tuple(sorted(kept, key=lambda each: each.version)))

    def without(self, version: Version, *, reason: str, at: str) -> "ReviewFile":
        """The same with a reason in the place of a review; raises TrustError if there is no such review."""
        if not any(each.version == version for each in self.reviews):
            raise TrustError(f"there is no review of {self.name} {version} by the key {self.key.key_id}")
        gone = Removed(version=version, reason=check_text(reason), removed_at=at)
        kept = tuple(each for each in self.reviews if each.version != version)
        return replace(self, reviews=kept, removed=(*self.removed, gone))

    def to_bytes(self) -> bytes:
        removed = [
            {"version": str(each.version), "reason": each.reason, "removed_at": each.removed_at}
            for each in self.removed
        ]
        return strict_json.canonical(
            {
                "name": self.name,
                "key": self.key.text,
                "reviews": [each.to_dict() for each in self.reviews],
                "removed": removed,
            }
        )

    @classmethod
    def parse(cls, data: bytes, *, what: str) -> "ReviewFile":
        """Raises IndexFormatError with the key path, SignatureError if a review is not by the file's key."""
        try:
            fields = Fields(strict_json.loads(data, what=what), error=IndexFormatError)
            found = cls(
                name=fields.parsed("name", validate_name),
                key=fields.parsed("key", PublicKey.parse),
                reviews=tuple(_review(each) for each in fields.objects("reviews")),
                removed=tuple(_removed(each) for each in fields.objects("removed")),
            )
        except XpmError as error:
            raise IndexFormatError(f"{what}: {error.message}", context=error.context, hint=error.hint) from error
        versions = [each.version for each in found.reviews] + [each.version for each in found.removed]
        if len(set(versions)) != len(versions):
            raise IndexFormatError(f"{what} has two reviews of one version")
        for each in found.reviews:
            found.key.verify(each.signed_bytes(found.name, found.key), each.signature, what=what)
        return found


@dataclass(frozen=True, slots=True)
class Rating:
    """The mean of the stars that is to be expected, with its 95 % interval: few reviews say little,
    and pull it to the middle."""

    mean: float
    low: float
    high: float
    count: int

    @classmethod
    def of(cls, stars: Sequence[int]) -> "Rating":
        """With one imagined review of each number of stars beside the real ones (a flat Dirichlet prior)."""
        counted = [1 + stars.count(number) for number in range(1, MOST_STARS + 1)]
        total = sum(counted)
        mean = sum(number * count for number, count in enumerate(counted, start=1)) / total
        square = sum(number**2 * count for number, count in enumerate(counted, start=1)) / total
        half = _Z95 * math.sqrt((square - mean**2) / (total + 1))
        return cls(mean, max(1.0, mean - half), min(float(MOST_STARS), mean + half), len(stars))

    def to_dict(self) -> dict[str, float]:
        return {
            "mean": round(self.mean, 2),
            "low": round(self.low, 2),
            "high": round(self.high, 2),
            "count": self.count,
        }


def rating_of(files: Iterable[ReviewFile]) -> Rating | None:
    """Of a package's reviews, each key's latest; None if there are none."""
    latest = [max(each.reviews, key=lambda review: review.written_at) for each in files if each.reviews]
    return Rating.of([each.stars for each in latest]) if latest else None


def sign_review(review: Review, *, name: str, key: SigningKey) -> Review:
    """The review with its signature; raises IndexFormatError if it is not of the form that a review has."""
    _check_stars(review.stars)
    check_text(review.text)
    return replace(review, signature=key.sign(review.signed_bytes(name, key.public)))


def check_text(text: str) -> str:
    """A text for people; raises IndexFormatError if it is too long, or has characters that
    steer terminals or directions."""
    if not text.strip() or len(text) > MAX_CHARS:
        raise IndexFormatError(f"the text must have 1 to {MAX_CHARS} characters", context=f"it has {len(text)}")
    if bad := next(
        (each for each in text if each != "\n" and unicodedata.category(each) in ("Cc", "Cf", "Cs", "Co")), ""
    ):
        raise IndexFormatError(f"the text has the character U+{ord(bad):04X}", hint="leave control characters out")
    return text


def _check_stars(stars: int) -> None:
    if not 1 <= stars <= MOST_STARS:
        raise IndexFormatError(f"stars must be 1 to {MOST_STARS}", context=f"got {stars}")


def _review(fields: Fields) -> Review:
    found = Review(
        version=fields.parsed("version", Version.parse),
        stars=fields.integer("stars"),
        text=check_text(fields.text("text")),
        written_at=fields.parsed("written_at", parse_time),
        used_with=fields.strings("used_with"),
        signature=fields.text("signature"),
    )
    _check_stars(found.stars)
    if len(found.used_with) > _MAX_USED_WITH or any(
        len(each) > 100 or not each.isprintable() for each in found.used_with
    ):
        raise IndexFormatError(f"{fields.at('used_with')} must be at most {_MAX_USED_WITH} names with versions")
    return found


def _removed(fields: Fields) -> Removed:
    return Removed(
        version=fields.parsed("version", Version.parse),
        reason=check_text(fields.text("reason")),
        removed_at=fields.parsed("removed_at", parse_time),
    )
