"""One training loop for the base and for the adapters: AdamW, warm-up and cosine, bf16 autocast, length buckets.

Deterministic from its seed on one machine and thread count. Knows nothing of tasks: it is given a function that draws
documents. Progress (step, loss, tokens/s, time left) goes to stderr.
"""

import math
import random
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from tokenizers import Tokenizer

from xpm_build.embedded.corpus import Document

_IGNORED = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingPlan:
    """``batch_tokens`` bounds a batch after padding; ``given_weight`` is the loss weight of text a document conditions on."""

    steps: int
    learning_rate: float
    batch_tokens: int = 6144
    given_weight: float = 0.0
    warmup_steps: int = 100
    weight_decay: float = 0.01
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Batch:
    """``tokens`` int64 (rows, length); ``weights`` float32 (rows, length): the loss weight of predicting that token."""

    tokens: torch.Tensor
    weights: torch.Tensor


def train(
    model: torch.nn.Module, tokenizer: Tokenizer, draw: Callable[[random.Random], Document], plan: TrainingPlan
) -> float:
    """Train the parameters of ``model`` that require a gradient; return the mean loss of the last 50 steps."""
    torch.manual_seed(plan.seed)
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(
        parameters, lr=plan.learning_rate, betas=(0.9, 0.98), weight_decay=plan.weight_decay, fused=True
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _warmup_then_cosine(step, plan))
    losses: list[float] = []
    started, seen = time.monotonic(), 0
    model.train()
    for step, batch in zip(range(1, plan.steps + 1), _batches(tokenizer, draw, plan), strict=False):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            logits = model(input_ids=batch.tokens).logits[:, :-1]
        loss = _weighted_loss(logits, batch)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        schedule.step()
        losses.append(float(loss.detach()))
        seen += batch.tokens.numel()
        if step % 50 == 0 or step == plan.steps:
            _report(step, plan, losses, seen / (time.monotonic() - started), time.monotonic() - started)
    model.eval()
    return sum(losses[-50:]) / len(losses[-50:])


def _warmup_then_cosine(step: int, plan: TrainingPlan) -> float:
    if step < plan.warmup_steps:
        return (step + 1) / plan.warmup_steps
    progress = (step - plan.warmup_steps) / max(1, plan.steps - plan.warmup_steps)
    return 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * progress))


def _weighted_loss(logits: torch.Tensor, batch: Batch) -> torch.Tensor:
    weights = batch.weights[:, 1:].reshape(-1)
    counted = weights.nonzero().squeeze(1)
    picked = logits.reshape(-1, logits.shape[-1])[counted].float()
    losses = torch.nn.functional.cross_entropy(picked, batch.tokens[:, 1:].reshape(-1)[counted], reduction="none")
    weights = weights[counted]
    return (losses * weights).sum() / weights.sum()


def _batches(tokenizer: Tokenizer, draw: Callable[[random.Random], Document], plan: TrainingPlan) -> Iterator[Batch]:
    """Endless batches of documents of like length, in random order."""
    rng = random.Random(plan.seed)
    while True:
        documents = sorted((_encode(tokenizer, draw(rng)) for _ in range(2048)), key=lambda pair: len(pair[0]))
        groups: list[list[tuple[list[int], int]]] = [[]]
        for tokens, num_given in documents:
            if (len(groups[-1]) + 1) * len(tokens) > plan.batch_tokens:
                groups.append([])
            groups[-1].append((tokens, num_given))
        rng.shuffle(groups)
        for group in groups:
            yield _pad(group, plan.given_weight)


def _encode(tokenizer: Tokenizer, document: Document) -> tuple[list[int], int]:
    given = tokenizer.encode(document.given).ids
    return given + tokenizer.encode(document.written).ids, len(given)


def _pad(group: list[tuple[list[int], int]], given_weight: float) -> Batch:
    length = max(len(tokens) for tokens, _ in group)
    tokens_out = torch.zeros((len(group), length), dtype=torch.int64)
    weights = torch.full((len(group), length), _IGNORED)
    for row, (tokens, num_given) in enumerate(group):
        tokens_out[row, : len(tokens)] = torch.tensor(tokens)
        weights[row, :num_given] = given_weight
        weights[row, num_given : len(tokens)] = 1.0
    return Batch(tokens=tokens_out, weights=weights)


def _report(step: int, plan: TrainingPlan, losses: list[float], tokens_per_s: float, elapsed_s: float) -> None:
    left_s = elapsed_s / step * (plan.steps - step)
    recent = sum(losses[-50:]) / len(losses[-50:])
    sys.stderr.write(
        f"step {step}/{plan.steps}  loss {recent:.4f}  {tokens_per_s:,.0f} tokens/s  {left_s / 60:.1f} min left\n"
    )
    sys.stderr.flush()
