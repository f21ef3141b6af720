"""A base with a fresh adapter on it, as the settings describe it to PEFT."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from xpm_build.errors import TrainingError
from xpm_build.prompts import begin_of_answer, load_tokenizer
from xpm_build.training.settings import TrainingSettings
from xpm_runtime.adapter import MAX_INVOCATION_TOKENS


def with_adapter(settings: TrainingSettings, base: Path) -> Any:
    """The base with a fresh adapter, the base's numbers frozen."""
    import torch
    from peft import get_peft_model
    from transformers import AutoModelForCausalLM

    options: dict[str, Any] = {
        "dtype": torch.bfloat16 if torch.cuda.is_available() and settings.bf16 else torch.float32,
        "attn_implementation": settings.attn_implementation,
    }
    for key, value in (("adapter_type", settings.adapter_type), ("optimizer", settings.optimizer)):
        needs_cuda = value == "qlora" or value.endswith("8bit")
        if needs_cuda and (find_spec("bitsandbytes") is None or not torch.cuda.is_available()):
            raise TrainingError(
                f"training.config.{key} {value} needs bitsandbytes and a CUDA device",
                hint=f"use {'lora' if key == 'adapter_type' else 'adamw_torch'}",
            )
    if settings.adapter_type == "qlora":
        from transformers import BitsAndBytesConfig

        options["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.bfloat16
        )
    model = AutoModelForCausalLM.from_pretrained(base, local_files_only=True, **options)
    _check_targets(settings, model)
    if settings.adapter_type == "qlora":
        from peft import prepare_model_for_kbit_training

        model = prepare_model_for_kbit_training(model)
    adapted = get_peft_model(model, peft_config(settings, base))
    if settings.gradient_checkpointing:
        adapted.enable_input_require_grads()
    return adapted


def computes_bfloat16() -> bool:
    """Whether training can be done in bfloat16 at speed: on CUDA, or a processor with instructions for it.

    Without them PyTorch's products in bfloat16 take several times as long as in float32.
    """
    import torch

    return bool(
        torch.cuda.is_available() or torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    )


def _check_targets(settings: TrainingSettings, model: Any) -> None:
    """PEFT takes a list of targets of which one fits, and leaves out the rest without a word."""
    import torch

    linears = {
        name.rsplit(".", 1)[-1] for name, each in model.model.named_modules() if isinstance(each, torch.nn.Linear)
    }
    for key in ("target_modules", "feedforward_modules"):
        for name in getattr(settings, key) if settings.adapter_type != "prompt_tuning" else ():
            if name not in linears:
                raise TrainingError(
                    f"training.config.{key}: the base has no linear named {name!r}",
                    hint=f"it has {', '.join(sorted(linears))}",
                )


def peft_config(settings: TrainingSettings, base: Path) -> Any:
    """The adapter as PEFT describes it."""
    from peft import IA3Config, LoraConfig, PromptTuningConfig, PromptTuningInit, TaskType

    if settings.adapter_type == "ia3":
        return IA3Config(
            task_type=TaskType.CAUSAL_LM,
            target_modules=list(settings.target_modules),
            feedforward_modules=list(settings.feedforward_modules),
        )
    if settings.adapter_type == "prompt_tuning":
        return PromptTuningConfig(
            task_type=TaskType.CAUSAL_LM,
            num_virtual_tokens=settings.num_virtual_tokens,
            prompt_tuning_init=PromptTuningInit.TEXT if settings.init_text else PromptTuningInit.RANDOM,
            prompt_tuning_init_text=settings.init_text or None,
            tokenizer_name_or_path=str(base) if settings.init_text else None,
        )
    return LoraConfig(
        task_type=TaskType.CAUSAL_LM,
        r=settings.rank,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        target_modules=list(settings.target_modules),
        use_dora=settings.adapter_type == "dora",
        use_rslora=settings.adapter_type == "rslora",
        alora_invocation_tokens=_invocation(settings, base) if settings.adapter_type == "alora" else None,
    )


def _invocation(settings: TrainingSettings, base: Path) -> list[int]:
    """The tokens that invoke the adapter: those of the text that is stated, else what begins an
    answer in the chat template."""
    tokenizer = load_tokenizer(base)
    said = settings.invocation or begin_of_answer(tokenizer)
    ids: list[int] = tokenizer.encode(said, add_special_tokens=False)
    if not 1 <= len(ids) <= MAX_INVOCATION_TOKENS:
        raise TrainingError(
            f"training.config.invocation has {len(ids)} tokens",
            context=f"{said!r}"[:200],
            hint=f"it needs 1 to {MAX_INVOCATION_TOKENS}: state a text that stands in every prompt",
        )
    return ids
