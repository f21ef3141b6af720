"""How long a training step takes: the same adapter and rows, with the head everywhere, only at answers,
and with compiled layers.

    python -m tests.benchmarks.training_step --base FOLDER --data data/train.jsonl

By turns in one process, so that whatever else the machine does, all meet it. ``OMP_NUM_THREADS=1`` for one core.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import torch

from xpm_build.adapter.together import batch_of, encoded
from xpm_build.prompts import end_of_turn, load_tokenizer
from xpm_build.rows import read_sound_rows
from xpm_build.training.adapter import computes_bfloat16, with_adapter
from xpm_build.training.compiled import compile_layers, compiler
from xpm_build.training.data import texts
from xpm_build.training.settings import training_settings
from xpm_build.training.trainer import head_at

_IGNORED = -100
_WARMING = 3
_MOST_TOKENS = 512


def batches(base: Path, data: Path, size: int, count: int) -> list[dict[str, torch.Tensor]]:
    """Rows of like length: token ids, mask and labels, each [rows, tokens]."""
    tokenizer = load_tokenizer(base)
    rows = list(islice(read_sound_rows(data), size * count))
    pairs = encoded(texts(rows, tokenizer, end_of_turn(base, tokenizer), method="sft"), tokenizer, _MOST_TOKENS)
    return [batch_of(pairs[start : start + size]) for start in range(0, len(pairs), size)]


def stepper(base: Path, *, answers_only: bool, compiled: bool) -> Callable[[dict[str, torch.Tensor]], float]:
    """A step of training of a fresh adapter: takes a batch, returns its loss."""
    torch.manual_seed(1)
    settings = training_settings({"training": {"config": {"attn_implementation": "eager"}}})
    model = with_adapter(settings, base)
    if compiled:
        compile_layers(model)
    trained = [each for each in model.parameters() if each.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=settings.learning_rate)

    def step(batch: dict[str, torch.Tensor]) -> float:
        targets = batch["labels"][:, 1:]
        learned = targets != _IGNORED if answers_only else torch.ones_like(targets, dtype=torch.bool)
        given = {key: value for key, value in batch.items() if key != "labels"}
        with torch.autocast("cpu", torch.bfloat16, enabled=computes_bfloat16()), head_at(model, learned):
            logits = model(**given, use_cache=False).logits.float()
        loss = torch.nn.functional.cross_entropy(logits, targets[learned], ignore_index=_IGNORED)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return float(loss.detach())

    return step


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--rows", type=int, default=16, help="of a batch")
    parser.add_argument("--steps", type=int, default=10)
    options = parser.parse_args()
    if not compiler():
        sys.exit("there is no C++ compiler")
    steps = {
        "the head everywhere": stepper(options.base, answers_only=False, compiled=False),
        "the head at answers": stepper(options.base, answers_only=True, compiled=False),
        "and layers compiled": stepper(options.base, answers_only=True, compiled=True),
    }
    times: dict[str, list[float]] = {name: [] for name in steps}
    losses: dict[str, list[float]] = {name: [] for name in steps}
    found = batches(options.base, options.data, options.rows, _WARMING + options.steps)
    for turn, batch in enumerate(found):
        for name, step in steps.items():
            started = time.perf_counter()
            losses[name].append(step(batch))
            if turn >= _WARMING:
                times[name].append(time.perf_counter() - started)
    tokens = sum(int(batch["attention_mask"].sum()) for batch in found[_WARMING:])
    slowest = times["the head everywhere"]
    report = {
        name: {
            "tokens_per_s": round(tokens / sum(each)),
            "faster": round(statistics.median(old / new for old, new in zip(slowest, each, strict=True)), 2),
            "mean_loss": round(statistics.mean(losses[name]), 4),
        }
        for name, each in times.items()
    }
    threads = {"threads": torch.get_num_threads(), "bfloat16": computes_bfloat16()}
    print(json.dumps({**threads, **report}, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
