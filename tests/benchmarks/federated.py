"""An adapter by federated averaging beside ones trained centrally and by one client alone, on the same rows, executed.

    python -m tests.benchmarks.federated FOLDER --base MODEL [--only "central; rounds"]

FOLDER is an expert's, with its data split. Needs the extras build and federated. Rows are the first thousand whose
prompt and completion have less than 180 letters together, and so are the cases, 20 of each circle.
"""

import argparse
import shutil
import tempfile
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any

import transformers

from xpm_build.adapter.together import encoded
from xpm_build.evaluation.answers import AnswerJournal, answerer_of
from xpm_build.evaluation.cases import read_circles
from xpm_build.evaluation.examiner import Examiner
from xpm_build.federated.client import Learner, Tokens
from xpm_build.federated.options import FederatedOptions
from xpm_build.federated.server import rounds_of
from xpm_build.federated.shares import spread
from xpm_build.prompts import end_of_turn, load_tokenizer
from xpm_build.rows import Row, read_rows
from xpm_build.training.adapter import with_adapter
from xpm_build.training.data import texts
from xpm_build.training.run import write_adapter
from xpm_build.training.settings import training_settings
from xpm_index.archive import MANIFEST
from xpm_index.manifest import Manifest

_CONFIG = {"rank": 8, "learning_rate": 5e-3, "batch_size": 4, "attn_implementation": "eager"}
_CLIENTS, _ROUNDS, _STEPS, _UNEVEN = 10, 3, 4, 0.3
_WAYS = (
    *("central", "central, as many rows", "one client", "one uneven client"),
    *("rounds", "uneven rounds", "rounds of B alone", "private rounds"),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--base", type=Path, required=True)
    parser.add_argument("--only", default=";".join(_WAYS), help=f"of {'; '.join(_WAYS)}")
    options = parser.parse_args()
    ways = [each.strip() for each in options.only.split(";")]
    examiner = Examiner.of(Manifest.parse((options.folder / MANIFEST).read_bytes()), execution=True)
    circles = read_circles(options.folder, examiner.settings, file=None, most=400)
    cases = [row for circle in circles for row in [each for each in circle.rows if _is_short(each)][:20]]
    print("| trained | right | parses |\n|---|---|---|")
    with tempfile.TemporaryDirectory() as scratch:
        made = {way: _made(way, options.folder, options.base, Path(scratch)) for way in ways}
        with (
            closing(AnswerJournal(Path(scratch) / "journal")) as journal,
            answerer_of(options.base, "fp32", made, journal, threads=None, report=lambda text: None) as answerer,
        ):
            for way in ways:
                found = examiner.examine(answerer, cases, (way,), what=way, report=lambda text: None).figures
                print(f"| {way} | {found.right:.1%} | {found.parses:.1%} |", flush=True)


def _made(way: str, folder: Path, base: Path, scratch: Path) -> Path:
    """An expert's folder with the adapter that comes of one way to train."""
    settings = training_settings({"training": {"config": _CONFIG}})
    tokenizer = load_tokenizer(base)
    end = end_of_turn(base, tokenizer)

    def tokens(rows: list[Row]) -> Tokens:
        return encoded(texts(rows, tokenizer, end, method="sft"), tokenizer, settings.max_seq_length)

    train, valid = (
        list(islice(filter(_is_short, read_rows(folder / f"data/{part}.jsonl")), most))
        for part, most in (("train", 1000), ("valid", 24))
    )
    uneven = _UNEVEN if "uneven" in way else None
    shares = [tokens(each) for each in spread(train, _CLIENTS, concentration=uneven, seed=1)]
    transformers.set_seed(1)
    model: Any = with_adapter(settings, base)
    for name, parameter in model.named_parameters():
        if "B alone" in way and ".lora_A." in name:
            parameter.requires_grad_(False)
    steps = _ROUNDS * _STEPS * (_CLIENTS if "as many" in way else 1)
    learner = Learner(model, learning_rate=5e-3, batch_size=4, steps=_STEPS if "rounds" in way else steps, seed=1)
    if "rounds" in way:
        noise = 1.0 if "private" in way else 0.0
        options = FederatedOptions(clients=_CLIENTS, rounds=_ROUNDS, steps=_STEPS, noise=noise, clip=5.0)
        rounds_of(learner, shares, tokens(valid), options, report=lambda text: None)
    else:
        learner.train(max(shares, key=len) if "client" in way else tokens(train), "c")
    out = scratch / way.replace(" ", "-").replace(",", "")
    shutil.copytree(folder, out, ignore=shutil.ignore_patterns("data", "training"))
    (out / "training").mkdir()
    model.save_pretrained(out / "saved")
    write_adapter(out, out / "saved", "float32")
    return out


def _is_short(row: Row) -> bool:
    return len(row["prompt"]) + len(row["completion"]) < 180


if __name__ == "__main__":
    main()
