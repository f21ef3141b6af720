"""What a run found, as tables in Markdown and as JSON."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import asdict
from statistics import fmean
from typing import Any

from xpm_build.bench.context.loss import TOLERATED, borders, reach
from xpm_build.bench.context.run import Answered, Results, losses, tokens_per_s


def document(results: Results) -> dict[str, Any]:
    """Everything, with what is reckoned of it."""
    lengths = sorted(set(results.options.lengths))
    found = losses(results)
    speeds = {length: tokens_per_s(results, length) for length in lengths}
    return {
        "base": results.base,
        "kernels": results.kernels,
        "max_positions": results.max_positions,
        "options": {**asdict(results.options), "text": str(results.options.text or "")},
        "is_stopped": results.is_stopped,
        "loss": {str(length): round(value, 4) for length, value in found.items()},
        "reach": reach(found),
        "prefill_tok_s": {str(each): round(speed, 1) for each, speed in speeds.items() if not math.isnan(speed)},
        "memory": {str(length): value for length, value in results.memory.items()},
        "answered": [asdict(each) for each in results.answered],
        "foretold": [asdict(each) for each in results.foretold],
    }


def markdown(results: Results) -> str:
    """Tables: by length, by depth, by position."""
    lengths = sorted(set(results.options.lengths))
    parts = [_head(results), _by_length(results, lengths)]
    if by_depth := _by_depth(results, lengths):
        parts.append(by_depth)
    if by_position := _by_position(results, lengths):
        parts.append(by_position)
    return "\n\n".join([*parts, _conclusion(results)])


def _head(results: Results) -> str:
    options = results.options
    rope = f", RoPE {options.rope}" if options.rope else ""
    cache = f", cache {options.cache}" if options.cache else ""
    stopped = "; stopped before the end" if results.is_stopped else ""
    return (
        f"{results.base}, made for {results.max_positions:,} positions, {results.kernels} kernels{rope}{cache}; "
        f"seed {options.seed}, {options.cases} cases of each task, {options.windows} windows of text{stopped}."
    )


def _by_length(results: Results, lengths: Sequence[int]) -> str:
    """A row for each length: how many are right (and of several things, which share), loss, speed, memory."""
    tasks, found = results.options.tasks, losses(results)
    first, shortest = tokens_per_s(results, lengths[0]), lengths[0]
    head = [
        "tokens",
        *tasks,
        "loss of the same tokens",
        f"against {shortest:,}",
        "prefill tok/s",
        f"of that at {shortest:,}",
        "MB by formula",
        "MB resident",
    ]
    rows = []
    for length in lengths:
        speed, memory = tokens_per_s(results, length), results.memory.get(length, {})
        loss = found.get(length)
        rows.append(
            [
                f"{length:,}",
                *(_score([a for a in results.answered if (a.task, a.length) == (task, length)]) for task in tasks),
                "" if loss is None else f"{loss:.3f}",
                "" if loss is None else f"{loss / found[shortest] - 1:+.1%}",
                "" if math.isnan(speed) else f"{speed:,.0f}",
                "" if math.isnan(speed / first) else f"{speed / first:.0%}",
                *(f"{memory[part] / 1e6:,.0f}" if part in memory else "" for part in ("formula", "resident")),
            ]
        )
    return _table(head, rows)


def _by_depth(results: Results, lengths: Sequence[int]) -> str:
    """For tasks that look for one thing: how many are right, by where it lies."""
    placed = [each for each in results.answered if each.depth is not None]
    depths = sorted({each.depth for each in placed if each.depth is not None})
    rows = []
    for task in dict.fromkeys(each.task for each in placed):
        for length in lengths:
            own = [each for each in placed if (each.task, each.length) == (task, length)]
            rows.append([task, f"{length:,}", *(_score([a for a in own if a.depth == depth]) for depth in depths)])
    return _table(["task", "tokens", *(f"at {depth:.0%}" for depth in depths)], rows) if rows else ""


def _by_position(results: Results, lengths: Sequence[int]) -> str:
    """Loss by position in the longest windows."""
    found = [each.by_position for each in results.foretold if each.length == lengths[-1]]
    if not found:
        return ""
    places = borders(lengths[-1])
    head = [f"{first:,} to {last - 1:,}" for first, last in itertools.pairwise(places)]
    return _table(["loss at positions", *head], [["", *(f"{fmean(each):.3f}" for each in zip(*found, strict=True))]])


def _conclusion(results: Results) -> str:
    found = losses(results)
    if not found:
        return "No loss was measured, so nothing is said of the reach."
    shortest = min(found)
    if len(found) == 1:
        return "One length says nothing of the reach."
    far = reach(found)
    whole = " (the longest that was measured)" if far == max(found) else ""
    return (
        f"Reach: {far:,} tokens{whole}; up to there the loss is less than {TOLERATED:.0%} above that at {shortest:,} "
        "tokens."
    )


def _score(answered: Sequence[Answered]) -> str:
    """How many are right; where several things are wanted, the share of them that was found as well."""
    if not answered:
        return ""
    right = f"{sum(each.share == 1 for each in answered)}/{len(answered)}"
    if len(answered[0].wanted) == 1:
        return right
    return f"{right} ({fmean(each.share for each in answered):.0%} found)"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("|" + "".join(f" {cell} |" if cell else " |" for cell in line) for line in lines)
