"""Entry files: one line per version, which is only ever added to."""

from dataclasses import replace

import pytest

from tests.support.packages import make_entry
from xpm_index import strict_json
from xpm_index.entries import Yanked, parse_entries, require_append_only
from xpm_index.errors import IndexFormatError, TrustError
from xpm_index.requirements import Requirement

FULL = make_entry(
    description="SQL, auch für Köln",
    requires=(Requirement.parse("expert-json@>=0.4,<1"), Requirement.parse("acme/expert-english")),
    incompatible_with=(Requirement.parse("expert-neo4j@<0.2"),),
    capabilities=("sql",),
    keywords=("select", "tabelle"),
    optional=(Requirement.parse("expert-xml"),),
    load_order=6,
    tier="tech",
    max_chain=4,
    tags=("database",),
    quality=0.97,
    key_id="k",
    yanked=Yanked(reason="wrong joins", severity="high", replacement="1.0.1"),
)


def file_of(*entries) -> bytes:
    return b"".join(replace(entry, key_id=entry.key_id or "k").to_line() + b"\n" for entry in entries)


def line_with(**changes) -> bytes:
    """A line whose document was changed."""
    document = {**strict_json.loads(make_entry(key_id="k").to_line(), what="it"), **changes}
    return strict_json.canonical(document) + b"\n"


def test_every_field_survives():
    assert parse_entries(file_of(FULL), name=FULL.name) == (FULL,)


def test_versions_come_in_rising_order():
    entries = [make_entry(version=version) for version in ("1.10.0", "1.2.0", "1.10.0-rc.1", "1.9.0")]
    found = parse_entries(file_of(*entries), name="expert-sql")
    assert [str(each.version) for each in found] == ["1.2.0", "1.9.0", "1.10.0-rc.1", "1.10.0"]


def test_a_later_line_yanks_a_version():
    entry = make_entry()
    yanked = replace(entry, yanked=Yanked(reason="broken"), published_at="2026-03-01T00:00:00Z")
    (found,) = parse_entries(file_of(entry, yanked), name=entry.name)
    assert found.yanked == Yanked(reason="broken")


@pytest.mark.parametrize(
    "change",
    [
        {"archives": (replace(make_entry().archives[0], size=10),)},
        {"requires": (Requirement.parse("evil"),)},
        {"description": "other"},
        {"kind": "base"},
        {"yanked": Yanked(reason="x"), "load_order": 1},
    ],
)
def test_a_published_version_never_changes(change):
    with pytest.raises(IndexFormatError, match=r"line 2 .* changes what 1\.0\.0 is"):
        parse_entries(file_of(make_entry(), replace(make_entry(), **change)), name="expert-sql")


def test_a_name_belongs_to_its_first_publisher():
    other = make_entry(version="2.0.0", publisher="mallory")
    with pytest.raises(IndexFormatError, match=r"line 2 .* is by mallory, but the name is acme's"):
        parse_entries(file_of(make_entry(), other), name="expert-sql")


def test_a_line_of_another_name():
    with pytest.raises(IndexFormatError, match=r"line 1 .* is of expert-xml"):
        parse_entries(file_of(make_entry("expert-xml")), name="expert-sql")


GOOD = file_of(make_entry())
ARCHIVE = strict_json.loads(GOOD[:-1], what="it")["archives"][0]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "cut off"),
        (GOOD[:-1], "cut off"),
        (GOOD + b"\n", "line 2"),
        (b"\n" + GOOD, "line 1"),
        (GOOD[:-1] + b"x\n", "not valid JSON"),
        (b"[]\n", "must be an object"),
        (line_with(tier="first"), "tier 'first' is unknown"),
        (b"{}\n", "kind is missing"),
        (line_with(kind="router"), "kind 'router' is unknown"),
        (line_with(name="../x"), "name: '../x' is not a valid name"),
        (line_with(version="1"), "version: '1' is not a semantic version"),
        (line_with(published_at="yesterday"), "published_at: 'yesterday' is not a time"),
        (line_with(requires=["a", "b@?"]), r"'\?' is not a version range"),
        (line_with(load_order="5"), "load_order must be a whole number"),
        (line_with(archives=[{**ARCHIVE, "size": 0}]), r"archives\[0\]\.size must be positive"),
        (
            line_with(archives=[ARCHIVE, {**ARCHIVE, "digest": "x"}]),
            r"archives\[1\]\.digest: digest is not of the form",
        ),
        (line_with(archives=[{**ARCHIVE, "sources": [1]}]), r"archives\[0\]\.sources\[0\] must be a string"),
        (line_with(yanked="yes"), "yanked must be an object"),
    ],
)
def test_malformed_files(data, reason):
    with pytest.raises(IndexFormatError, match=reason):
        parse_entries(data, name="expert-sql")


def test_append_only():
    require_append_only(b"a\n", b"a\n", path="p")
    require_append_only(b"a\n", b"a\nb\n", path="p")
    require_append_only(b"", b"a\n", path="p")
    with pytest.raises(TrustError, match="rewrote"):
        require_append_only(b"a\n", b"b\n", path="p")
    with pytest.raises(TrustError, match="rewrote"):
        require_append_only(b"a\nb\n", b"a\n", path="p")
    with pytest.raises(TrustError, match="removed"):
        require_append_only(b"a\n", None, path="p")
