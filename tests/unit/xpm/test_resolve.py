"""The resolver: pure, so told in worlds of a few lines."""

import pytest

from tests.support.framework import framework
from tests.support.world import World
from xpm.errors import BaseMismatchError, ResolutionError
from xpm.resolve import suggest
from xpm.resolve.facts import Facts
from xpm.resolve.solver import Solver


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


def test_yanked_only_if_locked_or_named_exactly(world):
    world.serve("a", "1.0.0").serve("a", "1.1.0", yanked=True).serve("b", "1.0.0", requires=["a@=1.1.0"])
    assert world.resolve("a") == ["a 1.0.0"]
    assert world.resolve("a", locked=[("a", "1.1.0")]) == ["a 1.1.0"]
    assert world.resolve("a@=1.1.0") == world.resolve("a@1.1.0") == ["a 1.1.0"]
    assert world.resolve("a", overrides={"a": "=1.1.0"}) == ["a 1.1.0"]
    for not_exact in ("a@>=1.1.0", "a@~1.1.0", "a@=1.1.0 || =1.2.0"):
        with pytest.raises(ResolutionError):
            world.resolve(not_exact)
    with pytest.raises(ResolutionError) as caught:
        world.resolve("b")
    assert "a 1.1.0 is yanked" in caught.value.context


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
    with pytest.raises(ResolutionError, match="a and b can't be had together") as caught:
        world.resolve("a", "b")
    assert "a 1.0.0 needs c@^1" in caught.value.context
    assert "b 1.0.0 needs c@^2" in caught.value.context


def test_incompatibility_holds_in_both_directions(world):
    world.serve("a", "1.0.0", incompatible=["b@<2"]).serve("b", "1.0.0").serve("b", "2.0.0")
    assert world.resolve("a", "b") == ["a 1.0.0", "b 2.0.0"]
    for order in (("a", "b@<2"), ("b@<2", "a")):
        with pytest.raises(ResolutionError) as caught:
            world.resolve(*order)
        assert "a 1.0.0 is incompatible with b@<2" in caught.value.context


def test_unknown_names_hint_at_the_search(world):
    with pytest.raises(ResolutionError, match="nobody can't be had") as caught:
        world.resolve("nobody")
    assert caught.value.context == "the project needs nobody, which no index has."
    assert "xpm search" in caught.value.hint
    assert caught.value.unknown == ("nobody",)


def test_another_base_is_told_by_name(world):
    world.serve("a", "1.0.0", bases=["huge 1.0.0"])
    with pytest.raises(BaseMismatchError) as caught:
        world.resolve("a")
    assert "a 1.0.0 has no archive for tiny" in caught.value.context
    assert caught.value.hint == "a 1.0.0 is for huge"
    assert caught.value.exit_code == 4


def test_the_newest_base_for_which_everything_is_there(world):
    world.serve_base("tiny", "1.0.0").serve_base("tiny", "2.0.0")
    world.serve("a", "1.0.0", bases=["tiny 1.0.0"]).serve("b", "1.0.0", bases=["tiny 1.0.0", "tiny 2.0.0"])
    assert str(world.solve("a", "b").base.version) == "1.0.0"
    assert str(world.solve("b").base.version) == "2.0.0"


def test_composition_order_is_requirements_then_load_order_then_name(world):
    world.serve("z", "1.0.0", load_order=1).serve("y", "1.0.0", load_order=5).serve("x", "1.0.0", load_order=5)
    world.serve("first", "1.0.0", load_order=1, requires=["late"]).serve("late", "1.0.0", load_order=9)
    assert world.resolve("x", "y", "z", "first") == ["z 1.0.0", "x 1.0.0", "y 1.0.0", "late 1.0.0", "first 1.0.0"]


def test_a_circle_is_printed(world):
    world.serve("a", "1.0.0", requires=["b"]).serve("b", "1.0.0", requires=["c"]).serve("c", "1.0.0", requires=["a"])
    with pytest.raises(ResolutionError) as caught:
        world.resolve("a")
    assert "a → b → c → a" in caught.value.context


def test_a_circle_is_avoided_by_an_older_version(world):
    world.serve("a", "1.0.0", requires=["b"]).serve("b", "2.0.0", requires=["a"]).serve("b", "1.0.0")
    assert world.resolve("a") == ["b 1.0.0", "a 1.0.0"]


def test_what_followed_from_a_version_follows_again_after_going_back(world):
    """a is needed by d's only version, found so before c 1.1.0 fails for want of b."""
    world.serve_base("tiny", "1.0.0").serve_base("tiny", "2.0.0")
    world.serve("a", "1.0.0", yanked=True).serve("a", "1.1.0").serve("b", "1.0.0", yanked=True)
    world.serve("c", "1.0.0").serve("c", "1.1.0", requires=["b@*"]).serve("c", "2.0.0", yanked=True)
    world.serve("d", "1.0.0", requires=["a@*", "c@*"])
    assert world.resolve("d") == ["a 1.1.0", "c 1.0.0", "d 1.0.0"]


def test_hard_conflicts_end_soon(world):
    """Where plain backtracking tries every combination, the first conflict rules out all of them."""
    for name in "abcdefgh":
        for version in range(8):
            world.serve(name, f"{version}.0.0", requires=["x@^1"])
    world.serve("y", "1.0.0", requires=["x@^2"])
    world.serve("x", "1.0.0").serve("x", "2.0.0")
    with pytest.raises(ResolutionError):
        world.resolve(*"abcdefgh", "y")


class Counting(Facts):
    """Counts the versions that are looked at."""

    num_looks = 0

    def of_version(self, package, version):
        self.num_looks += 1
        return super().of_version(package, version)


@pytest.fixture(scope="module")
def large():
    made = framework()
    by_name = {name: [e for e in made.entries if e.name == name] for name in {e.name for e in made.entries}}
    by_name["tiny"] = made.candidates("tiny")
    return made, lambda name: by_name.get(name, [])


@pytest.mark.parametrize(
    "wanted",
    [
        ("frame", "compat"),
        ("compat", "frame"),
        ("frame", "plugin-39", "plugin-20", "compat"),
        ("plugin-39", "plugin-38", "plugin-37", "compat", "frame"),
    ],
)
def test_a_framework_is_not_taken_back_years_for_the_newest_of_a_part(large, wanted):
    """In whatever order they are wished for: what rules out hundreds of versions gives way, and is found out soon."""
    made, candidates = large
    facts = Counting(made.problem(*wanted), candidates)
    chosen = {package.name: str(entry.version) for package, entry in Solver(facts).solve().items()}
    assert chosen["frame"] >= "7.1"
    assert chosen["compat"] == "2.1.2"
    assert facts.num_looks < 400


def test_what_is_locked_does_not_give_way(world):
    for minor in range(9):
        world.serve("b", f"1.{minor}.0", requires=["c@=2"])
    world.serve("b", "0.9.0", requires=["c@*"]).serve("c", "1.0.0").serve("c", "2.0.0").serve("a", "1.0.0")
    assert world.resolve("c", "b") == ["c 2.0.0", "b 1.8.0"]
    assert world.resolve("c", "b", locked=[("c", "1.0.0")]) == ["c 1.0.0", "b 0.9.0"]


def test_suggestions_are_tried_before_they_are_made(world):
    world.serve("a", "1.0.0", requires=["b@^2"]).serve("b", "1.0.0").serve("b", "2.1.0")
    problem = world.problem("b@^1", "a", asked=["a"])
    ways = suggest(problem, world.candidates, clock=lambda: 0.0)
    assert [way.command for way in ways] == ["xpm install a 'b@^2.1.0'", "xpm uninstall b && xpm install a"]
    ticks = iter([0.0, 5.0])
    assert suggest(problem, world.candidates, clock=lambda: next(ticks)) == ()


def test_eleven_are_one_too_many(world):
    for number in range(11):
        world.serve(f"e{number}", "1.0.0")
    assert len(world.resolve(*(f"e{number}" for number in range(10)))) == 10
    with pytest.raises(ResolutionError, match="11 experts are needed, at most 10"):
        world.resolve(*(f"e{number}" for number in range(11)))


def test_fewer_if_an_expert_says_so(world):
    world.serve("a", "1.0.0", max_chain=1).serve("b", "1.0.0")
    assert world.resolve("a") == ["a 1.0.0"]
    with pytest.raises(ResolutionError, match="2 experts are needed, at most 1"):
        world.resolve("a", "b")
