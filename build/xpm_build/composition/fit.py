"""Fitting one scale for each of several experts, so that each keeps its own answers while all of them act.

The loss is the mean, over the experts, of the cross-entropy of their own rows' answers while all act; its gradient goes
to the scales alone. With as few parameters as experts, some dozens of small steps are enough.
"""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from xpm_build.adapter.together import Together, batch_of, encoded
from xpm_build.prompts import load_tokenizer
from xpm_build.rows import Row
from xpm_build.training.data import texts

_TOLD_EVERY = 10
Rows = Mapping[str, Sequence[Row]]
Report = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class FitSettings:
    """``batch_size`` is of each expert's rows in a step. ``learning_rate`` is the first step's,
    and falls to 0 on a line."""

    steps: int = 40
    batch_size: int = 4
    learning_rate: float = 0.05
    max_tokens: int = 512
    seed: int = 1


def fit_scales(
    together: Together, base: Path, rows: Rows, end: str, settings: FitSettings, *, report: Report = lambda text: None
) -> tuple[float, ...]:
    """One scale per expert, at least 0, in the order of ``together.names``: a pure function of its arguments.

    Args:
        rows: expert → rows that it was not trained on.
        end: what every answer ends with.
    """
    tokenizer, rng = load_tokenizer(base), random.Random(settings.seed)
    own_rows = {
        name: encoded(texts(rows[name], tokenizer, end, method="sft"), tokenizer, settings.max_tokens)
        for name in together.names
    }
    scales = torch.full((len(together.names),), len(together.names) ** -0.5, requires_grad=True)
    optimizer = torch.optim.Adam([scales], lr=settings.learning_rate, betas=(0.9, 0.99))
    for step in range(settings.steps):
        optimizer.param_groups[0]["lr"] = settings.learning_rate * (1 - step / settings.steps)
        optimizer.zero_grad()
        total = 0.0
        for own in own_rows.values():
            together.set_scales(scales)
            loss = together.loss(batch_of(rng.sample(own, min(settings.batch_size, len(own))))) / len(own_rows)
            loss.backward()
            total += loss.item()
        optimizer.step()
        with torch.no_grad():
            scales.clamp_(min=0)
        if step % _TOLD_EVERY == 0 or step == settings.steps - 1:
            stated = ", ".join(f"{value:.2f}" for value in scales.tolist())
            report(f"step {step + 1}/{settings.steps}  loss {total:.4f}  scales {stated}")
    return tuple(round(value, 3) for value in scales.tolist())
