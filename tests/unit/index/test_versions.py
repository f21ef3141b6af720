"""Versions and the ranges over them."""

import pytest

from xpm_index.errors import InvalidVersion
from xpm_index.versions import Version, VersionRange


@pytest.mark.parametrize("text", ["1.2.3", "0.0.0", "1.0.0-rc.1", "1.0.0+build.7", "1.0.0-a.b-c.0+x.y"])
def test_good_versions(text):
    assert str(Version.parse(text)) == text


@pytest.mark.parametrize(
    "text", ["", "1", "1.2", "v1.2.3", "01.2.3", "1.2.3-01", "1.2.3-", " 1.2.3", "1.2.3.4", "1.2.-3"]
)
def test_bad_versions(text):
    with pytest.raises(InvalidVersion):
        Version.parse(text)


def test_order_of_precedence():
    rising = ["1.0.0-alpha", "1.0.0-alpha.1", "1.0.0-alpha.beta", "1.0.0-beta.2", "1.0.0-beta.11", "1.0.0-rc.1"]
    rising += ["1.0.0", "1.0.0+a", "1.0.0+b", "1.0.1", "1.10.0", "2.0.0"]
    versions = [Version.parse(text) for text in rising]
    assert sorted(set(versions)) == versions


def test_versions_that_differ_in_build_metadata_are_different():
    assert Version.parse("1.0.0+a") != Version.parse("1.0.0+b")


RANGES = [
    ("*", "0.0.0 9.9.9", "1.0.0-rc.1"),
    ("", "0.0.0 9.9.9", "1.0.0-rc.1"),
    ("x", "0.0.0 9.9.9", ""),
    ("1.2.3", "1.2.3 1.2.3+build", "1.2.4 1.2.2 1.2.3-rc.1"),
    ("=1.2.3", "1.2.3", "1.2.4"),
    ("==1.2.3", "1.2.3", "1.2.4"),
    ("v1.2.3", "1.2.3", "1.2.4"),
    ("!=1.2.3", "1.2.4 1.2.2", "1.2.3"),
    ("1", "1.0.0 1.9.9", "0.9.9 2.0.0 2.0.0-0"),
    ("1.2", "1.2.0 1.2.9", "1.1.9 1.3.0"),
    ("1.x", "1.0.0 1.9.9", "2.0.0"),
    ("1.2.*", "1.2.0 1.2.9", "1.3.0"),
    (">1.2", "1.3.0 2.0.0", "1.2.0 1.2.9 1.3.0-beta 1.3.0-0"),
    (">1", "2.0.0 3.0.0", "1.9.9 2.0.0-beta"),
    (">1 || 2.0.0-beta", "2.0.0 2.0.0-beta", "2.0.0-rc.1"),
    (">*", "", "0.0.0 1.0.0 9.9.9 0.0.0-0"),
    ("<x", "", "0.0.0 1.0.0 9.9.9 0.0.0-0"),
    ("<=* >=x", "0.0.0 9.9.9", "1.0.0-rc.1"),
    (">=1.2", "1.2.0 9.0.0", "1.1.9"),
    ("<1.2", "1.1.9 0.0.0", "1.2.0 1.2.0-rc.1"),
    ("<=1.2", "1.2.9 0.1.0", "1.3.0 1.3.0-rc.1"),
    (">1.2.3", "1.2.4", "1.2.3"),
    ("<=1.2.3", "1.2.3", "1.2.4"),
    (">=1.0,<2", "1.0.0 1.9.9", "0.9.9 2.0.0 2.0.0-rc.1"),
    (">=1.0 <2", "1.0.0 1.9.9", "0.9.9 2.0.0"),
    (">= 1.0 , < 2", "1.0.0 1.9.9", "0.9.9 2.0.0"),
    (">=1.0,!=1.5.0,<2", "1.4.9 1.5.1", "1.5.0"),
    ("<1 || >=2", "0.9.0 2.0.0 3.0.0", "1.0.0 1.9.9"),
    ("1.0.0 || 2.0.0", "1.0.0 2.0.0", "1.0.1"),
    ("^1.2.3", "1.2.3 1.9.9", "1.2.2 2.0.0 2.0.0-rc.1"),
    ("^1.2", "1.2.0 1.9.9", "1.1.9 2.0.0"),
    ("^1", "1.0.0 1.9.9", "0.9.9 2.0.0"),
    ("^0.2.3", "0.2.3 0.2.9", "0.2.2 0.3.0 1.0.0"),
    ("^0.0.3", "0.0.3", "0.0.2 0.0.4"),
    ("^0.0", "0.0.0 0.0.9", "0.1.0"),
    ("^0", "0.0.0 0.9.9", "1.0.0"),
    ("~1.2.3", "1.2.3 1.2.9", "1.2.2 1.3.0 1.3.0-rc.1"),
    ("~1.2", "1.2.0 1.2.9", "1.3.0"),
    ("~1", "1.0.0 1.9.9", "2.0.0"),
    ("^1.2.3-rc.1", "1.2.3-rc.1 1.2.3-rc.2 1.2.3 1.3.0", "1.2.3-beta 1.3.0-rc.1"),
    (">=1.0.0-rc.1", "1.0.0-rc.1 1.0.0 1.1.0", "1.1.0-rc.1 1.0.0-beta"),
    ("1.0.0-rc.1", "1.0.0-rc.1", "1.0.0 1.0.0-rc.2"),
    (">=1.2.3,<1.2.3", "", "1.2.3 1.2.2 1.2.4"),
]


@pytest.mark.parametrize(("text", "inside", "outside"), RANGES, ids=[case[0] or "empty" for case in RANGES])
def test_ranges(text, inside, outside):
    found = VersionRange.parse(text)
    assert [each for each in inside.split() if not found.contains(Version.parse(each))] == []
    assert [each for each in outside.split() if found.contains(Version.parse(each))] == []
    rising = sorted(Version.parse(each) for each in {*inside.split(), *outside.split()})
    assert {rising[each] for each in found.positions(rising)} == {Version.parse(each) for each in inside.split()}


@pytest.mark.parametrize(
    "text",
    [
        "abc",
        "1.2.3.4",
        ">",
        ">=",
        "<>1",
        "!=*",
        ">>1",
        "1 - 2",
        "!=1.2",
        "^",
        "1..2",
        "1.0.0;",
        "=>1",
        ">=01.2.3",
        "1|2",
        "1.x.2",
        "*.1",
        "1.2-rc.1",
        "^1.٢",
        "1" * 5000,
    ],
)
def test_malformed_ranges(text):
    with pytest.raises(InvalidVersion):
        VersionRange.parse(text)


def test_what_names_one_version():
    assert [VersionRange.parse(text).is_exact for text in ("1.2.3", "=1.2.3", "==1.2.3-rc.1")] == [True] * 3
    for text in ("1.2", "^1.2.3", "*", "1.2.3 || 1.2.4", ">=1.2.3,<=1.2.3", "!=1.2.3"):
        assert not VersionRange.parse(text).is_exact
