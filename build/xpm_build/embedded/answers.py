"""Ask a base, with or without an expert, every held-back case through the engine: what a user would get."""

from collections.abc import Sequence
from pathlib import Path

from xpm_build.embedded.evaluation import Score, held_back_cases, judge
from xpm_build.embedded.examples import Example
from xpm_build.embedded.experts import Recipe
from xpm_runtime import AdapterSpec, Engine, Request, SamplingParams

_MAX_TOKENS = 256
_NUM_ROWS = 8


def evaluate(recipe: Recipe, base: Path, slots: Path) -> tuple[Score, Score]:
    """Judge the base with the expert, and the base alone, on the same cases.

    Args:
        base: an exported base's folder.
        slots: the expert's compiled ``slots.safetensors``.
    Returns:
        (with the expert, without it).
    """
    cases = held_back_cases(recipe.make)
    with Engine.load(base, max_lanes=_NUM_ROWS) as engine:
        engine.attach(AdapterSpec.read(recipe.name, slots))
        expert = judge(cases, _answers(engine, cases, (recipe.name,)), recipe.is_right)
        alone = judge(cases, _answers(engine, cases, ()), recipe.is_right)
    return expert, alone


def _answers(engine: Engine, cases: Sequence[Example], experts: tuple[str, ...]) -> list[str]:
    sampling = SamplingParams(max_tokens=_MAX_TOKENS)
    requests = [Request(prompt=case.prompt, experts=experts, sampling=sampling) for case in cases]
    return [result.text for result in engine.generate_batch(requests)]


def describe(recipe: Recipe, expert: Score, alone: Score) -> str:
    """The figures as a small table."""
    lines = [
        f"{recipe.name}: {recipe.metric} on {expert.num_cases} held-back cases",
        f"  {'':12}{'expert':>14}{'base alone':>14}",
        f"  {'all':12}{_cell(expert.num_right, expert.num_cases):>14}{_cell(alone.num_right, alone.num_cases):>14}",
    ]
    for family, (right, asked) in expert.by_family.items():
        lines.append(f"  {family:12}{_cell(right, asked):>14}{_cell(alone.by_family[family][0], asked):>14}")
    return "\n".join(lines)


def _cell(right: int, asked: int) -> str:
    return f"{right}/{asked} {100 * right / asked:.1f}%"
