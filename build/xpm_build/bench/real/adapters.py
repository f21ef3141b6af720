"""Experts on the real model: trained by ``xpm train``, run by the engine, compared with PEFT;
then eight of them at once."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save_file

from xpm_build.adapter.compile import compile_adapter, save_slots
from xpm_build.adapter.peft_files import ADAPTER_CONFIG, ADAPTER_WEIGHTS
from xpm_build.base.export import export_base
from xpm_build.base.fingerprint import base_digest
from xpm_build.base.model_slots import adaptable
from xpm_build.base.parity import load_model, reference_logits
from xpm_build.base.quality import MAX_KERNEL_LOSS, difference
from xpm_build.bench.real.answers import NEAR, Finding, answer, parts_at
from xpm_build.bench.real.peer import NUM_TOKENS
from xpm_build.bench.real.texts import PROMPTS
from xpm_build.dataset.generate import generate
from xpm_build.dataset.settings import dataset_settings
from xpm_build.dataset.split import split_rows
from xpm_build.prompts import load_tokenizer, render
from xpm_build.rows import read_rows, write_rows
from xpm_build.training.run import train
from xpm_index.archive import MANIFEST
from xpm_runtime import AdapterSpec, Engine, Request, SamplingParams
from xpm_runtime.adapter import SLOTS
from xpm_runtime.text import Message, TextCodec

METHODS = ("lora", "dora", "ia3")
_STEPS, _BATCH, _NUM_ROWS, _NUM_PROBES = 50, 1, 80, 4
_NUM_EXPERTS = 8
_NOISE = 0.3  # of the size of a trained number
_FLOAT_TOLERANCE = 1e-4  # of the largest logit


def train_experts(model: Path, work: Path) -> dict[str, Path]:
    """The folders that PEFT saved, by method: each trained for fifty steps on questions about
    JSON, as a publisher would."""
    manifest = _manifest("lora")
    settings = dataset_settings(manifest)
    generate(settings.generation, work / "all.jsonl")
    rows = sorted(read_rows(work / "all.jsonl"), key=lambda row: len(row["prompt"]) + len(row["completion"]))
    split_rows(rows[:_NUM_ROWS], settings.split, work / "data")
    folders = {}
    for method in METHODS:
        folder = work / method
        (folder / "data").mkdir(parents=True)
        for path in (work / "data").iterdir():
            write_rows(folder / "data" / path.name, read_rows(path))
        (folder / MANIFEST).write_text(json.dumps(_manifest(method)), encoding="utf-8")
        train(folder, model)
        folders[method] = folder
    return folders


def same_as_peft(model: Path, base: Path, folders: dict[str, Path], work: Path) -> Iterator[Finding]:
    """Each expert's logits of prompts with answers, in float32 and in the base's 4 bits, beside
    PEFT's on the same weights."""
    from peft import PeftModel

    probes = _probes(model, next(iter(folders.values())))
    exact = work / "fp32"
    export_base(model, exact, variant="fp32")
    compiled = compile_all(model, folders)
    plain = load_model(model)
    alone = [reference_logits(plain, ids) for ids in probes]
    for method, folder in folders.items():
        peft = PeftModel.from_pretrained(load_model(model), str(folder)).eval()
        wanted = [reference_logits(peft, ids) for ids in probes]
        error = _largest_error(_logits(exact, compiled[method], probes), wanted)
        quantised = _logits(base, compiled[method], probes)
        found = [difference(each[None], other[None]) for each, other in zip(wanted, quantised, strict=True)]
        effect = [difference(each[None], other[None]) for each, other in zip(wanted, alone, strict=True)]
        loss, kl = max(each.loss for each in found), max(each.kl for each in found)
        yield Finding(
            what=f"{method} beside PEFT",
            result=f"float32 {error:.1e} of the largest logit apart; INT4 KL {kl:.4f} (the expert itself moves the "
            f"base by {min(each.kl for each in effect):.2f})",
            is_right=error < _FLOAT_TOLERANCE and loss < MAX_KERNEL_LOSS and min(each.kl for each in effect) > 10 * kl,
        )


def eight_at_once(engine: Engine, codec: TextCodec, model: Path, folders: dict[str, Path], work: Path) -> list[Finding]:
    """Eight rows of one batch, each with its own expert (the trained ones, and variations of
    them), beside each alone."""
    varied = {f"{method}-{seed}": _varied(folders[method], work, seed) for seed in (1, 2) for method in METHODS}
    compiled = compile_all(model, {**folders, **varied})
    names = list(compiled)[:_NUM_EXPERTS]
    for name in names:
        engine.attach(AdapterSpec.read(name, compiled[name]))
    rows = [codec.encode_chat([Message("user", prompt)]) for prompt in PROMPTS[:_NUM_EXPERTS]]
    alone = [answer(engine, ids, experts=(name,)) for ids, name in zip(rows, names, strict=True)]
    sampling = SamplingParams(max_tokens=NUM_TOKENS, temperature=0)
    requests = [Request(prompt=ids, experts=(name,), sampling=sampling) for ids, name in zip(rows, names, strict=True)]
    together = [list(each.token_ids) for each in engine.generate_batch(requests)]
    findings, same = list[Finding](), 0
    for name, ids, got, wanted in zip(names, rows, together, alone, strict=True):
        parting = parts_at(engine, ids, got, wanted, experts=(name,))
        same += parting is None
        if parting is not None:
            result = f"{name} at token {parting[0]}, {parting[1]:.2f} apart"
            findings.append(Finding(what="  near-tie", result=result, is_right=parting[1] <= NEAR))
    different = len({tuple(each) for each in alone})
    result = f"{same} of {len(names)} rows the same as alone; {different} different answers"
    return [Finding(what="eight experts at once", result=result, is_right=True), *findings]


def compile_all(model: Path, folders: dict[str, Path]) -> dict[str, Path]:
    """The slots of each adapter, beside its files."""
    loaded = load_model(model)
    digest = base_digest(loaded)
    for folder in folders.values():
        save_slots(compile_adapter(folder, adaptable(loaded)), folder / SLOTS, base_digest=digest)
    return {name: folder / SLOTS for name, folder in folders.items()}


def _manifest(method: str) -> dict[str, Any]:
    return {
        "schema_version": "2.0",
        "name": f"expert-{method}",
        "version": "0.1.0",
        "description": "Questions about JSON",
        "license": "MIT",
        "base_models": [{"name": "smollm2"}],
        "training": {
            "dataset": {
                "generation": {"domain": "json", "count": 400, "seed": 1},
                "split": {"seed": 1, "valid": 0.1, "test": 0.1},
            },
            "config": {
                "adapter_type": method,
                **({} if method == "ia3" else {"rank": 8}),
                "learning_rate": 5e-3 if method == "ia3" else 5e-4,
                "batch_size": _BATCH,
                "max_steps": _STEPS,
                "eval_steps": _STEPS,
                "metric": "loss",
                "seed": 1,
            },
        },
    }


def _probes(model: Path, folder: Path) -> list[list[int]]:
    """Ids of prompts that were not trained on, with their answers."""
    tokenizer = load_tokenizer(model)
    probes = []
    for row in list(read_rows(folder / "data" / "test-rows.jsonl"))[:_NUM_PROBES]:
        text = render(tokenizer, [{"role": "user", "content": row["prompt"]}]) + row["completion"]
        probes.append([int(token) for token in tokenizer(text, add_special_tokens=False)["input_ids"]])
    return probes


def _logits(base: Path, slots: Path, probes: Sequence[Sequence[int]]) -> list[np.ndarray[Any, np.dtype[np.float32]]]:
    with Engine.load(base, device="cpu", max_lanes=1, context=max(map(len, probes)) + 1) as engine:
        engine.attach(AdapterSpec.read("one", slots))
        return [engine.logits(list(ids), experts=["one"]) for ids in probes]


def _largest_error(got: Sequence[Any], wanted: Sequence[Any]) -> float:
    return max(float(np.abs(a - b).max() / np.abs(b).max()) for a, b in zip(got, wanted, strict=True))


def _varied(folder: Path, work: Path, seed: int) -> Path:
    """Another expert: a trained one with noise on each of its numbers."""
    rng = np.random.default_rng(seed)
    out = work / f"{folder.name}-{seed}"
    out.mkdir()
    tensors = {
        name: (value + _NOISE * value.std() * rng.standard_normal(value.shape)).astype(value.dtype)
        for name, value in sorted(load_file(folder / ADAPTER_WEIGHTS).items())
    }
    save_file(tensors, out / ADAPTER_WEIGHTS, metadata={"format": "pt"})
    (out / ADAPTER_CONFIG).write_bytes((folder / ADAPTER_CONFIG).read_bytes())
    return out
