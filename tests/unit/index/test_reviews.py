"""Reviews: signed, one per key and version, editable, taken down for good; what is not of their form is refused."""

import json
from dataclasses import replace

import pytest

from xpm_index.errors import IndexFormatError, SignatureError, TrustError
from xpm_index.keys import SigningKey
from xpm_index.reviews import Rating, Review, ReviewFile, rating_of, sign_review
from xpm_index.versions import Version

KEY = SigningKey.generate()
EMPTY = ReviewFile(name="expert-a", key=KEY.public)
ONE = Version.parse("1.0.0")


def written(stars=4, text="good", at="2026-03-01T00:00:00Z", version=ONE, key=KEY, name="expert-a", **more):
    return sign_review(Review(version=version, stars=stars, text=text, written_at=at, **more), name=name, key=key)


def test_a_file_reads_back():
    file = EMPTY.with_review(written(used_with=("xpm-tiny 1.0.0",))).with_review(
        written(version=Version.parse("2.0.0"))
    )
    file = file.without(ONE, reason="advertising", at="2026-03-02T00:00:00Z")
    assert ReviewFile.parse(file.to_bytes(), what="x") == file


def test_a_later_review_of_the_same_version_takes_its_place():
    file = EMPTY.with_review(written()).with_review(written(stars=1, at="2026-03-02T00:00:00Z"))
    assert [each.stars for each in file.reviews] == [1]
    with pytest.raises(TrustError, match="is not later"):
        file.with_review(written(stars=5))


def test_what_was_taken_down_can_not_be_written_anew():
    file = EMPTY.with_review(written()).without(ONE, reason="advertising", at="2026-03-02T00:00:00Z")
    assert file.reviews == ()
    with pytest.raises(TrustError, match="was taken down"):
        file.with_review(written(at="2026-03-03T00:00:00Z"))
    with pytest.raises(TrustError, match="there is no review"):
        file.without(ONE, reason="again", at="2026-03-02T00:00:00Z")


@pytest.mark.parametrize(
    "altered", [{"stars": 5}, {"text": "bad"}, {"written_at": "2027-01-01T00:00:00Z"}, {"version": "9.0.0"}]
)
def test_what_the_key_did_not_sign_is_refused(altered):
    document = json.loads(EMPTY.with_review(written()).to_bytes())
    document["reviews"][0] |= altered
    with pytest.raises(SignatureError):
        ReviewFile.parse(json.dumps(document).encode(), what="x")


def test_a_review_of_another_package_or_by_another_key_is_refused():
    for signed in (written(name="expert-b"), written(key=SigningKey.generate())):
        with pytest.raises(SignatureError):
            EMPTY.with_review(signed)
        with pytest.raises(SignatureError):
            ReviewFile.parse(replace(EMPTY, reviews=(signed,)).to_bytes(), what="x")


def test_two_reviews_of_one_version_are_refused():
    with pytest.raises(IndexFormatError, match="two reviews of one version"):
        ReviewFile.parse(replace(EMPTY, reviews=(written(), written())).to_bytes(), what="x")


@pytest.mark.parametrize(
    ("stars", "text"),
    [(0, "x"), (6, "x"), (3, ""), (3, " \n"), (3, "x" * 2001), (3, "a\x1b[31mb"), (3, "a\u202eb"), (3, "a\x00")],
)
def test_stars_and_texts_out_of_bounds_are_refused(stars, text):
    with pytest.raises(IndexFormatError):
        written(stars, text)


def test_a_rating_says_how_sure_it_is():
    few, many = Rating.of([5]), Rating.of([5] * 100)
    assert few.low < few.mean < many.mean < 5
    assert few.high - few.low > 4 * (many.high - many.low)
    assert Rating.of([]).mean == 3


def test_a_key_counts_once_in_a_rating():
    file = EMPTY.with_review(written(stars=1)).with_review(
        written(stars=5, version=Version.parse("2.0.0"), at="2026-04-01T00:00:00Z")
    )
    assert rating_of([file]) == Rating.of([5])
    assert rating_of([EMPTY]) is None
