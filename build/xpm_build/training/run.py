"""``xpm train``: from an expert's folder and a base to an adapter, a report and a curve.

Everything is written below the folder: ``training/checkpoints`` while it runs, at the end the adapter in PEFT's files,
``training/report.json`` and ``training/curve.png``. A run that was killed goes on from its last whole checkpoint, with
the same batches and random numbers, and ends with the same figures. Two runs at a time would remove each other's
checkpoints: the second is refused as long as the first one's process lives.
"""

import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from xpm_build.adapter.peft_files import ADAPTER_CONFIG, ADAPTER_WEIGHTS
from xpm_build.base.checkpoint import FolderCheckpoint
from xpm_build.base.fingerprint import fingerprint
from xpm_build.dataset.settings import dataset_settings
from xpm_build.errors import TrainingError
from xpm_build.prompts import end_of_turn, load_tokenizer
from xpm_build.training.adapter import computes_bfloat16, with_adapter
from xpm_build.training.compiled import compile_layers, compiler
from xpm_build.training.data import Material, read_material, texts
from xpm_build.training.report import TRAINING, TrainingReport, result_of, step_of, write_report
from xpm_build.training.settings import TrainingSettings, training_settings
from xpm_build.training.spellings import passed_over
from xpm_build.training.task_metric import task_metric
from xpm_index.archive import MANIFEST
from xpm_index.locks import LockedError, locked_file
from xpm_index.manifest import Manifest

_CHECKPOINTS = TRAINING / "checkpoints"
_RUN = TRAINING / "run"
_LOCK = TRAINING / "lock"
_STATE = "trainer_state.json"
_WHOLE = (_STATE, "optimizer.pt", "scheduler.pt", "rng_state.pth", ADAPTER_WEIGHTS)
Report = Callable[[str], None]


def train(folder: Path, base: Path, *, restart: bool = False, report: Report = lambda text: None) -> TrainingReport:
    """Train the expert in ``folder`` on ``base`` as its manifest says.

    Args:
        base: the Hugging Face folder of the base.
        restart: forget an earlier run instead of going on with it.
    Raises:
        TrainingError: the manifest or the data does not allow it, the folder holds a run with other settings, or
            another process trains in it.
    """
    folder = folder.resolve()  # checkpoints remember where the best one is
    manifest = Manifest.parse((folder / MANIFEST).read_bytes())
    settings, data = training_settings(manifest.raw), dataset_settings(manifest.raw)
    for where, why in passed_over(manifest.raw).items():
        report(f"{where} is passed over: {why}")
    material = read_material(folder, data, seed=settings.seed)
    _require_judged(settings, material, data.language)
    identity = _identity(settings, material, base, _judged_by(folder, settings, manifest, data.language))
    if not restart:
        _refuse_another(folder, identity)
    import transformers

    transformers.set_seed(settings.seed)
    transformers.logging.set_verbosity_error()
    tokenizer = load_tokenizer(base)
    end = end_of_turn(base, tokenizer)
    if settings.beside:
        from xpm_build.training.beside import read_others

        others = read_others(folder, settings, base, tokenizer, end)
    model = with_adapter(settings, base)
    trainable = sum(each.numel() for each in model.parameters() if each.requires_grad)
    report(
        f"{trainable:,} parameters of {settings.adapter_type}, {len(material.train):,} rows, {len(material.valid):,} "
        "for validation"
    )
    judge = task_metric(settings, material, tokenizer, end, manifest, data.language)
    if judge is None and settings.metric != "loss":
        report("evaluation.language is not set, or there are no validation rows: the best checkpoint is chosen by loss")
    metric = "task" if judge else "loss"
    trainer = _trainer(folder, settings, model, tokenizer, material, end, metric)
    trainer.judge = judge
    if settings.beside:
        trainer.others = others
        others.hook(model)
    if settings.torch_compile and compiler():
        compile_layers(trainer.model)
    elif settings.torch_compile:
        report(
            "training.config.torch_compile: there is no C++ compiler here, or no Triton: layers run as they are written"
        )
    from transformers import PrinterCallback

    from xpm_build.training.trainer import EvaluateLastStepCallback, ProgressCallback, SaveByTimeCallback

    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(ProgressCallback(report))
    trainer.add_callback(EvaluateLastStepCallback())
    if settings.save_minutes:
        trainer.add_callback(SaveByTimeCallback(60 * settings.save_minutes))
    if truncation := _truncation(trainer, settings, len(material.train), tokenizer.convert_tokens_to_ids(end)):
        report(truncation)
    with _alone_in(folder):
        _start_run(folder, identity, restart=restart)
        checkpoint = _last_checkpoint(folder)
        if checkpoint:
            report(f"going on after {checkpoint.name.replace('-', ' ')}")
        started = time.monotonic()
        if checkpoint and (finished := _finished(checkpoint, settings)):
            trainer.state = finished
        else:
            trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
        chosen = _chosen_checkpoint(folder, settings, trainer.state)
        result = result_of(trainer, chosen, trainable, time.monotonic() - started, checkpoint)
        write_adapter(folder, chosen, settings.save_dtype)
        write_report(folder, result, settings, trainer)
    return result


def _require_judged(settings: TrainingSettings, material: Material, language: str) -> None:
    """Refuse knobs about a choice among checkpoints that could not be made."""
    if not material.valid and (settings.early_stopping_patience or settings.metric == "task"):
        knob = "early_stopping_patience" if settings.early_stopping_patience else "metric task"
        raise TrainingError(
            f"training.config: {knob} needs validation rows, and there are none",
            hint="hold some back with training.dataset.split.valid, or take it out",
        )
    if settings.metric == "task" and not language:
        raise TrainingError(
            "training.config: metric task needs a language whose judge runs the answers",
            hint="set evaluation.language, or take it out",
        )


def _identity(settings: TrainingSettings, material: Material, base: Path, judged_by: dict[str, Any]) -> str:
    """What a run belongs to: what decides the numbers, and which of them are kept."""
    checkpoint = FolderCheckpoint(base)
    weights = fingerprint(checkpoint, checkpoint.configuration)
    parts = {"settings": settings.trained_by(), "data": material.digest, "base": weights, "judged_by": judged_by}
    text = json.dumps(parts, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _judged_by(folder: Path, settings: TrainingSettings, manifest: Manifest, language: str) -> dict[str, Any]:
    """What besides settings, rows and base decides which numbers are trained and kept."""
    found: dict[str, Any] = {"language": language, "decoding": manifest.decoding}
    if settings.beside:
        from xpm_build.training.beside import digests_of

        found["beside"] = digests_of(folder, settings)
    return found


def _refuse_another(folder: Path, identity: str) -> None:
    path = folder / _RUN
    if path.is_file() and path.read_text().strip() != identity:
        raise TrainingError(
            f"{folder / TRAINING} holds a run with other settings, data or base",
            hint="begin anew with `xpm train --restart`, or restore what the manifest figures",
        )


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Keep every other process from training in a folder; the lock ends with this one at the latest."""
    (folder / TRAINING).mkdir(exist_ok=True)
    try:
        with locked_file(folder / _LOCK, timeout_s=0):
            yield
    except LockedError as error:
        raise TrainingError(
            f"another process trains in {folder}",
            context=f"it is process {error.process}" if error.process else None,
            hint="wait for it to end, or stop it",
        ) from error


def _start_run(folder: Path, identity: str, *, restart: bool) -> None:
    """Make room for a run; until here nothing was changed, so what is refused costs no earlier run.

    Raises:
        TrainingError: another run was begun meanwhile.
    """
    if restart:
        for each in (folder / TRAINING).iterdir():
            if each.is_dir():
                shutil.rmtree(each, ignore_errors=True)
            elif each != folder / _LOCK:  # which is ours
                each.unlink(missing_ok=True)
    _refuse_another(folder, identity)
    path = folder / _RUN
    (folder / _CHECKPOINTS).mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text(identity + "\n")
    os.replace(partial, path)


def _last_checkpoint(folder: Path) -> Path | None:
    """The newest checkpoint that is whole; torn ones are removed."""
    whole = []
    for each in (folder / _CHECKPOINTS).glob("checkpoint-*"):
        if all((each / name).is_file() for name in _WHOLE) and _is_json(each / _STATE):
            whole.append(each)
        else:
            shutil.rmtree(each)
    return max(whole, key=step_of, default=None)


def _finished(checkpoint: Path, settings: TrainingSettings) -> Any:
    """The state that a training ended with, if ``checkpoint`` is its last one; else None."""
    from transformers import TrainerState

    state = TrainerState.load_from_json(str(checkpoint / _STATE))
    stopping = state.stateful_callbacks.get("EarlyStoppingCallback") or {}
    waited = stopping.get("attributes", {}).get("early_stopping_patience_counter", 0)
    is_stopped = 0 < settings.early_stopping_patience <= waited
    return state if state.global_step >= state.max_steps or is_stopped else None


def _is_json(path: Path) -> bool:
    try:
        json.loads(path.read_text())
    except ValueError:
        return False
    return True


def _trainer(
    folder: Path, settings: TrainingSettings, model: Any, tokenizer: Any, material: Material, end: str, metric: str
) -> Any:
    import torch
    from datasets import Dataset, disable_progress_bars
    from transformers import AutoModelForCausalLM, EarlyStoppingCallback
    from trl.trainer.dpo_config import DPOConfig
    from trl.trainer.sft_config import SFTConfig

    from xpm_build.training.trainer import DistillationTrainer, PreferenceTrainer, SupervisedTrainer

    disable_progress_bars()
    train, valid = (
        Dataset.from_list(texts(rows, tokenizer, end, method=settings.method))
        for rows in (material.train, material.valid)
    )
    common: dict[str, Any] = {
        "output_dir": str(folder / _CHECKPOINTS),
        "num_train_epochs": settings.epochs,
        "max_steps": settings.max_steps or -1,
        "learning_rate": settings.learning_rate,
        "per_device_train_batch_size": settings.batch_size,
        "per_device_eval_batch_size": settings.eval_batch_size,
        "gradient_accumulation_steps": settings.gradient_accumulation_steps,
        "gradient_checkpointing": settings.gradient_checkpointing,
        "warmup_steps": settings.warmup_steps,
        "warmup_ratio": 0.0 if settings.warmup_steps else settings.warmup_ratio,
        "lr_scheduler_type": settings.lr_scheduler,
        "optim": settings.optimizer,
        "weight_decay": settings.weight_decay,
        "adam_beta1": settings.adam_beta1,
        "adam_beta2": settings.adam_beta2,
        "adam_epsilon": settings.adam_epsilon,
        "max_grad_norm": settings.max_grad_norm,
        "label_smoothing_factor": settings.label_smoothing,
        "neftune_noise_alpha": settings.neftune_noise_alpha or None,
        "bf16": settings.bf16 and computes_bfloat16(),
        "seed": settings.seed,
        "logging_steps": settings.logging_steps,
        "save_steps": settings.save_steps,
        "save_total_limit": _num_saved(settings),
        "restore_callback_states_from_checkpoint": True,
        "max_length": settings.max_seq_length,
        "report_to": "none",
        "disable_tqdm": True,
        "use_cpu": not torch.cuda.is_available(),
        "dataloader_pin_memory": torch.cuda.is_available(),
        "logging_first_step": True,
        "include_num_input_tokens_seen": "all",
    }
    if len(valid):
        common |= {
            "eval_strategy": "steps",
            "eval_steps": settings.eval_steps,
            "load_best_model_at_end": True,
            "metric_for_best_model": f"eval_{metric}",
            "greater_is_better": metric == "task",
        }
    callbacks = [EarlyStoppingCallback(settings.early_stopping_patience)] if settings.early_stopping_patience else []
    arguments: dict[str, Any] = {
        "model": model,
        "train_dataset": train,
        "eval_dataset": valid if len(valid) else None,
        "processing_class": tokenizer,
        "callbacks": callbacks,
    }
    if settings.method == "dpo":
        trainer: Any = PreferenceTrainer(args=DPOConfig(beta=settings.beta, **common), **arguments)
    else:
        config = SFTConfig(
            completion_only_loss=settings.completion_only_loss, packing=settings.packing, eos_token=end, **common
        )
        kind = DistillationTrainer if settings.method == "distillation" else SupervisedTrainer
        if settings.beside:
            from xpm_build.training.beside import BesideTrainer

            kind = BesideTrainer
        trainer = kind(args=config, **arguments)
    if settings.method == "distillation":
        path = folder / settings.teacher  # an absolute one stays as it is
        if not (path / "config.json").is_file():
            raise TrainingError(
                f"training.config.teacher: {path} holds no model", hint="it is a folder in Hugging Face's format"
            )
        teacher = AutoModelForCausalLM.from_pretrained(path, local_files_only=True)
        if teacher.config.vocab_size != model.config.vocab_size:
            raise TrainingError(
                "the teacher has another vocabulary than the base",
                context=f"{teacher.config.vocab_size} and {model.config.vocab_size} tokens",
            )
        trainer.teacher = teacher.eval().to(model.device)
    trainer.settings = settings
    return trainer


def _truncation(trainer: Any, settings: TrainingSettings, num_rows: int, end_id: int) -> str:
    """What of the rows does not fit into ``max_seq_length``, in words; "" if all does.

    Raises:
        TrainingError: no row fits, of those to train on or of those to judge by.
    """
    rows = trainer.train_dataset
    if settings.packing or "input_ids" not in rows.column_names:
        return ""
    if not len(rows) or (trainer.eval_dataset is not None and not len(trainer.eval_dataset)):
        raise TrainingError(
            f"no {'validation ' if len(rows) else ''}row has room for an answer",
            context=f"training.config.max_seq_length is {settings.max_seq_length}",
            hint="raise it",
        )
    cut, dropped = sum(ids[-1] != end_id for ids in rows["input_ids"]), num_rows - len(rows)
    if not cut and not dropped:
        return ""
    return (
        f"training.config.max_seq_length {settings.max_seq_length} is too short for all: {cut:,} rows are cut, "
        f"{dropped:,} have no room for an answer and are left out"
    )


def _num_saved(settings: TrainingSettings) -> int | None:
    """How many checkpoints are kept on the way: enough for the one that will be packaged to be there."""
    if settings.packaging_checkpoint not in ("", "final"):
        return None
    return max(settings.save_total_limit, 2 if settings.packaging_checkpoint else 1)


def _save_as(source: Path, target: Path, dtype: str) -> None:
    """Copy an adapter's tensors, rounded to ``dtype``."""
    import torch
    from safetensors.torch import load_file, save_file

    tensors = load_file(source)
    save_file(
        {name: each.to(getattr(torch, dtype)) for name, each in tensors.items()}, target, metadata={"format": "pt"}
    )


def _chosen_checkpoint(folder: Path, settings: TrainingSettings, state: Any) -> Path:
    """The checkpoint whose adapter is kept: the one that the manifest names, else the best, else the last."""
    last = state.global_step
    if settings.packaging_checkpoint == "final":
        step = last
    elif settings.packaging_checkpoint:
        step = int(settings.packaging_checkpoint.split("-")[1])
    else:
        step = state.best_global_step if state.best_metric is not None else last
    checkpoint = folder / _CHECKPOINTS / f"checkpoint-{step}"
    if not (checkpoint / ADAPTER_WEIGHTS).is_file():
        there = [each.name for each in sorted((folder / _CHECKPOINTS).glob("checkpoint-*"), key=step_of)]
        raise TrainingError(
            f"{checkpoint.name} is not there",
            context=f"training ended at step {last}; there are {', '.join(there)}",
            hint="name one of these in training.packaging_checkpoint, or take it out for the best one",
        )
    return checkpoint


def write_adapter(folder: Path, checkpoint: Path, dtype: str) -> None:
    """Put a checkpoint's adapter into the expert's folder."""
    with tempfile.TemporaryDirectory(dir=folder / TRAINING) as scratch:
        config = json.loads((checkpoint / ADAPTER_CONFIG).read_text())
        config["base_model_name_or_path"] = ""  # a path of this machine helps nobody
        (Path(scratch) / "config").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
        _save_as(checkpoint / ADAPTER_WEIGHTS, Path(scratch) / "weights", dtype)
        os.replace(Path(scratch) / "weights", folder / ADAPTER_WEIGHTS)
        os.replace(Path(scratch) / "config", folder / ADAPTER_CONFIG)
