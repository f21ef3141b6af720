"""What a manifest says of training: ``training.config``, typed, with key paths in every error.

Every knob is honoured, refused with a reason, or, where it decides nothing of what is trained, passed over with a warning
(``spellings``). Keys that begin with ``_`` are comments.
"""

import difflib
import re
from collections.abc import Mapping, Set
from dataclasses import asdict, dataclass
from typing import Any

from xpm_build.errors import TrainingError
from xpm_build.training.spellings import is_off, understood
from xpm_index.fields import Fields

METHODS = ("sft", "dpo", "distillation")
ADAPTERS = ("lora", "rslora", "dora", "ia3", "prompt_tuning", "qlora")
_SCHEDULERS = ("linear", "cosine", "constant", "constant_with_warmup", "polynomial", "inverse_sqrt")
_OPTIMIZERS = ("adamw_torch", "adamw_torch_fused", "adafactor", "sgd", "adamw_8bit", "paged_adamw_8bit")
_METRICS = ("task", "loss")
_ATTENTIONS = ("sdpa", "eager")
_DTYPES = ("float32", "bfloat16", "float16")
_LOW_RANK = ("lora", "rslora", "dora", "qlora")
_LIKELIHOOD = ("sft", "distillation")

# Knobs that mean something for some methods or adapters only.
_MEANT_FOR: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "rank": ("adapter_type", _LOW_RANK),
    "alpha": ("adapter_type", _LOW_RANK),
    "dropout": ("adapter_type", _LOW_RANK),
    "target_modules": ("adapter_type", (*_LOW_RANK, "ia3")),
    "feedforward_modules": ("adapter_type", ("ia3",)),
    "num_virtual_tokens": ("adapter_type", ("prompt_tuning",)),
    "init_text": ("adapter_type", ("prompt_tuning",)),
    "use_dora": ("adapter_type", ("lora", "dora")),
    "use_rslora": ("adapter_type", ("lora", "rslora")),
    "beta": ("method", ("dpo",)),
    "teacher": ("method", ("distillation",)),
    "distillation_weight": ("method", ("distillation",)),
    "distillation_temperature": ("method", ("distillation",)),
    "packing": ("method", _LIKELIHOOD),
    "completion_only_loss": ("method", _LIKELIHOOD),
    "eval_cases": ("metric", ("task",)),
    "label_smoothing": ("method", ("sft",)),
}
_SECTION = frozenset(
    (
        "dataset",
        "config",
        "decoding",
        "trained_on",
        "packaging_checkpoint",
        "base_model_version",
        "checkpoint",
        "alternative_checkpoints",
    )
)
_KEPT = frozenset(("save_total_limit", "save_minutes", "packaging_checkpoint"))
_PACKAGED = re.compile(r"final|checkpoint-([1-9][0-9]*)")
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
}


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingSettings:
    """Names and meanings are those of PEFT and TRL. ``max_steps`` 0 means: by ``epochs``; ``save_dtype`` is the kept adapter's.

    ``metric`` is "" for task where answers can be judged, else loss. ``packaging_checkpoint`` is "" for the best one, "final" or
    "checkpoint-N". It, ``save_total_limit`` and ``save_minutes`` (0 for by steps alone) change nothing of what is trained:
    ``trained_by`` leaves them out.
    """

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
    attn_implementation: str
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
    save_minutes: float
    save_total_limit: int
    early_stopping_patience: int
    metric: str
    eval_cases: int
    beta: float
    teacher: str
    distillation_weight: float
    distillation_temperature: float
    save_dtype: str
    packaging_checkpoint: str

    def trained_by(self) -> dict[str, Any]:
        """What decides the trained numbers."""
        return {key: value for key, value in asdict(self).items() if key not in _KEPT}


def training_settings(raw: Mapping[str, Any]) -> TrainingSettings:
    """Read ``training.config`` of a manifest document.

    Raises:
        TrainingError: a knob is unknown, refused, or has a value that makes no sense; names the key path.
    """
    training = Fields(dict(raw), error=TrainingError).object("training")
    stated = training.object("config", required=True)
    _only(training, _SECTION)
    fields = Fields(understood(stated), stated.path, error=TrainingError)
    _known(fields)
    method = _one_of(fields, "method", METHODS, default="sft", refused={"rlhf": _REFUSED["reward_model"]})
    adapter = _one_of(fields, "adapter_type", ADAPTERS, default="lora")
    metric = _metric(fields, method)
    _meaningful(fields, {"method": method, "adapter_type": adapter, "metric": metric or "task"})
    if _flag(fields, "use_dora", False):
        adapter = "dora"
    if _flag(fields, "use_rslora", False):
        adapter = "rslora"
    rank = _between(fields, "rank", 16, 1, 256)
    targets = fields.raw.get("target_modules")
    if targets == "all-linear":
        targets = None
    targets = fields.strings("target_modules") if targets else _default_targets(adapter)
    feedforward = tuple(name for name in ("down_proj",) if adapter == "ia3" and name in targets)
    eval_steps = _between(fields, "eval_steps", 100, 1, 10**6)
    settings = TrainingSettings(
        method=method,
        adapter_type=adapter,
        rank=rank,
        alpha=_between(fields, "alpha", 2 * rank, 1, 4096),
        dropout=_share(fields, "dropout", 0.0),
        target_modules=targets,
        feedforward_modules=fields.strings("feedforward_modules") or feedforward,
        num_virtual_tokens=_between(fields, "num_virtual_tokens", 16, 1, 512),
        init_text=fields.text("init_text", required=False),
        epochs=_positive(fields, "epochs", 3.0),
        max_steps=_between(fields, "max_steps", 0, 0, 10**9),
        learning_rate=_positive(fields, "learning_rate", 2e-4),
        batch_size=_between(fields, "batch_size", 8, 1, 4096),
        eval_batch_size=_between(fields, "eval_batch_size", 32, 1, 4096),
        gradient_accumulation_steps=_between(fields, "gradient_accumulation_steps", 1, 1, 4096),
        gradient_checkpointing=_flag(fields, "gradient_checkpointing", False),
        attn_implementation=_one_of(fields, "attn_implementation", _ATTENTIONS, default="sdpa"),
        warmup_ratio=_share(fields, "warmup_ratio", 0.03),
        warmup_steps=_between(fields, "warmup_steps", 0, 0, 10**9),
        lr_scheduler=_one_of(fields, "lr_scheduler", _SCHEDULERS, default="cosine"),
        optimizer=_one_of(fields, "optimizer", _OPTIMIZERS, default="adamw_torch"),
        weight_decay=_share(fields, "weight_decay", 0.0),
        adam_beta1=_share(fields, "adam_beta1", 0.9),
        adam_beta2=_share(fields, "adam_beta2", 0.999),
        adam_epsilon=_positive(fields, "adam_epsilon", 1e-8),
        max_grad_norm=_positive(fields, "max_grad_norm", 1.0),
        label_smoothing=_share(fields, "label_smoothing", 0.0),
        neftune_noise_alpha=fields.number("neftune_noise_alpha", default=0.0),
        max_seq_length=_between(fields, "max_seq_length", 2048, 8, 131_072),
        packing=_flag(fields, "packing", False),
        group_by_length=_flag(fields, "group_by_length", True),
        completion_only_loss=_flag(fields, "completion_only_loss", True),
        bf16=_flag(fields, "bf16", True),
        seed=_between(fields, "seed", 1, 0, 2**31),
        logging_steps=_between(fields, "logging_steps", 10, 1, 10**6),
        eval_steps=eval_steps,
        save_steps=_between(fields, "save_steps", eval_steps, 1, 10**6),
        save_minutes=_at_least(fields, "save_minutes", 10.0),
        save_total_limit=_between(fields, "save_total_limit", 2, 1, 1000),
        early_stopping_patience=_between(fields, "early_stopping_patience", 0, 0, 1000),
        metric=metric,
        eval_cases=_between(fields, "eval_cases", 100, 1, 100_000),
        beta=_positive(fields, "beta", 0.1),
        teacher=fields.text("teacher", required=method == "distillation"),
        distillation_weight=_share(fields, "distillation_weight", 0.5),
        distillation_temperature=_positive(fields, "distillation_temperature", 2.0),
        save_dtype=_one_of(fields, "save_dtype", _DTYPES, default="float32"),
        packaging_checkpoint=training.text("packaging_checkpoint", required=False),
    )
    if settings.packaging_checkpoint and not _PACKAGED.fullmatch(settings.packaging_checkpoint):
        raise TrainingError(
            f"{training.at('packaging_checkpoint')} {settings.packaging_checkpoint[:40]!r} is no checkpoint",
            hint="it is final, or checkpoint-N with the step N; without it the best one is kept",
        )
    _consistent(settings, fields)
    return settings


def _default_targets(adapter: str) -> tuple[str, ...]:
    return ("k_proj", "v_proj", "down_proj") if adapter == "ia3" else _DEFAULT_TARGETS


def _consistent(settings: TrainingSettings, fields: Fields) -> None:
    """Refuse combinations that would silently do something else."""
    if settings.save_steps != settings.eval_steps:
        raise TrainingError(
            f"{fields.at('save_steps')} must equal eval_steps",
            context=f"{settings.save_steps} and {settings.eval_steps}",
            hint="the best checkpoint is chosen among those that were evaluated",
        )
    if settings.packing and settings.group_by_length:
        if fields.raw.get("group_by_length") is True:
            raise TrainingError(
                f"{fields.at('group_by_length')} has no meaning with packing", hint="take one of them out"
            )
        object.__setattr__(settings, "group_by_length", False)
    if settings.adapter_type == "prompt_tuning" and (settings.method == "distillation" or settings.label_smoothing):
        other = "method distillation" if settings.method == "distillation" else "label_smoothing"
        raise TrainingError(
            f"{fields.at('adapter_type')} prompt_tuning cannot be trained with {other}",
            context="its virtual tokens have no counterpart in the labels",
            hint="use lora",
        )
    if settings.label_smoothing and settings.gradient_accumulation_steps > 1:
        raise TrainingError(
            f"{fields.at('label_smoothing')} cannot be trained with gradient_accumulation_steps",
            context="the smoothed loss of each part would count as that of all",
            hint="use a larger batch_size",
        )
    if alone := sorted(set(settings.feedforward_modules) - set(settings.target_modules)):
        raise TrainingError(
            f"{fields.at('feedforward_modules')} must be among target_modules", context=f"{', '.join(alone)} is not"
        )
    if named := _PACKAGED.fullmatch(settings.packaging_checkpoint):
        step = int(named[1] or 0)
        if step % settings.save_steps and step != settings.max_steps:
            raise TrainingError(
                f"training.packaging_checkpoint names step {step}, where none is written",
                context=f"a checkpoint is written every {settings.save_steps} steps",
            )


def _meaningful(fields: Fields, chosen: Mapping[str, str]) -> None:
    """Refuse a knob that the chosen method or adapter would not read."""
    for key, (by, values) in _MEANT_FOR.items():
        if fields.raw.get(key) not in (None, False) and chosen[by] not in values:
            raise TrainingError(
                f"{fields.at(key)} has no meaning with {by} {chosen[by]}",
                hint=f"take it out; it is for {', '.join(values)}",
            )


def _metric(fields: Fields, method: str) -> str:
    if method != "dpo":
        return _one_of(fields, "metric", _METRICS, default="")
    metric = _one_of(fields, "metric", _METRICS, default="loss")
    if metric == "task":
        raise TrainingError(
            f"{fields.at('metric')} task has no meaning with method dpo", hint="take it out: it is loss"
        )
    return metric


def _known(fields: Fields) -> None:
    known = (set(TrainingSettings.__slots__) - _SECTION) | {"use_dora", "use_rslora"}
    _only(fields, known | set(_REFUSED))
    for key, value in fields.raw.items():
        if key in _REFUSED and not is_off(value):
            raise TrainingError(f"{fields.at(key)} is not supported", context=_REFUSED[key], hint="take it out")


def _only(fields: Fields, known: Set[str]) -> None:
    """Refuse a key that nothing reads."""
    for key, value in fields.raw.items():
        if key not in known and not key.startswith("_") and value is not None:
            alike = difflib.get_close_matches(key, known, n=1)
            raise TrainingError(
                f"{fields.at(key)} is unknown", hint=f"did you mean {alike[0]}?" if alike else "see docs/training.md"
            )


def _one_of(
    fields: Fields, key: str, values: tuple[str, ...], *, default: str, refused: Mapping[str, str] | None = None
) -> str:
    value = fields.text(key, required=False) or default
    if refused and value in refused:
        raise TrainingError(f"{fields.at(key)} {value} is not supported", context=refused[value])
    if value not in (*values, default):
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


def _at_least(fields: Fields, key: str, default: float) -> float:
    value = fields.number(key, default=default)
    if not 0 <= value < 1e6:
        raise TrainingError(f"{fields.at(key)} must be 0 or more", context=f"got {value}")
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
