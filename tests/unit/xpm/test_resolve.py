"""The resolver: pure, so told in worlds of a few lines."""

import re

import pytest

from xpm.errors import BaseMismatchError, ResolutionError
from xpm.resolve import resolve
from xpm_index.entries import ArchiveRef, Entry, Yanked
from xpm_index.names import spellings
from xpm_index.requirements import Requirement
from xpm_index.versions import Version

BASE = "sha256:" + "b" * 64
OTHER_BASE = "sha256:" + "c" * 64


class World:
    """Published versions: ``world.serve("a", "1.0.0", requires=["b@^1"])``."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []

    def serve(
        self, name, version, *, requires=(), incompatible=(), base=BASE, load_order=5, yanked=False, publisher="p"
    ):
        ref = ArchiveRef(base="tiny", base_digest=base, variant="", digest="sha256:" + "d" * 64, size=1, sources=())
        self.entries.append(
            Entry(
                name=name, version=Version.parse(version), kind="expert", description="", publisher=publisher, key_id="k",
                published_at="2026-01-01T00:00:00Z", archives=(ref,), load_order=load_order,
                requires=tuple(map(Requirement.parse, requires)),
                incompatible_with=tuple(map(Requirement.parse, incompatible)),
                yanked=Yanked(reason="bad") if yanked else None,
            )
        )  # fmt: skip
        return self

    def resolve(self, *requirements, locked=()):
        chosen = resolve(
            [Requirement.parse(text) for text in requirements],
            lambda name: [entry for entry in self.entries if entry.name in spellings(name)],
            base="tiny", base_digest=BASE, locked={name: Version.parse(version) for name, version in locked},
        )  # fmt: skip
        return [f"{entry.name} {entry.version}" for entry in chosen]


@pytest.fixture
def world():
    return World()


def test_takes_the_newest(world):
    world.serve("a", "1.0.0").serve("a", "1.10.0").serve("a", "1.9.0")
    assert world.resolve("a") == ["a 1.10.0"]


def test_prefers_what_is_locked(world):
    world.serve("a", "1.0.0").serve("a", "1.1.0")
    assert world.resolve("a", locked=[("a", "1.0.0")]) == ["a 1.0.0"]
    assert world.resolve("a@>1.0", locked=[("a", "1.0.0")]) == ["a 1.1.0"]


def test_prereleases_only_when_asked_for(world):
    world.serve("a", "1.0.0").serve("a", "2.0.0-rc.1")
    assert world.resolve("a") == ["a 1.0.0"]
    assert world.resolve("a@>=2.0.0-rc.1") == ["a 2.0.0-rc.1"]


def test_yanked_only_if_locked(world):
    world.serve("a", "1.0.0").serve("a", "1.1.0", yanked=True)
    assert world.resolve("a") == ["a 1.0.0"]
    assert world.resolve("a", locked=[("a", "1.1.0")]) == ["a 1.1.0"]
    with pytest.raises(ResolutionError, match="no such version") as caught:
        world.resolve("a@1.1.0")
    assert "1.1.0 (yanked)" in caught.value.context


def test_the_short_and_the_long_name_are_one_expert(world):
    world.serve("expert-a", "1.0.0").serve("b", "1.0.0", requires=["a@^1"])
    assert world.resolve("a", "b", "expert-a") == ["expert-a 1.0.0", "b 1.0.0"]


def test_a_publisher_can_be_named(world):
    world.serve("a", "1.0.0", publisher="p")
    assert world.resolve("p/a") == ["a 1.0.0"]
    with pytest.raises(ResolutionError):
        world.resolve("q/a")


def test_goes_back_to_an_older_version_that_fits(world):
    world.serve("a", "2.0.0", requires=["b@^2"]).serve("a", "1.0.0", requires=["b@^1"])
    world.serve("b", "1.5.0").serve("b", "2.5.0")
    assert world.resolve("b@<2", "a") == ["b 1.5.0", "a 1.0.0"]


def test_a_conflict_names_both_sides(world):
    world.serve("a", "1.0.0", requires=["c@^1"]).serve("b", "1.0.0", requires=["c@^2"])
    world.serve("c", "1.0.0").serve("c", "2.0.0")
    with pytest.raises(ResolutionError, match=re.escape("b 1.0.0 needs c@^2, but 1.0.0 was chosen")):
        world.resolve("a", "b")


def test_incompatibility_holds_in_both_directions(world):
    world.serve("a", "1.0.0", incompatible=["b@<2"]).serve("b", "1.0.0").serve("b", "2.0.0")
    assert world.resolve("a", "b") == ["a 1.0.0", "b 2.0.0"]
    for order in (("a", "b@<2"), ("b@<2", "a")):
        with pytest.raises(ResolutionError, match=re.escape("a 1.0.0 is incompatible with b@<2")):
            world.resolve(*order)


def test_unknown_names_hint_at_the_search(world):
    with pytest.raises(ResolutionError, match="which no index has") as caught:
        world.resolve("nobody")
    assert "xpm search" in caught.value.hint


def test_another_base_is_told_by_name(world):
    world.serve("a", "1.0.0", base=OTHER_BASE)
    with pytest.raises(BaseMismatchError, match="no archive for the base tiny") as caught:
        world.resolve("a")
    assert caught.value.exit_code == 4


def test_composition_order_is_requirements_then_load_order_then_name(world):
    world.serve("z", "1.0.0", load_order=1).serve("y", "1.0.0", load_order=5).serve("x", "1.0.0", load_order=5)
    world.serve("first", "1.0.0", load_order=1, requires=["late"]).serve("late", "1.0.0", load_order=9)
    assert world.resolve("x", "y", "z", "first") == ["late 1.0.0", "first 1.0.0", "z 1.0.0", "x 1.0.0", "y 1.0.0"]


def test_a_circle_is_printed(world):
    world.serve("a", "1.0.0", requires=["b"]).serve("b", "1.0.0", requires=["c"]).serve("c", "1.0.0", requires=["a"])
    with pytest.raises(ResolutionError, match="in a circle") as caught:
        world.resolve("a")
    assert caught.value.context == "a → b → c → a"


def test_eleven_are_one_too_many(world):
    for number in range(11):
        world.serve(f"e{number}", "1.0.0")
    assert len(world.resolve(*(f"e{number}" for number in range(10)))) == 10
    with pytest.raises(ResolutionError, match="11 experts are needed, at most 10"):
        world.resolve(*(f"e{number}" for number in range(11)))
