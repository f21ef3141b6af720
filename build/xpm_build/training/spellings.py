"""Training sections as they are written for other programs: knobs under another name, and knobs that
decide only how fast a run is.

The first are honoured under the name that ``settings`` knows. The second are passed over with a warning each:
what is trained does not depend on them. A knob that is switched off (false, null, "none", nothing) asks for
nothing and is taken for absent.
"""

from collections.abc import Mapping
from typing import Any

from xpm_build.dataset.settings import HELD
from xpm_build.dataset.settings import PASSED_OVER as PASSED_OF_DATASET
from xpm_build.errors import TrainingError
from xpm_index.fields import Fields

ALIASES: Mapping[str, str] = {
    "optim": "optimizer",
    "lr_scheduler_type": "lr_scheduler",
    "num_train_epochs": "epochs",
    "num_epochs": "epochs",
    "per_device_train_batch_size": "batch_size",
    "micro_batch_size": "batch_size",
    "max_length": "max_seq_length",
    "per_device_eval_batch_size": "eval_batch_size",
    "lora_r": "rank",
    "r": "rank",
    "lora_alpha": "alpha",
    "lora_dropout": "dropout",
    "use_packing": "packing",
    "assistant_only_loss": "completion_only_loss",
}
_VALUES: Mapping[str, Mapping[Any, Any]] = {
    "target_modules": {"all-linear": None},
    "optimizer": {"adamw": "adamw_torch", "adamw_hf": "adamw_torch", "adamw_bnb_8bit": "adamw_8bit"},
    "gradient_checkpointing": {"full": True, "selective": True, "unsloth": True, "none": False},
}
_DEVICE = "how numbers are multiplied is the device's affair"
_NOT_OURS = "no kernels of other projects are loaded"
_EVALUATED = "a checkpoint is written and judged every eval_steps, and the best one is kept"
PASSED: Mapping[str, str] = {
    "dataloader_num_workers": HELD,
    "dataloader_pin_memory": HELD,
    "dataloader_prefetch_factor": HELD,
    "dataloader_persistent_workers": HELD,
    "dataset_num_proc": HELD,
    "preprocessing_num_workers": HELD,
    "use_tf32": _DEVICE,
    "tf32": _DEVICE,
    "use_cuda_graphs": _DEVICE,
    "cuda_graph_warmup_steps": _DEVICE,
    "use_unsloth": _NOT_OURS,
    "use_liger_kernel": _NOT_OURS,
    "use_liger": _NOT_OURS,
    "torch_compile_backend": "layers are compiled by PyTorch's own compiler",
    "torch_compile_mode": "layers are compiled by PyTorch's own compiler",
    "use_sdpa": "attn_implementation says which attention there is, sdpa unless given",
    "flash_attention_2": "attn_implementation says which attention there is, sdpa unless given",
    "use_flash_attention": "attn_implementation says which attention there is, sdpa unless given",
    "use_flash_attention_2": "attn_implementation says which attention there is, sdpa unless given",
    "memory_efficient_attention": "attn_implementation says which attention there is, sdpa unless given",
    "memory_clear_every": "memory is freed as it is",
    "torch_empty_cache_steps": "memory is freed as it is",
    "activation_checkpointing": "gradient_checkpointing says whether activations are computed again",
    "gradient_checkpointing_kwargs": "gradient_checkpointing says whether activations are computed again",
    "save_strategy": _EVALUATED,
    "evaluation_strategy": _EVALUATED,
    "eval_strategy": _EVALUATED,
    "load_best_model_at_end": _EVALUATED,
    "metric_for_best_model": "metric says by what the best is chosen",
    "greater_is_better": "metric says by what the best is chosen",
    "logging_dir": "figures are written below training/",
    "logging_strategy": "figures are told every logging_steps",
    "run_name": "figures are written below training/",
    "disable_tqdm": "`xpm --quiet` says nothing",
    "overwrite_output_dir": "`xpm train --restart` begins anew",
}
_OFF = (None, False, "", "none", "no", 0)


def is_off(value: Any) -> bool:
    """Whether a knob with this value asks for nothing."""
    return any(value is each or (isinstance(value, str) and value.lower() == each) for each in _OFF) or value in (
        [],
        {},
    )


def understood(fields: Fields) -> dict[str, Any]:
    """``training.config`` with the names and values that ``settings`` knows, without what is passed over.

    Raises:
        TrainingError: a knob is given under two names with different values.
    """
    config: dict[str, Any] = {}
    for key, value in fields.raw.items():
        name = ALIASES.get(key, key)
        if key in PASSED or value is None:
            continue
        meant = _VALUES.get(name, {}).get(value, value) if isinstance(value, str) else value
        if name in config and config[name] != meant:
            raise TrainingError(
                f"{fields.at(key)} contradicts {name}",
                context=f"{meant!r} and {config[name]!r}",
                hint="they are one knob: keep one of them",
            )
        config[name] = meant
    return config


def passed_over(raw: Mapping[str, Any]) -> dict[str, str]:
    """Key path → why it is passed over, of what a manifest's document asks for in vain."""
    found: dict[str, str] = {}
    training = raw.get("training")
    for section, reasons in (("config", PASSED), ("dataset", PASSED_OF_DATASET)):
        stated = training.get(section) if isinstance(training, dict) else None
        for key, value in stated.items() if isinstance(stated, dict) else ():
            if (
                key in reasons
                and not is_off(value)
                and not (key in ("use_sdpa", "load_best_model_at_end") and value is True)
            ):
                found[f"training.{section}.{key}"] = reasons[key]
    if isinstance(training, dict):
        dataset = training.get("dataset")
        preprocessing = dataset.get("preprocessing") if isinstance(dataset, dict) else None
        for key in preprocessing if isinstance(preprocessing, dict) else ():
            if key not in ("near_duplicates", "max_characters") and not key.startswith("_"):
                found[f"training.dataset.preprocessing.{key}"] = "it is kept as a note on how the data was made"
    return found
