"""Whether an expert works behind what its rows never had: gaps in the positions, or other text before the request.

    python -m tests.benchmarks.positions FOLDER --base MODEL --other FOLDER [--learn gaps|text] [--steps 45]

FOLDER is an expert's, with its data split; the other's prompts are the text before. Told is the loss of answers, and
how many are right token by token. With --learn the adapter is first trained on, on rows with gaps, or with such text,
that grow in three stages.
"""

import argparse
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel

from xpm_build.base.parity import load_model
from xpm_build.prompts import conversation, end_of_turn, load_tokenizer, render
from xpm_build.rows import Row, read_rows

STAGES = {"gaps": (128, 512, 1800), "text": (48, 128, 256)}
_LONGEST = 200  # letters of a prompt
_RATE = 1e-3


@dataclass(frozen=True, slots=True)
class Example:
    """Token ids of prompt and answer, and the position of each."""

    prompt: list[int]
    answer: list[int]
    positions: list[int]


class Writer:
    def __init__(self, base: Path, text: Sequence[int]) -> None:
        self._tokenizer, self._text = load_tokenizer(base), text
        self._end = end_of_turn(base, self._tokenizer)

    def ids(self, text: str) -> list[int]:
        return list(self._tokenizer(text, add_special_tokens=False)["input_ids"])

    def gapped(self, row: Row, gap: int, at: float) -> Example:
        """Positions from a share ``at`` of the prompt on are so many further."""
        prompt = self.ids(render(self._tokenizer, conversation(row)))
        answer = self.ids(row["completion"] + self._end)
        first, count = int(at * len(prompt)), len(prompt) + len(answer)
        return Example(prompt, answer, [place + gap * (place >= first) for place in range(count)])

    def behind_text(self, row: Row, first: int, count: int) -> Example:
        """Behind so many tokens of other text, as an earlier turn."""
        other = {"role": "user", "content": self._tokenizer.decode(self._text[first : first + count])}
        prompt = self.ids(render(self._tokenizer, [other, *conversation(row)]))
        answer = self.ids(row["completion"] + self._end)
        return Example(prompt, answer, list(range(len(prompt) + len(answer))))


def loss_of(model: Any, each: Example) -> tuple[torch.Tensor, bool]:
    """(mean cross-entropy of the answer, whether every token of it is the likeliest)."""
    ids = torch.tensor([each.prompt + each.answer])
    found = model(input_ids=ids, position_ids=torch.tensor([each.positions]), attention_mask=torch.ones_like(ids))
    logits, wanted = found.logits[0, len(each.prompt) - 1 : -1], ids[0, len(each.prompt) :]
    return torch.nn.functional.cross_entropy(logits, wanted), bool((logits.argmax(-1) == wanted).all())


def learn(model: Any, rows: Sequence[Row], writer: Writer, kind: str, steps: int, room: int) -> None:
    """Train the adapter on, four rows a step; ``room`` is how many tokens of text there are."""
    parameters = [each for each in model.parameters() if each.requires_grad]
    optimizer, rng = torch.optim.AdamW(parameters, lr=_RATE, weight_decay=0.0), random.Random(1)
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = _RATE * (1 - step / steps)
        most = STAGES[kind][step * len(STAGES[kind]) // steps]
        optimizer.zero_grad()
        for row in rng.sample(rows, 4):
            size = rng.randint(1, most)
            each = (
                writer.gapped(row, size, rng.random())
                if kind == "gaps"
                else writer.behind_text(row, rng.randrange(room - size), size)
            )
            (loss_of(model, each)[0] / 4).backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--base", type=Path, required=True)
    parser.add_argument("--other", type=Path, required=True)
    parser.add_argument("--learn", choices=tuple(STAGES))
    parser.add_argument("--steps", type=int, default=45)
    parser.add_argument("--cases", type=int, default=12)
    options = parser.parse_args()
    model = PeftModel.from_pretrained(load_model(options.base), options.folder, is_trainable=True)
    plain = Writer(options.base, ())
    texts = {
        part: plain.ids(" ".join(row["prompt"] for row in islice(read_rows(options.other / f"data/{part}.jsonl"), 200)))
        for part in ("train", "valid")
    }
    if options.learn:
        rows = _short(options.folder / "data/train.jsonl", 600)
        learn(model, rows, Writer(options.base, texts["train"]), options.learn, options.steps, len(texts["train"]))
    writer, cases = Writer(options.base, texts["valid"]), _short(options.folder / "data/valid.jsonl", options.cases)
    print("| what the positions are | loss | right |\n|---|---|---|")
    _tell(model, cases, "as in training", lambda row: writer.gapped(row, 0, 0))
    _tell(model, cases, "all 1,800 further", lambda row: writer.gapped(row, 1800, 0))
    for gap in (128, 512, 1800):
        _tell(model, cases, f"a gap of {gap:,} in the prompt", lambda row, gap=gap: writer.gapped(row, gap, 0.5))
    for count in (128, 512, 1024, 1800):
        _tell(model, cases, f"{count:,} tokens before", lambda row, count=count: writer.behind_text(row, 0, count))


def _short(file: Path, most: int) -> list[Row]:
    return list(islice((row for row in read_rows(file) if len(row["prompt"]) < _LONGEST), most))


def _tell(model: Any, cases: Sequence[Row], what: str, made: Callable[[Row], Example]) -> None:
    with torch.no_grad():
        found = [loss_of(model, made(row)) for row in cases]
    loss = sum(loss.item() for loss, _ in found) / len(found)
    print(f"| {what} | {loss:.3f} | {sum(right for _, right in found)} of {len(found)} |", flush=True)


if __name__ == "__main__":
    main()
