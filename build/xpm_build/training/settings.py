"""What a manifest says of training: ``training.config``, typed, with key paths in every error.

``TrainingSettings`` is the one table of knobs. Every knob is honoured, refused with a reason, or, where it decides
nothing of what is trained, passed over with a warning (``spellings``). Keys that begin with ``_`` are comments.
"""

import difflib
import re
from collections.abc import Mapping, Set
from dataclasses import asdict, dataclass
from typing import Any

from xpm_build.errors import TrainingError
from xpm_build.training.knobs import (
    at_least_0,
    flag,
    knob,
    knobs_of,
    names,
    number,
    one_of,
    paths,
    positive,
    require_meaning,
    share,
    text,
    whole,
)
from xpm_build.training.spellings import is_off, understood
from xpm_index.fields import Fields

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
_SECTION = frozenset(
    "dataset config decoding trained_on packaging_checkpoint base_model_version checkpoint".split()
    + ["alternative_checkpoints"]
)
_PACKAGED = re.compile(r"final|checkpoint-([1-9][0-9]*)")
_DEFAULT_TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
_DEFAULT_TARGETS_IA3 = ("k_proj", "v_proj", "down_proj")
_LOW_RANK = ("lora", "rslora", "dora", "alora", "qlora")
_IS_LOW_RANK = ("adapter_type", _LOW_RANK)
_IS_ACTIVATED = ("adapter_type", ("alora",))
_IS_IA3 = ("adapter_type", ("ia3",))
_IS_PROMPT = ("adapter_type", ("prompt_tuning",))
_IS_DISTILLED = ("method", ("distillation",))
_OF_LIKELIHOOD = ("method", ("sft", "distillation"))
_OLDER_ADAPTERS = {"use_dora": ("dora", ("lora", "dora")), "use_rslora": ("rslora", ("lora", "rslora"))}
"""An older flag → the adapter that it asks for, and those that it may be given with."""


def _feedforward(above: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(name for name in ("down_proj",) if above["adapter_type"] == "ia3" and name in above["target_modules"])


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingSettings:
    """Names and meanings are those of PEFT and TRL.

    ``packaging_checkpoint``, of ``training`` itself, is "" for the best one, "final" or "checkpoint-N".
    """

    method: str = knob(
        one_of("sft", "dpo", "distillation", refused={"rlhf": _REFUSED["reward_model"]}), "sft", "what is learned from"
    )
    adapter_type: str = knob(
        one_of("lora", "rslora", "dora", "alora", "ia3", "prompt_tuning", "qlora"),
        "lora",
        "qlora needs bitsandbytes and CUDA; alora acts from its invocation on",
    )
    metric: str = knob(
        one_of("task", "loss"),
        lambda above: "loss" if above["method"] == "dpo" else "",
        "what chooses the best checkpoint: `task` runs the answers to the first validation cases with the language's "
        "judge, `loss` is the validation loss; asked for where it cannot be had, it is refused",
        shown="task where there is a judge and validation rows, else loss",
    )
    beta: float = knob(positive, 0.1, "how near to the base it stays", only=("method", ("dpo",)))
    teacher: str = knob(text, "", "a model's folder with the same vocabulary", shown="none", only=_IS_DISTILLED)
    distillation_weight: float = knob(share, 0.5, "the teacher's share of the loss", only=_IS_DISTILLED)
    distillation_temperature: float = knob(positive, 2.0, "of both distributions", only=_IS_DISTILLED)
    rank: int = knob(whole(1, 256), 16, "of the update", only=_IS_LOW_RANK)
    alpha: int = knob(
        whole(1, 4096),
        lambda above: 2 * above["rank"],
        "the update is scaled by alpha / rank",
        shown="2 × rank",
        only=_IS_LOW_RANK,
    )
    dropout: float = knob(share, 0.0, "of the adapter's input, while training", only=_IS_LOW_RANK)
    invocation: str = knob(
        text,
        "",
        "from whose last place in a prompt on the adapter acts",
        shown="what begins an answer in the base's chat template",
        only=_IS_ACTIVATED,
    )
    target_modules: tuple[str, ...] = knob(
        names,
        lambda above: _DEFAULT_TARGETS_IA3 if above["adapter_type"] == "ia3" else _DEFAULT_TARGETS,
        '`"all-linear"` is understood',
        shown="all seven linears; for ia3 k, v and down",
        only=("adapter_type", (*_LOW_RANK, "ia3")),
    )
    feedforward_modules: tuple[str, ...] = knob(
        names, _feedforward, "those of target_modules that scale their input", shown="down_proj", only=_IS_IA3
    )
    num_virtual_tokens: int = knob(whole(1, 512), 16, "before every prompt", only=_IS_PROMPT)
    init_text: str = knob(text, "", "what the virtual tokens begin as", shown="none", only=_IS_PROMPT)
    epochs: float = knob(positive, 3.0, "passes over the rows")
    max_steps: int = knob(whole(0, 10**9), 0, "decides instead of `epochs`, unless it is 0")
    learning_rate: float = knob(positive, 2e-4, "the highest")
    lr_scheduler: str = knob(
        one_of("linear", "cosine", "constant", "constant_with_warmup", "polynomial", "inverse_sqrt"),
        "cosine",
        "how the learning rate falls",
    )
    warmup_ratio: float = knob(share, 0.03, "the share of steps in which it rises")
    warmup_steps: int = knob(whole(0, 10**9), 0, "decides instead of `warmup_ratio`, unless it is 0")
    batch_size: int = knob(whole(1, 4096), 8, "rows of a batch")
    gradient_accumulation_steps: int = knob(whole(1, 4096), 1, "batches of a step")
    gradient_checkpointing: bool = knob(flag, False, "less memory, more time")
    attn_implementation: str = knob(
        one_of("sdpa", "eager"),
        "sdpa",
        "PyTorch's fused attention; `eager` is plain attention: on a CPU faster for short rows, with memory that "
        "grows with the square of a row's length",
    )
    torch_compile: bool = knob(
        flag,
        False,
        "the base's layers as fused loops: on a CPU a step takes about half the time, after seconds to compile; it "
        "needs a C++ compiler, or Triton on CUDA, and trains without if there is none",
    )
    optimizer: str = knob(
        one_of("adamw_torch", "adamw_torch_fused", "adafactor", "sgd", "adamw_8bit", "paged_adamw_8bit"),
        "adamw_torch",
        "as in Transformers",
    )
    weight_decay: float = knob(share, 0.0, "per step, times the learning rate")
    adam_beta1: float = knob(share, 0.9, "of AdamW")
    adam_beta2: float = knob(share, 0.999, "of AdamW")
    adam_epsilon: float = knob(positive, 1e-8, "of AdamW")
    max_grad_norm: float = knob(positive, 1.0, "longer gradients are shortened")
    label_smoothing: float = knob(share, 0.0, "the share that all tokens get", only=("method", ("sft",)))
    neftune_noise_alpha: float = knob(number, 0.0, "noise on embeddings, 0 for none")
    max_seq_length: int = knob(whole(8, 131_072), 2048, "tokens of a row")
    packing: bool = knob(flag, False, "several rows in one sequence", only=_OF_LIKELIHOOD)
    group_by_length: bool = knob(flag, True, "false with `packing`")
    completion_only_loss: bool = knob(flag, True, "prompts are read, not learned", only=_OF_LIKELIHOOD)
    bf16: bool = knob(
        flag, True, "autocast while training, on CUDA and on processors that compute in bfloat16 (AVX512-BF16, AMX)"
    )
    save_dtype: str = knob(one_of("float32", "bfloat16", "float16"), "float32", "how the kept adapter is stored")
    seed: int = knob(whole(0, 2**31), 1, "decides batches, dropout and initial weights")
    logging_steps: int = knob(whole(1, 10**6), 10, "how often loss and speed are told")
    eval_steps: int = knob(whole(1, 10**6), 100, "how often the model is judged")
    save_steps: int = knob(
        whole(1, 10**6), lambda above: above["eval_steps"], "must equal `eval_steps`", shown="eval_steps"
    )
    save_minutes: float = knob(
        at_least_0,
        10.0,
        "a checkpoint also when so many minutes passed without one; 0 for by steps alone",
        decides=False,
    )
    save_total_limit: int = knob(whole(1, 1000), 2, "checkpoints that are kept", decides=False)
    early_stopping_patience: int = knob(whole(0, 1000), 0, "judgements without a better one; 0 for any number")
    eval_batch_size: int = knob(whole(1, 4096), 32, "answers or rows at a time while judging")
    eval_cases: int = knob(whole(1, 100_000), 100, "the most that are answered", only=("metric", ("task", "")))
    beside: tuple[str, ...] = knob(
        paths,
        (),
        "frozen experts that act while it is trained, so that it bears with them; for adapter_type lora, rslora",
        shown="none",
        only=("method", ("sft",)),
    )
    beside_weight: float = knob(
        at_least_0, 1.0, "of leaving their answers as they are, in the loss", only=("method", ("sft",))
    )
    packaging_checkpoint: str

    def trained_by(self) -> dict[str, Any]:
        """What decides the trained numbers."""
        unread = () if self.beside else ("beside", "beside_weight")
        values = asdict(self).items()
        return {key: value for key, value in values if key in KNOBS and KNOBS[key].decides and key not in unread}


KNOBS = knobs_of(TrainingSettings)


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
    values: dict[str, Any] = {}
    for name, each in KNOBS.items():
        values[name] = each.read(fields, name, values)
    chosen = values["adapter_type"]
    for name, (adapter, meant_for) in _OLDER_ADAPTERS.items():
        require_meaning(fields, name, "adapter_type", meant_for, chosen=chosen)
        if flag.read(fields, name, False):
            values["adapter_type"] = adapter
    settings = TrainingSettings(**values, packaging_checkpoint=training.text("packaging_checkpoint", required=False))
    if settings.packaging_checkpoint and not _PACKAGED.fullmatch(settings.packaging_checkpoint):
        raise TrainingError(
            f"{training.at('packaging_checkpoint')} {settings.packaging_checkpoint[:40]!r} is no checkpoint",
            hint="it is final, or checkpoint-N with the step N; without it the best one is kept",
        )
    _consistent(settings, fields)
    return settings


def _consistent(settings: TrainingSettings, fields: Fields) -> None:
    """Refuse combinations that would silently do something else."""
    fields.text("teacher", required=settings.method == "distillation")
    if settings.method == "dpo" and settings.metric == "task":
        raise TrainingError(
            f"{fields.at('metric')} task has no meaning with method dpo", hint="take it out: it is loss"
        )
    _consistent_beside(settings, fields)
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


def _consistent_beside(settings: TrainingSettings, fields: Fields) -> None:
    if not settings.beside:
        if "beside_weight" in fields.raw:
            raise TrainingError(f"{fields.at('beside_weight')} has no meaning without beside", hint="take it out")
        return
    if settings.adapter_type not in ("lora", "rslora"):
        raise TrainingError(
            f"{fields.at('beside')} has no meaning with adapter_type {settings.adapter_type}",
            context="only updates of low rank act beside each other without changing what the others scale",
            hint="use lora or rslora",
        )
    if settings.gradient_checkpointing:
        raise TrainingError(
            f"{fields.at('gradient_checkpointing')} cannot be had with beside",
            context="what is computed again would be so without the others",
            hint="take one of them out",
        )
    if settings.torch_compile:
        raise TrainingError(
            f"{fields.at('torch_compile')} cannot be had with beside",
            context="layers would be compiled anew for whoever acts",
            hint="take one of them out",
        )


def _known(fields: Fields) -> None:
    _only(fields, KNOBS.keys() | _OLDER_ADAPTERS.keys() | _REFUSED.keys())
    for key, value in fields.raw.items():
        if key in _REFUSED and not is_off(value):
            raise TrainingError(f"{fields.at(key)} is not supported", context=_REFUSED[key], hint="take it out")


def _only(fields: Fields, known: Set[str]) -> None:
    """Refuse a key that nothing reads."""
    for key, value in fields.raw.items():
        if key not in known and not key.startswith("_") and value is not None:
            alike = difflib.get_close_matches(key, known, n=1)
            raise TrainingError(
                f"{fields.at(key)} is unknown",
                hint=f"did you mean {alike[0]}?" if alike else "see docs/reference/training.md",
            )
