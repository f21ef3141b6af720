"""Experts that act from a point of the prompt on: activated LoRA, as PEFT trains it (Greenewald et
al. 2025, arXiv:2504.12397).

Before the last place where its invocation tokens stand such an expert changes nothing, so keys and values there
are the base's own, whichever expert comes next: a conversation that is handed from one to another computes nothing
of what came before anew.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from xpm_runtime.adapter import Invocation
from xpm_runtime.slots import Acting


@dataclass(frozen=True, slots=True)
class Stage:
    """What acts on the tokens from ``first`` on, until the next stage begins."""

    first: int
    acting: Acting


def stages_of(
    acting: Acting, invocations: Mapping[str, Invocation], ids: Sequence[int], *, num_soft: int = 0
) -> tuple[Stage, ...]:
    """The stages of a prompt, the first from 0 on; an expert whose invocation does not stand in it acts in none.

    Args:
        invocations: the tokens that invoke an expert, by its name, () for one that acts everywhere.
        ids: those of the prompt, without the ``num_soft`` tokens of soft prompts before them.
    """
    begins: dict[str, int] = {}
    for name, _ in acting:
        invocation = invocations[name]
        found = _last_place(ids, invocation) if invocation else -num_soft
        if found is not None:
            begins[name] = num_soft + found
    borders = sorted({0, *begins.values()})
    return tuple(
        Stage(border, tuple(each for each in acting if begins.get(each[0], border + 1) <= border)) for border in borders
    )


def parts_of(stages: Sequence[Stage], start: int, stop: int) -> Iterator[tuple[int, int, Acting]]:
    """(first, end, what acts on them) of the tokens ``start : stop``, as few parts as there are stages in them."""
    ends = [*(stage.first for stage in stages[1:]), stop]
    for stage, end in zip(stages, ends, strict=True):
        first, last = max(start, stage.first), min(stop, end)
        if first < last:
            yield first, last, stage.acting


def _last_place(ids: Sequence[int], invocation: Invocation) -> int | None:
    size = len(invocation)
    places = range(len(ids) - size, -1, -1)
    return next((place for place in places if tuple(ids[place : place + size]) == invocation), None)
