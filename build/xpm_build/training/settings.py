"""What a manifest says of training: ``training.config``, typed, with key paths in every error.

Every knob is honoured or refused with a reason; none is ignored. Keys that begin with ``_`` are comments.
"""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from xpm_build.errors import TrainingError
from xpm_index.fields import Fields

METHODS = ("sft", "dpo", "distillation")
ADAPTERS = ("lora", "rslora", "dora", "ia3", "prompt_tuning", "qlora")
_SCHEDULERS = (
    "linear",
    "cosine",
    "constant",
    "constant_with_warmup",
    "cosine_with_min_lr",
    "polynomial",
    "inverse_sqrt",
)
_OPTIMIZERS = ("adamw_torch", "adamw_torch_fused", "adafactor", "sgd", "adamw_8bit", "paged_adamw_8bit")
_METRICS = ("task", "loss")
_DTYPES = ("float32", "bfloat16", "float16")
_DEFAULT_TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")

_REFUSED = {
    "deepspeed": "one machine and one device are enough for an adapter of this size",
    "fsdp": "one machine and one device are enough for an adapter of this size",
    "ddp_backend": "one machine and one device are enough for an adapter of this size",
    "push_to_hub": "experts are published with `xpm publish`",
    "hub_model_id": "experts are published with `xpm publish`",
    "hub_token": "experts are published with `xpm publish`, and keys do not belong in a manifest",
    "report_to": "the figures are written to training/report.json and training/curve.png; nothing is sent anywhere",
    "modules_to_save": "an expert holds adapters only; whole modules would change the shared base",
    "trust_remote_code": "no code of a base is ever run",
    "bias": "biases belong to the shared base",
    "resume_from_checkpoint": "`xpm train` always goes on where it was; start anew with --restart",
    "output_dir": "everything is written below the expert's folder",
    "reward_model": "rlhf is not supported: use dpo with prompt, chosen and rejected",
    "fp16": "float16 training overflows in small models: use bf16",
    "tf32": "TensorFloat-32 is chosen by the device",
    "torch_compile": "compiling an adapter's short training costs more than it saves",
    "use_liger_kernel": "no kernels of other projects are loaded",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingSettings:
    """Names and meanings are those of PEFT and TRL. ``max_steps`` 0 means: by ``epochs``; ``save_dtype`` is the kept adapter's."""

    method: str
    adapter_type: str
    rank: int
    alpha: int
    dropout: float
    target_modules: tuple[str, ...]
    feedforward_modules: tuple[str, ...]
    num_virtual_tokens: int
    init_text: str
    epochs: float
    max_steps: int
    learning_rate: float
    batch_size: int
    eval_batch_size: int
    gradient_accumulation_steps: int
    gradient_checkpointing: bool
    warmup_ratio: float
    warmup_steps: int
    lr_scheduler: str
    optimizer: str
    weight_decay: float
    adam_beta1: float
    adam_beta2: float
    adam_epsilon: float
    max_grad_norm: float
    label_smoothing: float
    neftune_noise_alpha: float
    max_seq_length: int
    packing: bool
    group_by_length: bool
    completion_only_loss: bool
    bf16: bool
    seed: int
    logging_steps: int
    eval_steps: int
    save_steps: int
    save_total_limit: int
    early_stopping_patience: int
    metric: str
    eval_cases: int
    beta: float
    teacher: str
    distillation_weight: float
    distillation_temperature: float
    save_dtype: str

    @property
    def is_greater_better(self) -> bool:
        return self.metric == "task"


def training_settings(raw: Mapping[str, Any]) -> TrainingSettings:
    """Read ``training.config`` of a manifest document.

    Raises:
        TrainingError: a knob is unknown, refused, or has a value that makes no sense; names the key path.
    """
    fields = Fields(dict(raw), error=TrainingError).object("training").object("config", required=True)
    _known(fields)
    method = _one_of(fields, "method", METHODS, default="sft", refused={"rlhf": _REFUSED["reward_model"]})
    adapter = _one_of(fields, "adapter_type", ADAPTERS, default="lora")
    if fields.raw.get("use_dora") is True and adapter == "lora":
        adapter = "dora"
    if fields.raw.get("use_rslora") is True and adapter == "lora":
        adapter = "rslora"
    rank = _between(fields, "rank", 16, 1, 256)
    targets = fields.raw.get("target_modules")
    if targets == "all-linear":
        targets = None
    eval_steps = _between(fields, "eval_steps", 100, 1, 10**6)
    settings = TrainingSettings(
        method=method, adapter_type=adapter, rank=rank,
        alpha=_between(fields, "alpha", 2 * rank, 1, 4096),
        dropout=_share(fields, "dropout", 0.0),
        target_modules=fields.strings("target_modules") if targets else _default_targets(adapter),
        feedforward_modules=fields.strings("feedforward_modules") or (("down_proj",) if adapter == "ia3" else ()),
        num_virtual_tokens=_between(fields, "num_virtual_tokens", 16, 1, 512),
        init_text=fields.text("init_text", required=False),
        epochs=_positive(fields, "epochs", 3.0), max_steps=_between(fields, "max_steps", 0, 0, 10**9),
        learning_rate=_positive(fields, "learning_rate", 2e-4),
        batch_size=_between(fields, "batch_size", 8, 1, 4096),
        eval_batch_size=_between(fields, "eval_batch_size", 32, 1, 4096),
        gradient_accumulation_steps=_between(fields, "gradient_accumulation_steps", 1, 1, 4096),
        gradient_checkpointing=_flag(fields, "gradient_checkpointing", False),
        warmup_ratio=_share(fields, "warmup_ratio", 0.03), warmup_steps=_between(fields, "warmup_steps", 0, 0, 10**9),
        lr_scheduler=_one_of(fields, "lr_scheduler", _SCHEDULERS, default="cosine"),
        optimizer=_one_of(fields, "optimizer", _OPTIMIZERS, default="adamw_torch"),
        weight_decay=_share(fields, "weight_decay", 0.0),
        adam_beta1=_share(fields, "adam_beta1", 0.9), adam_beta2=_share(fields, "adam_beta2", 0.999),
        adam_epsilon=_positive(fields, "adam_epsilon", 1e-8), max_grad_norm=_positive(fields, "max_grad_norm", 1.0),
        label_smoothing=_share(fields, "label_smoothing", 0.0),
        neftune_noise_alpha=fields.number("neftune_noise_alpha", default=0.0),
        max_seq_length=_between(fields, "max_seq_length", 2048, 8, 131_072), packing=_flag(fields, "packing", False),
        group_by_length=_flag(fields, "group_by_length", True),
        completion_only_loss=_flag(fields, "completion_only_loss", True), bf16=_flag(fields, "bf16", True),
        seed=_between(fields, "seed", 1, 0, 2**31), logging_steps=_between(fields, "logging_steps", 10, 1, 10**6),
        eval_steps=eval_steps, save_steps=_between(fields, "save_steps", eval_steps, 1, 10**6),
        save_total_limit=_between(fields, "save_total_limit", 2, 1, 1000),
        early_stopping_patience=_between(fields, "early_stopping_patience", 0, 0, 1000),
        metric=_one_of(fields, "metric", _METRICS, default="task"),
        eval_cases=_between(fields, "eval_cases", 100, 1, 100_000), beta=_positive(fields, "beta", 0.1),
        teacher=fields.text("teacher", required=method == "distillation"),
        distillation_weight=_share(fields, "distillation_weight", 0.5),
        distillation_temperature=_positive(fields, "distillation_temperature", 2.0),
        save_dtype=_one_of(fields, "save_dtype", _DTYPES, default="float32"),
    )  # fmt: skip
    _consistent(settings, fields)
    return settings


def _default_targets(adapter: str) -> tuple[str, ...]:
    return ("k_proj", "v_proj", "down_proj") if adapter == "ia3" else _DEFAULT_TARGETS


def _consistent(settings: TrainingSettings, fields: Fields) -> None:
    """Refuse combinations that would silently do something else."""
    if settings.save_steps != settings.eval_steps:
        raise TrainingError(
            f"{fields.at('save_steps')} must equal eval_steps", context=f"{settings.save_steps} and {settings.eval_steps}",
            hint="the best checkpoint is chosen among those that were evaluated",
        )  # fmt: skip
    if settings.method == "dpo" and settings.packing:
        raise TrainingError(f"{fields.at('packing')} has no meaning with dpo", hint="take it out")
    if settings.packing and settings.group_by_length:
        if fields.raw.get("group_by_length") is True:
            raise TrainingError(
                f"{fields.at('group_by_length')} has no meaning with packing", hint="take one of them out"
            )
        object.__setattr__(settings, "group_by_length", False)
    if settings.adapter_type == "prompt_tuning" and fields.raw.get("target_modules"):
        raise TrainingError(f"{fields.at('target_modules')} has no meaning for prompt_tuning", hint="take it out")


def _known(fields: Fields) -> None:
    known = set(TrainingSettings.__slots__) | {"use_dora", "use_rslora"}
    for key, value in fields.raw.items():
        if key.startswith("_") or value is None:
            continue
        if key in _REFUSED:
            raise TrainingError(f"{fields.at(key)} is not supported", context=_REFUSED[key], hint="take it out")
        if key not in known:
            alike = difflib.get_close_matches(key, known | set(_REFUSED), n=1)
            raise TrainingError(
                f"{fields.at(key)} is unknown", hint=f"did you mean {alike[0]}?" if alike else "see docs/training.md"
            )


def _one_of(
    fields: Fields, key: str, values: tuple[str, ...], *, default: str, refused: Mapping[str, str] | None = None
) -> str:
    value = fields.text(key, required=False) or default
    if refused and value in refused:
        raise TrainingError(f"{fields.at(key)} {value} is not supported", context=refused[value])
    if value not in values:
        raise TrainingError(f"{fields.at(key)} {value[:40]!r} is unknown", hint=f"it is one of {', '.join(values)}")
    return value


def _between(fields: Fields, key: str, default: int, low: int, high: int) -> int:
    value = fields.integer(key, default=default)
    if not low <= value <= high:
        raise TrainingError(f"{fields.at(key)} must be {low} to {high}", context=f"got {value}")
    return value


def _positive(fields: Fields, key: str, default: float) -> float:
    value = fields.number(key, default=default)
    if not value > 0:
        raise TrainingError(f"{fields.at(key)} must be more than 0", context=f"got {value}")
    return value


def _share(fields: Fields, key: str, default: float) -> float:
    value = fields.number(key, default=default)
    if not 0 <= value <= 1:
        raise TrainingError(f"{fields.at(key)} must be between 0 and 1", context=f"got {value}")
    return value


def _flag(fields: Fields, key: str, default: bool) -> bool:
    value = fields.raw.get(key)
    if value is None:
        return default
    if not isinstance(value, bool):
        raise TrainingError(f"{fields.at(key)} must be true or false", context=f"got {value!r}")
    return value
