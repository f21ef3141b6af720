"""Training and judging through the command line: every method on a tiny random base, and runs that are killed."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import tokenizers
from click.testing import CliRunner

from xpm.cli.main import cli
from xpm.errors import BusyError
from xpm.home import Home
from xpm_build.dataset.generate import generate
from xpm_build.dataset.settings import dataset_settings
from xpm_build.dataset.split import split_rows
from xpm_build.errors import DatasetError, EvaluationError, TrainingError
from xpm_build.evaluation.compare import compare_experts, write_comparison
from xpm_build.evaluation.validate import ValidationOptions, validate
from xpm_build.packages import build_expert
from xpm_build.prompts import load_tokenizer
from xpm_build.rows import read_rows, write_rows
from xpm_build.training.adapter import peft_config, with_adapter
from xpm_build.training.data import texts
from xpm_build.training.run import train
from xpm_build.training.settings import training_settings
from xpm_index.manifest import Manifest
from xpm_runtime import Message
from xpm_runtime.text import TextCodec

_CONFIG = {
    "rank": 4,
    "learning_rate": 5e-3,
    "batch_size": 4,
    "eval_batch_size": 8,
    "max_steps": 6,
    "eval_steps": 2,
    "eval_cases": 4,
    "logging_steps": 1,
    "bf16": False,
}


def manifest(**config):
    return {
        "schema_version": "2.0",
        "name": "expert-facts",
        "version": "0.1.0",
        "description": "x",
        "license": "MIT",
        "base_models": [{"name": "tiny"}],
        "decoding": {"max_tokens": 12, "temperature": 0.0},
        "training": {
            "dataset": {
                "generation": {"domain": "json", "count": 80, "seed": 1},
                "split": {"seed": 810, "valid": 0.1, "test": 0.2, "hold_out": {"group": 0.2, "phrasing": 0.15}},
            },
            "config": {**_CONFIG, **config},
        },
    }


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    settings = dataset_settings(manifest())
    generate(settings.generation, folder / "all.jsonl")
    short = sorted(read_rows(folder / "all.jsonl"), key=lambda row: len(row["prompt"]) + len(row["completion"]))[:60]
    split_rows(short, settings.split, folder / "data")
    return folder / "data"


def expert(folder, data, **config):
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text(json.dumps(manifest(**config)))
    shutil.copytree(data, folder / "data")
    return folder


@pytest.mark.parametrize(
    "config",
    [
        {"adapter_type": "lora", "dropout": 0.1, "gradient_accumulation_steps": 2},
        {"adapter_type": "dora", "save_dtype": "bfloat16", "bf16": True},
        {"adapter_type": "rslora", "packing": True, "max_seq_length": 256, "metric": "loss", "eval_cases": None},
        {"adapter_type": "alora", "metric": "loss", "eval_cases": None},
        {"adapter_type": "ia3", "rank": None, "gradient_checkpointing": True, "early_stopping_patience": 1},
        {"adapter_type": "prompt_tuning", "rank": None, "num_virtual_tokens": 4, "metric": "loss", "eval_cases": None},
        {"method": "distillation", "teacher": "teacher", "neftune_noise_alpha": 5.0, "gradient_accumulation_steps": 2},
    ],
    ids=lambda config: config.get("method") or config["adapter_type"],
)
def test_methods(config, data, tiny_base, tmp_path):
    folder = expert(tmp_path / "expert", data, **config)
    if config.get("method") == "distillation":
        shutil.copytree(tiny_base.source, folder / "teacher")
    said = []
    report = train(folder, tiny_base.source, report=said.append)
    written = json.loads((folder / "training/report.json").read_text())
    assert written["steps"] == report.steps
    assert report.steps == 6 or config.get("early_stopping_patience")
    losses = [entry["loss"] for entry in written["history"] if "loss" in entry]
    assert len(losses) >= 4
    assert any(line.startswith("step 2/6") and "validation loss" in line for line in said)
    assert (folder / "training/curve.png").read_bytes().startswith(b"\x89PNG")
    assert json.loads((folder / "adapter_config.json").read_text())["base_model_name_or_path"] == ""
    built = build_expert(folder, tmp_path / "dist", base=tiny_base.source)  # PEFT's files are what is compiled
    assert built.max_logit_error is not None


def test_an_activated_adapter_is_invoked_by_what_begins_an_answer_or_by_what_is_stated(tiny_base):
    tokenizer = load_tokenizer(tiny_base.source)
    for stated, said in (({}, "<|im_start|>assistant"), ({"invocation": "<|im_start|>check"}, "<|im_start|>check")):
        made = peft_config(training_settings(manifest(adapter_type="alora", **stated)), tiny_base.source)
        assert tokenizer.decode(made.alora_invocation_tokens) == said
    assert (
        peft_config(training_settings(manifest(adapter_type="lora")), tiny_base.source).alora_invocation_tokens is None
    )
    with pytest.raises(TrainingError, match="invocation has 100 tokens"):
        peft_config(training_settings(manifest(adapter_type="alora", invocation="a" * 100)), tiny_base.source)
    with pytest.raises(TrainingError, match="invocation"):
        training_settings(manifest(adapter_type="lora", invocation="a"))


def test_both_kinds_of_attention_learn_the_same(data, tiny_base, tmp_path):
    scores = {}
    for kind in ("sdpa", "eager"):
        folder = expert(tmp_path / kind, data, attn_implementation=kind, metric="loss", eval_cases=None)
        scores[kind] = train(folder, tiny_base.source).score
        model = with_adapter(training_settings(manifest(attn_implementation=kind)), tiny_base.source)
        assert model.config._attn_implementation == kind
    assert scores["eager"] == pytest.approx(scores["sdpa"], rel=1e-3)


@pytest.mark.parametrize(
    "config", [{"adapter_type": "lora"}, {"adapter_type": "prompt_tuning", "rank": None, "num_virtual_tokens": 4}]
)
def test_the_head_at_answers_alone_gives_the_loss_and_gradient_of_the_head_everywhere(config, tiny_base):
    """Against Transformers' own loss."""
    import torch

    from xpm_build.training.trainer import head_at

    rng = torch.Generator().manual_seed(1)
    model = with_adapter(training_settings(manifest(**config)), tiny_base.source).train()
    ids = torch.randint(5, model.config.vocab_size, (3, 12), generator=rng)
    labels = ids.clone()
    for row, (start, end) in enumerate(((3, 12), (7, 9), (5, 6))):
        labels[row, :start] = labels[row, end:] = -100
    inputs = {"input_ids": ids, "labels": labels, "attention_mask": torch.ones_like(ids)}
    with head_at(model, labels[:, 1:] != -100):
        logits = model(**{**inputs, "labels": None}).logits
    assert logits.shape == (9 + 2 + 1, model.config.vocab_size)
    loss = torch.nn.functional.cross_entropy(logits, labels[:, 1:][labels[:, 1:] != -100])
    trained = [each for each in model.parameters() if each.requires_grad]
    found = torch.autograd.grad(loss, trained)
    peer = model(**inputs).loss
    wanted = torch.autograd.grad(peer, trained)
    assert loss.item() == pytest.approx(peer.item(), rel=1e-5)
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


def test_compiled_layers_learn_the_same(data, tiny_base, tmp_path, monkeypatch):
    """And all layers share what was compiled: for training, for judging, each also for the first,
    whose input has no gradient."""
    import torch._dynamo

    monkeypatch.setattr(torch._dynamo.config, "recompile_limit", 3)
    monkeypatch.setattr(torch._dynamo.config, "fail_on_recompile_limit_hit", True)
    scores = {}
    for compiled in (False, True):
        folder = expert(tmp_path / str(compiled), data, torch_compile=compiled, metric="loss", eval_cases=None)
        said = []
        scores[compiled] = train(folder, tiny_base.source, report=said.append).score
        assert not any("torch_compile" in line for line in said)
    assert scores[True] == pytest.approx(scores[False], rel=1e-3)


def test_without_a_compiler_layers_run_as_they_are_written(data, tiny_base, tmp_path, monkeypatch):
    monkeypatch.setattr("xpm_build.training.run.compiler", lambda: None)
    folder = expert(tmp_path / "expert", data, torch_compile=True, metric="loss", eval_cases=None)
    said = []
    train(folder, tiny_base.source, report=said.append)
    assert any("no C++ compiler" in line for line in said)


def test_the_text_trained_on_is_the_text_the_runtime_makes(data, tiny_base, tmp_path):
    """Also for a base whose tokenizer would add a first token to that of its template."""
    base = tmp_path / "base"
    shutil.copytree(tiny_base.source, base)
    tokenizer = tokenizers.Tokenizer.from_file(str(base / "tokenizer.json"))
    first = tokenizer.id_to_token(5)
    tokenizer.post_processor = tokenizers.processors.TemplateProcessing(
        single=f"{first} $A", special_tokens=[(first, 5)]
    )
    tokenizer.save(str(base / "tokenizer.json"))
    config = json.loads((base / "tokenizer_config.json").read_text())
    (base / "tokenizer_config.json").write_text(json.dumps({**config, "bos_token": first}))
    (base / "chat_template.jinja").write_text("{{ bos_token }}{{ messages[0]['content'] }}: ")
    (row,) = [{"prompt": "hello", "completion": "yes"}]
    loaded = load_tokenizer(base)
    (text,) = texts([row], loaded, "", method="sft")
    ids = TextCodec(base).encode_chat([Message("user", "hello")])
    assert ids[0] == 5
    assert ids[1] != 5
    assert loaded(text["prompt"])["input_ids"] == ids


def test_what_is_refused_changes_nothing(data, tiny_base, tmp_path):
    """Neither is an earlier run lost, nor does what was refused stand in the way of what is right."""
    folder = expert(tmp_path / "expert", data)
    wrong, right = manifest(target_modules=["q_porj"]), manifest(max_steps=2)
    (folder / "manifest.json").write_text(json.dumps(wrong))
    with pytest.raises(TrainingError, match="q_porj"):
        train(folder, tiny_base.source)
    (folder / "manifest.json").write_text(json.dumps(right))
    train(folder, tiny_base.source)
    made = {each: each.stat().st_mtime_ns for each in (folder / "training").rglob("*") if each.is_file()}
    for refused in (wrong, manifest(method="distillation", teacher="nowhere")):
        (folder / "manifest.json").write_text(json.dumps(refused))
        with pytest.raises(TrainingError, match=r"q_porj|holds no model"):
            train(folder, tiny_base.source, restart=True)
    assert {each: each.stat().st_mtime_ns for each in (folder / "training").rglob("*") if each.is_file()} == made


@pytest.mark.parametrize(
    ("config", "has_valid", "language", "message"),
    [
        ({"early_stopping_patience": 1}, False, None, "early_stopping_patience needs validation rows"),
        ({"metric": "task"}, False, None, "metric task needs validation rows"),
        ({"metric": "task"}, True, "", "metric task needs a language"),
    ],
)
def test_a_choice_that_could_not_be_made_is_refused(config, has_valid, language, message, data, tiny_base, tmp_path):
    folder = expert(tmp_path / "expert", data, **config)
    document = json.loads((folder / "manifest.json").read_text())
    if language == "":
        document["training"]["dataset"]["generation"] = {}
        (folder / "manifest.json").write_text(json.dumps(document))
    if not has_valid:
        (folder / "data/valid.jsonl").write_text("")
    with pytest.raises(TrainingError, match=message):
        train(folder, tiny_base.source)


def test_another_measure_is_another_run(data, tiny_base, tmp_path):
    folder = expert(tmp_path / "expert", data, max_steps=2)
    train(folder, tiny_base.source)
    document = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({**document, "evaluation": {"language": "text"}}))
    with pytest.raises(TrainingError, match="holds a run with other settings"):
        train(folder, tiny_base.source)


def test_rows_that_are_too_long_are_counted(data, tiny_base, tmp_path):
    tokenizer = load_tokenizer(tiny_base.source)
    known = texts(list(read_rows(data / "valid.jsonl")), tokenizer, "<|im_end|>", method="sft")
    longest = max(len(tokenizer(each["prompt"] + each["completion"])["input_ids"]) for each in known)
    said = []
    folder = expert(tmp_path / "expert", data, max_seq_length=longest - 1, metric="loss", eval_cases=None, max_steps=2)
    train(folder, tiny_base.source, report=said.append)
    (line,) = [each for each in said if f"max_seq_length {longest - 1} is too short" in each]
    assert re.search(r"[1-9][0-9]* rows are cut", line)
    with pytest.raises(TrainingError, match="row has room for an answer"):
        train(expert(tmp_path / "short", data, max_seq_length=8), tiny_base.source)


def test_a_gold_answer_that_is_no_json_is_refused_before_a_step(data, tiny_base, tmp_path):
    folder = expert(tmp_path / "expert", data)
    rows = list(read_rows(folder / "data" / "valid.jsonl"))
    write_rows(folder / "data" / "valid.jsonl", [{**rows[0], "completion": "{'a'"}, *rows[1:]])
    said = []
    with pytest.raises(EvaluationError, match="the gold answer is not JSON"):
        train(folder, tiny_base.source, report=said.append)
    assert not any(line.startswith("step") for line in said)


def test_experts_beside_are_told_apart_by_name(data, tiny_base, tmp_path):
    folder = expert(tmp_path / "expert", data)
    for others in ((tmp_path / "a" / "x", tmp_path / "b" / "x"), (tmp_path / "all",)):
        for each in others:
            each.mkdir(parents=True, exist_ok=True)
        with pytest.raises(EvaluationError, match="apart"):
            validate(folder, tiny_base.source, ValidationOptions(others=others))
    with pytest.raises(EvaluationError, match="does not exist"):
        validate(folder, tiny_base.source, ValidationOptions(against=tmp_path / "nowhere"))


def test_preferences(data, tiny_base, tmp_path):
    folder = expert(tmp_path / "expert", data, method="dpo", beta=0.2, eval_cases=None)
    for name in ("train.jsonl", "valid.jsonl"):
        rows = [
            {"prompt": row["prompt"], "chosen": row["completion"], "rejected": "no"}
            for row in read_rows(folder / "data" / name)
        ]
        write_rows(folder / "data" / name, rows)
    report = train(folder, tiny_base.source)
    assert report.metric == "loss"
    assert report.score < 0.7  # from ln 2, where it cannot tell chosen from rejected


def test_completions_alone_are_learned_from(data, tiny_base, tmp_path):
    folder = expert(tmp_path / "expert", data)
    from xpm_build.training import run

    seen = []
    original = run._trainer

    def spy(*args):
        trainer = original(*args)
        seen.append(trainer.data_collator([trainer.train_dataset[0]]))
        return trainer

    run._trainer = spy
    try:
        train(folder, tiny_base.source)
    finally:
        run._trainer = original
    labels = seen[0]["labels"][0]
    counted = [label for label in labels.tolist() if label != -100]
    assert 0 < len(counted) < len(labels) / 2 + 60
    assert labels[0] == -100


def _command(folder, base):
    return [sys.executable, "-m", "xpm", "train", str(folder), "--base", str(base), "--json"]


def test_a_killed_training_ends_with_the_same_figures(data, tiny_base, tmp_path):
    config = {"max_steps": 12, "eval_steps": 2, "dropout": 0.1}
    folders = [expert(tmp_path / name, data, **config) for name in ("whole", "killed")]
    environment = {**os.environ, "HOME": str(tmp_path), "OMP_NUM_THREADS": "1"}
    whole = subprocess.run(
        _command(folders[0], tiny_base.source), env=environment, capture_output=True, text=True, check=True
    )
    process = subprocess.Popen(
        _command(folders[1], tiny_base.source), env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    checkpoints = folders[1] / "training/checkpoints"
    deadline = time.monotonic() + 120
    while not (checkpoints / "checkpoint-4").exists():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not (folders[1] / "adapter_model.safetensors").exists()
    newest = max(checkpoints.glob("checkpoint-*"), key=lambda path: path.stat().st_mtime)
    (newest / "optimizer.pt").unlink(missing_ok=True)  # as a kill in the midst of a checkpoint leaves it
    again = subprocess.run(
        _command(folders[1], tiny_base.source), env=environment, capture_output=True, text=True, check=True
    )
    reports = [json.loads(done.stdout) for done in (whole, again)]
    assert reports[1].pop("resumed_from") in (2, 4, 6)
    assert reports[0].pop("resumed_from") == 0
    for each in reports:
        del each["elapsed_s"]
    assert reports[0] == reports[1]
    adapters = [(folder / "adapter_model.safetensors").read_bytes() for folder in folders]
    assert adapters[0] == adapters[1]


@pytest.mark.parametrize("command", ["train", "validate", "dataset generate"])
def test_an_expert_that_another_process_works_on_is_left_alone(command, data, tiny_base, tmp_path, monkeypatch):
    monkeypatch.setenv("XPM_HOME", str(tmp_path / "home"))
    folder = expert(tmp_path / "expert", data)
    before = sorted(folder.rglob("*"))
    monkeypatch.chdir(tmp_path)
    with Home.of_user().alone_in(folder):
        base = [] if command == "dataset generate" else ["--base", str(tiny_base.source)]
        refused = CliRunner().invoke(cli, [*command.split(), "expert", *base])
    assert isinstance(refused.exception, BusyError)
    assert str(folder) in str(refused.exception)
    assert f"process {os.getpid()}" in str(refused.exception.context)
    assert sorted(folder.rglob("*")) == before


def test_a_folder_that_is_trained_in_is_refused_whoever_asks(data, tiny_base, tmp_path):
    folder = expert(tmp_path / "expert", data, max_steps=2)
    train(folder, tiny_base.source)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    lock = folder / "training" / "lock"
    hold = "import sys, pathlib, xpm_index.locks as locks\n"
    hold += "with locks.locked_file(pathlib.Path(sys.argv[1]), timeout_s=0): print(flush=True); sys.stdin.read()"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", hold, str(lock)], **pipes) as other:
        other.stdout.readline()
        for restart in (False, True):
            with pytest.raises(TrainingError, match="another process trains in") as refused:
                train(folder, tiny_base.source, restart=restart)
            assert refused.value.context == f"it is process {other.pid}"
        assert {path: path.read_bytes() for path in before if path != lock} == {
            path: each for path, each in before.items() if path != lock
        }
        other.kill()
    again = train(folder, tiny_base.source, restart=True)
    assert (again.steps, again.resumed_from, lock.is_file()) == (2, 0, True)


def test_a_run_with_other_settings_is_not_gone_on_with(data, tiny_base, tmp_path):
    folder = expert(tmp_path / "expert", data, max_steps=2)
    train(folder, tiny_base.source)
    before = (folder / "adapter_model.safetensors").read_bytes()
    (folder / "manifest.json").write_text(json.dumps(manifest(max_steps=4)))
    with pytest.raises(TrainingError, match="other settings"):
        train(folder, tiny_base.source)
    assert (folder / "adapter_model.safetensors").read_bytes() == before
    assert train(folder, tiny_base.source, restart=True).steps == 4


@pytest.mark.parametrize(
    "config", [{"max_steps": 3}, {"max_steps": 40, "learning_rate": 1e-9, "early_stopping_patience": 1}]
)
def test_a_finished_training_changes_nothing_when_it_is_given_again(config, data, tiny_base, tmp_path, monkeypatch):
    folder = expert(tmp_path / "expert", data, **config)
    monkeypatch.chdir(tmp_path)
    first = train(Path("expert"), tiny_base.source)
    before = (folder / "adapter_model.safetensors").read_bytes()
    monkeypatch.chdir(folder)
    again = train(Path(), tiny_base.source)
    assert replace(again, elapsed_s=0, resumed_from=0) == replace(first, elapsed_s=0, resumed_from=0)
    assert (folder / "adapter_model.safetensors").read_bytes() == before


def test_the_last_step_is_judged_and_any_checkpoint_can_be_kept(data, tiny_base, tmp_path):
    folder = expert(tmp_path / "expert", data, max_steps=3, eval_steps=2, save_total_limit=1)
    raw = json.loads((folder / "manifest.json").read_text())
    raw["training"]["packaging_checkpoint"] = "checkpoint-2"
    (folder / "manifest.json").write_text(json.dumps(raw))
    report = train(folder, tiny_base.source)
    assert report.metric == "task"
    assert 0 <= report.score <= 1
    assert report.kept_step == 2
    steps = [
        entry["step"]
        for entry in json.loads((folder / "training/report.json").read_text())["history"]
        if "eval_loss" in entry
    ]
    assert steps == [2, 3]
    second = (folder / "adapter_model.safetensors").read_bytes()
    raw["training"]["packaging_checkpoint"] = "final"
    (folder / "manifest.json").write_text(json.dumps(raw))
    assert train(folder, tiny_base.source).kept_step == 3
    assert (folder / "adapter_model.safetensors").read_bytes() != second


def test_a_target_that_the_base_lacks_is_named(data, tiny_base, tmp_path):
    folder = expert(tmp_path / "expert", data, target_modules=["q_proj", "vproj"])
    with pytest.raises(TrainingError, match="no linear named 'vproj'"):
        train(folder, tiny_base.source)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda folder: (folder / "data/train.jsonl").unlink(), "does not exist"),
        (lambda folder: (folder / "data/train.jsonl").write_text(""), "nothing to train on"),
        (lambda folder: (folder / "data/train.jsonl").write_text('{"prompt": "a"}\n'), "line 1: it has neither"),
        (lambda folder: (folder / "data/train.jsonl").write_text("{"), "line 1 is not JSON"),
    ],
)
def test_data_that_is_not_there(change, message, data, tiny_base, tmp_path):
    folder = expert(tmp_path / "expert", data)
    change(folder)
    with pytest.raises((TrainingError, DatasetError), match=message):
        train(folder, tiny_base.source)
    assert not (folder / "adapter_model.safetensors").exists()


@pytest.fixture(scope="module")
def trained(data, tiny_base, tmp_path_factory):
    folders = []
    for seed in (1, 2):
        folder = expert(tmp_path_factory.mktemp("trained") / "expert", data, seed=seed, max_steps=2)
        train(folder, tiny_base.source)
        folders.append(folder)
    return folders


def test_validation(trained, tiny_base, tmp_path):
    first, second = trained
    archive = build_expert(second, tmp_path / "dist", base=tiny_base.source).path
    options = ValidationOptions(cases=5, against=archive, others=(second,))
    found = validate(first, tiny_base.source, options)
    assert [each.circle.name for each in found.circles] == ["rows", "group", "phrasing"]
    document = json.loads((first / "validation/report.json").read_text())
    for circle in document["circles"].values():
        assert circle["cases"] <= 5
        assert {"right", "parses", "exact", "normalised_exact", "f1", "bleu"} <= circle["expert"].keys()
        assert (
            circle["over_base"]["interval"][0]
            <= circle["over_base"]["difference"]
            <= circle["over_base"]["interval"][1]
        )
        assert set(circle["compositions"]) == {second.name}
        assert (
            circle["over_against"]["wins"] + circle["over_against"]["losses"] + circle["over_against"]["ties"]
            == circle["cases"]
        )
    assert document["failures"]  # a random base gets nothing right
    assert document["limitations"]
    metrics = Manifest.parse((first / "manifest.json").read_bytes()).quality_metrics
    assert metrics["benchmark_score"] == 0.0
    assert metrics["test_queries"] == sum(circle["cases"] for circle in document["circles"].values())
    for name in ("report.md", "report.html", "report.png"):
        assert (first / "validation" / name).stat().st_size > 500
    assert "<script" not in (first / "validation/report.html").read_text()

    validate(second, tiny_base.source, ValidationOptions(cases=5, write_manifest=False))
    assert Manifest.parse((second / "manifest.json").read_bytes()).quality_metrics == {}
    document, blocks = compare_experts(first, second)
    write_comparison(document, blocks, tmp_path / "comparison.html")
    assert "<table>" in (tmp_path / "comparison.html").read_text()
    assert document["circles"]["rows"]["paired"]["ties"] == len(found.circles[0].circle.rows)


def test_what_was_not_validated_cannot_be_compared(tmp_path):
    with pytest.raises(EvaluationError, match="no validation report"):
        compare_experts(tmp_path, tmp_path)


def test_an_expert_without_cases_cannot_be_judged(trained, tiny_base, tmp_path):
    folder = tmp_path / "expert"
    shutil.copytree(trained[0], folder)
    shutil.rmtree(folder / "data")
    with pytest.raises(EvaluationError, match="no cases"):
        validate(folder, tiny_base.source, ValidationOptions())
