"""What training beside another expert does: one expert trained on beside a frozen other, and both
judged alone and together.

    python -m tests.benchmarks.beside FOLDER --other FOLDER --base MODEL [--steps 40] [--cases 14]

Both folders are experts', with their data split. The loss is that of `training.config.beside`, where the other acts in
two of three steps. Told is what is right before and after, executed.
"""

import argparse
import random
import shutil
import tempfile
from contextlib import closing
from itertools import islice
from pathlib import Path

import torch
from peft import PeftModel

from xpm_build.adapter.together import Together, batch_of, encoded
from xpm_build.base.parity import load_model
from xpm_build.evaluation.answers import Answerer, AnswerJournal, answerer_of
from xpm_build.evaluation.cases import read_circles
from xpm_build.evaluation.examiner import Examiner
from xpm_build.prompts import end_of_turn, load_tokenizer
from xpm_build.rows import Row, read_rows
from xpm_build.training.beside import Others, divergence
from xpm_build.training.data import texts
from xpm_index.archive import MANIFEST
from xpm_index.manifest import Manifest

_RATE, _ROWS, _MAX_TOKENS, _BATCH = 5e-4, 800, 160, 6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--other", type=Path, required=True)
    parser.add_argument("--base", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--cases", type=int, default=14, help="of each circle")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        learned = Path(scratch) / "learned"
        shutil.copytree(options.folder, learned, ignore=shutil.ignore_patterns("data", "training"))
        _learn(options.folder, options.other, options.base, options.steps, learned)
        subjects = {"before": options.folder, "after": learned, "other": options.other}
        with (
            closing(AnswerJournal(Path(scratch) / "journal")) as journal,
            answerer_of(options.base, "fp32", subjects, journal, threads=None, report=lambda text: None) as answerer,
        ):
            print("| cases of | acting | right | answers as alone |\n|---|---|---|---|")
            for which in ("before", "after"):
                _judge(answerer, options.folder, which, "other", options.cases)
                _judge(answerer, options.other, "other", which, options.cases)


def _learn(folder: Path, other: Path, base: Path, steps: int, out: Path) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        updates = Together(base, {"other": other}, Path(scratch)).updates()
    own, kept = _tokens(folder, base), _tokens(other, base)
    model = PeftModel.from_pretrained(load_model(base), folder, is_trainable=True)
    others = Others([kept], updates)
    others.hook(model)
    parameters = [each for each in model.parameters() if each.requires_grad]
    optimizer, rng = torch.optim.AdamW(parameters, lr=_RATE, weight_decay=0.0), random.Random(1)
    model.train()
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = _RATE * (1 - step / steps)
        optimizer.zero_grad()
        batch = batch_of(rng.sample(own, _BATCH))
        labels = batch.pop("labels")[:, 1:]
        with others.at_work(frozenset([0] if step % 3 else [])):
            logits = model(**batch).logits[:, :-1]
        torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten()).backward()
        divergence(model, others, 0, rng.sample(kept, _BATCH)).backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
    model.save_pretrained(out)


def _tokens(folder: Path, base: Path) -> list[tuple[list[int], list[int]]]:
    tokenizer = load_tokenizer(base)
    rows: list[Row] = list(islice(read_rows(folder / "data/train.jsonl"), _ROWS))
    made = texts(rows, tokenizer, end_of_turn(base, tokenizer), method="sft")
    return [(list(prompt), list(answer)) for prompt, answer in encoded(made, tokenizer, _MAX_TOKENS)]


def _judge(answerer: Answerer, folder: Path, own: str, beside: str, most: int) -> None:
    examiner = Examiner.of(Manifest.parse((folder / MANIFEST).read_bytes()), execution=True)
    rows = [row for circle in read_circles(folder, examiner.settings, file=None, most=most) for row in circle.rows]
    alone = None
    for acting in ((own,), (own, beside)):
        found = examiner.examine(answerer, rows, acting, what="", report=lambda text: None)
        alone = alone or found
        same = sum(a == b for a, b in zip(alone.answers, found.answers, strict=True))
        told = f"{found.figures.right:.1%} of {len(rows)} | {same} of {len(rows)}"
        print(f"| {examiner.manifest.name} | {' + '.join(acting)} | {told} |", flush=True)


if __name__ == "__main__":
    main()
