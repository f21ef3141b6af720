"""The base's training loop: Muon for the matrices, AdamW for the rest, warm-up and cosine, bf16 autocast,
length buckets; compiled.

Deterministic from its seed on one machine and thread count, also when it is interrupted and goes on. Knows nothing of
tasks: it is given a function that draws documents. Progress (step, loss, tokens/s, time left) goes to stderr.
"""

import math
import os
import random
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers import Tokenizer

from examples.embedded.corpus import Document

_CHECKPOINT_EVERY = 250


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingPlan:
    """``batch_tokens`` bounds a batch after padding; ``given_weight`` is the loss weight of text
    a document conditions on."""

    steps: int
    learning_rate: float
    batch_tokens: int
    given_weight: float
    embedding_learning_rate: float = 1.5e-3
    warmup_steps: int = 100
    weight_decay: float = 0.01
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Batch:
    """``tokens`` int64 (rows, length); ``weights`` float32 (rows, length): the loss weight of predicting that token."""

    tokens: torch.Tensor
    weights: torch.Tensor


Draw = Callable[[random.Random, float], Document]
"""Draws a document; the second argument is how much of the training is done, 0 to 1."""


def train(model: torch.nn.Module, tokenizer: Tokenizer, draw: Draw, plan: TrainingPlan, *, checkpoint: Path) -> float:
    """Train all parameters of ``model``; return the mean loss of the last 50 steps.

    Args:
        checkpoint: written now and then, and read first if it is there.
    """
    torch.manual_seed(plan.seed)
    optimizers = _optimizers(model, plan)
    schedules = [torch.optim.lr_scheduler.LambdaLR(each, lambda step: _schedule(step, plan)) for each in optimizers]
    batches = _Batches(tokenizer, draw, plan)
    losses: list[float] = []
    if checkpoint.is_file():
        state = torch.load(checkpoint, weights_only=False)
        model.load_state_dict(state["model"])
        for part, saved in zip((*optimizers, *schedules), state["parts"], strict=True):
            part.load_state_dict(saved)
        losses = state["losses"]
        if len(losses) < plan.steps:
            batches.skip(len(losses))
    started, seen, first = time.monotonic(), 0, len(losses)
    compiled = torch.compile(model, dynamic=True)
    model.train()
    for step in range(first + 1, plan.steps + 1):
        batch = batches.next()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            logits = compiled(input_ids=batch.tokens).logits[:, :-1]
        loss = _weighted_loss(logits, batch)
        for optimizer in optimizers:
            optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for each in (*optimizers, *schedules):
            each.step()
        losses.append(float(loss.detach()))
        seen += batch.tokens.numel()
        if step % 50 == 0 or step == plan.steps:
            _report(step, plan, losses, seen, time.monotonic() - started, step - first)
        if step % _CHECKPOINT_EVERY == 0:
            parts = [each.state_dict() for each in (*optimizers, *schedules)]
            partial = checkpoint.with_suffix(".partial")
            torch.save({"model": model.state_dict(), "parts": parts, "losses": losses}, partial)
            os.replace(partial, checkpoint)
    model.eval()
    return sum(losses[-50:]) / len(losses[-50:])


def _optimizers(model: torch.nn.Module, plan: TrainingPlan) -> list[torch.optim.Optimizer]:
    """Muon for the layers' matrices, at the learning rate that AdamW would have; AdamW for embeddings and norms.

    Source:
        docs/explanation/embedded.md, "The base": with Muon copying is learned in a quarter of the steps.
    """
    matrices = [each for name, each in model.named_parameters() if each.ndim == 2 and ".layers." in name]
    chosen = {id(each) for each in matrices}
    rest = [each for each in model.parameters() if id(each) not in chosen]
    return [
        torch.optim.Muon(
            matrices,
            lr=plan.learning_rate,
            momentum=0.95,
            weight_decay=plan.weight_decay,
            adjust_lr_fn="match_rms_adamw",
        ),
        torch.optim.AdamW(rest, lr=plan.embedding_learning_rate, betas=(0.9, 0.98), weight_decay=0.0, fused=True),
    ]


def _schedule(step: int, plan: TrainingPlan) -> float:
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


class _Batches:
    """Endless batches of documents of like length, in random order; drawn 1,024 documents at a time."""

    def __init__(self, tokenizer: Tokenizer, draw: Draw, plan: TrainingPlan) -> None:
        self._tokenizer, self._draw, self._plan = tokenizer, draw, plan
        self._rng = random.Random(plan.seed)
        self._groups: list[list[tuple[list[int], int]]] = []
        self._step = 0

    def next(self) -> Batch:
        if not self._groups:
            self._groups = self._draw_groups()
        self._step += 1
        return _pad(self._groups.pop(), self._plan.given_weight)

    def skip(self, steps: int) -> None:
        for _ in range(steps):
            self.next()

    def _draw_groups(self) -> list[list[tuple[list[int], int]]]:
        progress = self._step / self._plan.steps
        documents = sorted(
            (self._encode(self._draw(self._rng, progress)) for _ in range(1024)), key=lambda each: len(each[0])
        )
        groups: list[list[tuple[list[int], int]]] = [[]]
        for tokens, num_given in documents:
            if (len(groups[-1]) + 1) * len(tokens) > self._plan.batch_tokens:
                groups.append([])
            groups[-1].append((tokens, num_given))
        self._rng.shuffle(groups)
        return groups

    def _encode(self, document: Document) -> tuple[list[int], int]:
        given = self._tokenizer.encode(document.given).ids
        return given + self._tokenizer.encode(document.written).ids, len(given)


def _pad(group: list[tuple[list[int], int]], given_weight: float) -> Batch:
    length = max(len(tokens) for tokens, _ in group)
    tokens_out = torch.zeros((len(group), length), dtype=torch.int64)
    weights = torch.zeros((len(group), length))
    for row, (tokens, num_given) in enumerate(group):
        tokens_out[row, : len(tokens)] = torch.tensor(tokens)
        weights[row, :num_given] = given_weight
        weights[row, num_given : len(tokens)] = 1.0
    return Batch(tokens=tokens_out, weights=weights)


def _report(step: int, plan: TrainingPlan, losses: list[float], seen: int, elapsed_s: float, done: int) -> None:
    left_s = elapsed_s / done * (plan.steps - step)
    recent = sum(losses[-50:]) / len(losses[-50:])
    sys.stderr.write(
        f"step {step}/{plan.steps}  loss {recent:.4f}  {seen / elapsed_s:,.0f} tokens/s  {left_s / 60:.1f} min left\n"
    )
    sys.stderr.flush()
