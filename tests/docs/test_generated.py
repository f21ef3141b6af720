"""What the documentation says of the program is what the program is now."""

import pytest

from tests.docs.generated import ROOT, between, wanted


@pytest.mark.parametrize(("path", "text"), [pytest.param(*each, id=each[0].name) for each in wanted().items()])
def test_what_is_generated_is_not_stale(path, text):
    assert path.read_text(encoding="utf-8") == text, f"write {path.relative_to(ROOT)} anew with `python -m tests.docs`"


def test_a_page_without_its_place_is_refused():
    with pytest.raises(ValueError, match="0 places for the knobs"):
        between("nothing", "the knobs", "| |")


def test_every_option_says_what_it_means():
    (page,) = (text for path, text in wanted().items() if path.name == "cli.md")
    assert [line for line in page.splitlines() if line.startswith("| `-") and line.endswith("| |")] == []
