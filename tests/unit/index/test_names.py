"""Names, namespaces and requirements."""

import pytest

from xpm_index.errors import InvalidName, InvalidVersion
from xpm_index.names import MAX_NAME_LENGTH, ExpertName, spellings, validate_name
from xpm_index.requirements import Requirement
from xpm_index.versions import Version


@pytest.mark.parametrize("name", ["a", "0", "sql", "expert-sql", "qwen3-0-6b", "a--b", "a" * MAX_NAME_LENGTH])
def test_good_names(name):
    assert validate_name(name) == name


@pytest.mark.parametrize(
    "name", ["", "-", "-a", "a-", "A", "a_b", "a.b", "a b", "a\n", "é", "а", "a/b", "../a", "a" * (MAX_NAME_LENGTH + 1)]
)
def test_bad_names(name):
    with pytest.raises(InvalidName):
        validate_name(name)


def test_an_error_says_what_is_badly_named():
    with pytest.raises(InvalidName, match="'X' is not a valid publisher"):
        ExpertName.parse("X/sql")


def test_expert_names_have_an_optional_namespace():
    assert ExpertName.parse("acme/expert-sql") == ExpertName("expert-sql", "acme")
    assert ExpertName.parse("sql") == ExpertName("sql")
    assert str(ExpertName.parse("acme/expert-sql")) == "acme/expert-sql"


@pytest.mark.parametrize("text", ["/sql", "acme/", "a/b/c", "//", " sql"])
def test_malformed_expert_names(text):
    with pytest.raises(InvalidName):
        ExpertName.parse(text)


def test_both_spellings_stand_for_each_other():
    assert spellings("sql") == ("sql", "expert-sql")
    assert spellings("expert-sql") == ("expert-sql", "sql")
    assert ExpertName.parse("acme/sql").spellings() == ("sql", "expert-sql")


@pytest.mark.parametrize(
    ("text", "name", "accepted", "refused", "canonical"),
    [
        ("sql", "sql", "0.0.1", None, "sql"),
        ("sql@", "sql", "9.9.9", None, "sql"),
        ("sql@*", "sql", "9.9.9", None, "sql"),
        ("sql@1.2.3", "sql", "1.2.3", "1.2.4", "sql@1.2.3"),
        ("acme/sql@^1.2", "acme/sql", "1.9.0", "2.0.0", "acme/sql@^1.2"),
        ("expert-sql@>=1.0,<2", "expert-sql", "1.0.0", "2.0.0", "expert-sql@>=1.0,<2"),
        ("expert-sql<=0.9.0", "expert-sql", "0.9.0", "0.9.1", "expert-sql@<=0.9.0"),
        ("expert-sql >= 1.0", "expert-sql", "1.0.0", "0.9.0", "expert-sql@>= 1.0"),
        ("sql~1.2.3", "sql", "1.2.9", "1.3.0", "sql@~1.2.3"),
        (" sql @ ^1 ", "sql", "1.0.0", "2.0.0", "sql@^1"),
    ],
)
def test_requirements(text, name, accepted, refused, canonical):
    requirement = Requirement.parse(text)
    assert str(requirement.name) == name
    assert requirement.range.contains(Version.parse(accepted))
    assert refused is None or not requirement.range.contains(Version.parse(refused))
    assert str(requirement) == canonical
    assert Requirement.parse(canonical) == requirement


@pytest.mark.parametrize(
    ("text", "error"), [("", InvalidName), ("@1.0", InvalidName), ("SQL@1", InvalidName), ("sql@abc", InvalidVersion)]
)
def test_malformed_requirements(text, error):
    with pytest.raises(error):
        Requirement.parse(text)
