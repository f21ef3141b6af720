"""Laws of versions and ranges."""

import semver
from hypothesis import given, settings
from hypothesis import strategies as st

from xpm_index.errors import XpmError
from xpm_index.requirements import Requirement
from xpm_index.versions import Version, VersionRange

NUMBERS = st.integers(0, 3)
PRE = st.sampled_from(["", "-0", "-alpha", "-alpha.1", "-rc.2", "-rc.10"])
VERSIONS = st.builds(lambda a, b, c, pre: Version.parse(f"{a}.{b}.{c}{pre}"), NUMBERS, NUMBERS, NUMBERS, PRE)
OPERATORS = st.sampled_from(["", "=", ">", ">=", "<", "<=", "!=", "^", "~"])
COMPARATORS = st.builds(lambda operator, version: f"{operator}{version}", OPERATORS, VERSIONS)
RELEASES = VERSIONS.filter(lambda version: not version.is_prerelease)


@given(VERSIONS, VERSIONS, VERSIONS)
@settings(max_examples=200, deadline=None)
def test_the_order_is_total(a, b, c):
    assert (a < b) + (a == b) + (a > b) == 1
    if a <= b <= c:
        assert a <= c
    if a < b:
        assert semver.Version.parse(a.text).compare(b.text) <= 0


@given(RELEASES, RELEASES)
@settings(max_examples=100, deadline=None)
def test_comparators_agree_with_the_order(version, bound):
    def contains(operator: str) -> bool:
        return VersionRange.parse(f"{operator}{bound}").contains(version)

    assert contains(">=") == (version >= bound) == (not contains("<"))
    assert contains("<=") == (version <= bound) == (not contains(">"))
    assert contains("=") == (version == bound) == (not contains("!="))


@given(COMPARATORS, COMPARATORS, RELEASES)
@settings(max_examples=200, deadline=None)
def test_commas_intersect_and_bars_unite(a, b, version):
    in_a, in_b = (VersionRange.parse(text).contains(version) for text in (a, b))
    assert VersionRange.parse(f"{a},{b}").contains(version) == (in_a and in_b)
    assert VersionRange.parse(f"{a} {b}").contains(version) == (in_a and in_b)
    assert VersionRange.parse(f"{a} || {b}").contains(version) == (in_a or in_b)


@given(VERSIONS, VERSIONS)
@settings(max_examples=200, deadline=None)
def test_carets_and_tildes_begin_at_their_version_and_tildes_are_narrower(bound, version):
    caret, tilde = VersionRange.parse(f"^{bound}"), VersionRange.parse(f"~{bound}")
    assert caret.contains(bound)
    assert tilde.contains(bound)
    assert not (version < bound and (caret.contains(version) or tilde.contains(version)))
    if bound.release[0] > 0 and tilde.contains(version):
        assert caret.contains(version)


@given(COMPARATORS, VERSIONS)
@settings(max_examples=200, deadline=None)
def test_a_prerelease_needs_a_comparator_with_its_own_numbers(text, version):
    if version.is_prerelease and VersionRange.parse(text).contains(version):
        assert "-" in text
        assert f"{version.release[0]}.{version.release[1]}.{version.release[2]}-" in text


@given(st.text(max_size=30) | st.text(alphabet="sql@0123456789.xX*^~<>=! ,|-+v/", max_size=20))
@settings(max_examples=300, deadline=None)
def test_any_text_is_a_requirement_or_refused(text):
    try:
        requirement = Requirement.parse(text)
    except XpmError:
        return
    assert Requirement.parse(str(requirement)) == requirement
