"""The resolver's answers and explanations, word for word.

Each file holds a world and questions to it. ``XPM_GOLDEN=write`` rewrites the answers: read the
difference before you commit it.
"""

import os
import re
import shlex
from pathlib import Path

import pytest

from tests.support.world import World
from xpm.errors import ResolutionError
from xpm.resolve import suggest

FILES = sorted((Path(__file__).parent / "resolver").glob("*.txt"))
_WORDS = (
    "requires",
    "incompatible",
    "optional",
    "bases",
    "variants",
    "published",
    "publisher",
    "order",
    "tier",
    "chain",
    "yanked",
)


def parse_world(lines: list[str]) -> World:
    """``expert-a 1.0.0 requires b@^1 c incompatible d@<2 yanked`` and ``base tiny 1.0.0 variants fp32 int4``."""
    world = World()
    for line in lines:
        head, *rest = re.split(rf" (?={'|'.join(_WORDS)}\b)", line.strip())
        values: dict[str, list[str]] = {}
        for part in rest:
            word, *items = part.split()
            values[word] = items
        options: dict[str, object] = {"yanked": "yanked" in values}
        if "published" in values:
            options["published"] = values["published"][0] + "T00:00:00Z"
        if head.startswith("base "):
            name, version = head.removeprefix("base ").split()
            world.serve_base(name, version, variants=tuple(values.get("variants", ["fp32"])), **options)
            continue
        name, version = head.split()
        names = {
            "order": ("load_order", int),
            "chain": ("max_chain", int),
            "tier": ("tier", str),
            "publisher": ("publisher", str),
        }
        options |= {key: kind(values[word][0]) for word, (key, kind) in names.items() if word in values}
        if "bases" in values:
            options["bases"] = tuple(each.replace(":", " ") for each in values["bases"])
        for word in ("requires", "incompatible", "optional"):
            options[word] = tuple(values.get(word, ()))
        world.serve(name, version, **options)
    return world


def answer(world: World, question: str) -> str:
    """What the resolver says to ``a b@^1 --base tiny@^1 --variant int4 --locked a=1.0.0 --override b=^2 --oldest``."""
    requirements, options = [], {"locked": [], "overrides": {}, "asked": []}
    words = iter(shlex.split(question))
    for word in words:
        if word == "--oldest":
            options["prefer_oldest"] = True
        elif word == "--newer":
            options["exclude_newer"] = next(words) + "T00:00:00Z"
        elif word in ("--base", "--variant"):
            options[word[2:]] = next(words)
        elif word == "--asked":
            options["asked"].append(next(words))
        elif word in ("--locked", "--override"):
            name, _, value = next(words).partition("=")
            options["locked"].append((name, value)) if word == "--locked" else options["overrides"].update(
                {name: value}
            )
        else:
            requirements.append(word)
    problem = world.problem(*requirements, **options)
    try:
        found = world.solve(*requirements, **options)
    except ResolutionError as error:
        ways = suggest(problem, world.candidates, clock=lambda: 0.0)
        lines = [f"error[{error.code}]: {error}", *(f"  {line}" for line in (error.context or "").splitlines())]
        return "\n".join([*lines, f"hint: {error.hint}", *(f"try: {way.command}  # {way.effect}" for way in ways)])
    return "\n".join(
        [f"on {found.base.name} {found.base.version}", *(f"  {e.name} {e.version}" for e in found.experts)]
    )


def read_cases(path: Path) -> tuple[list[str], list[tuple[str, str]]]:
    """(the lines of the world, (question, recorded answer) …)."""
    world, *cases = re.split(r"^> ", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    lines = [line for line in world.splitlines() if line.strip() and not line.startswith("#")]
    return lines, [(case.partition("\n")[0], case.partition("\n")[2].strip("\n")) for case in cases]


CASES = [(path, question) for path in FILES for question, _ in read_cases(path)[1]]


@pytest.mark.parametrize(("path", "question"), CASES, ids=lambda each: each.stem if isinstance(each, Path) else each)
def test_answer(path, question):
    lines, cases = read_cases(path)
    assert answer(parse_world(lines), question) == dict(cases)[question]


def test_there_are_many_and_each_is_asked_once():
    assert len(CASES) >= 100
    assert len(set(CASES)) == len(CASES)


def write() -> None:
    for path in FILES:
        lines, cases = read_cases(path)
        head = path.read_text(encoding="utf-8").partition("\n> ")[0].rstrip("\n")
        world = parse_world(lines)
        text = "".join(f"\n> {question}\n{answer(world, question)}\n" for question, _ in cases)
        path.write_text(f"{head}\n{text}", encoding="utf-8")


if os.environ.get("XPM_GOLDEN") == "write":
    write()
