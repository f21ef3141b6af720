"""What PEFT's ``save_pretrained`` writes, read without PEFT and never from a pickle."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError

from xpm_build.architecture import Architecture, Linear
from xpm_build.errors import BuildError

ADAPTER_CONFIG = "adapter_config.json"
ADAPTER_WEIGHTS = "adapter_model.safetensors"
_TENSOR = re.compile(
    r"base_model\.model\.model\.layers\.(\d+)\.(?:self_attn|mlp)\.(\w+)\."
    r"(lora_A|lora_B|lora_E|lora_magnitude_vector|ia3_l|lokr_w1|lokr_w1_a|lokr_w1_b|lokr_w2|lokr_w2_a|lokr_w2_b)(?:\.weight)?"
)
# What would change the result and is not compiled: anything but "off" is refused.
_UNSUPPORTED = (
    "modules_to_save", "fan_in_fan_out", "layer_replication", "lora_bias", "use_qalora", "trainable_token_indices",
    "layers_pattern", "megatron_config", "alora_invocation_tokens", "target_parameters", "arrow_config", "use_effective_conv2d",
    "use_bdlora", "kasa_config", "velora_config", "monteclora_config",
)  # fmt: skip

Parts = dict[str, torch.Tensor]


def read_config(folder: Path) -> dict[str, Any]:
    """adapter_config.json; raises BuildError if it is absent, malformed, or has an option that would have to be ignored."""
    path = folder / ADAPTER_CONFIG
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise BuildError(
            f"{folder} has no {ADAPTER_CONFIG}", hint="name a folder that PEFT's save_pretrained wrote"
        ) from error
    except ValueError as error:
        raise BuildError(f"{path} is not valid JSON", context=str(error)[:200]) from error
    if not isinstance(config, dict):
        raise BuildError(f"{path} must hold an object")
    for option in _UNSUPPORTED:
        value = config.get(option)
        if value and value != "none":
            raise BuildError(f"{ADAPTER_CONFIG}: {option} is not supported", context=f"it is {str(value)[:80]!r}")
    if config.get("bias", "none") != "none":
        raise BuildError(f"{ADAPTER_CONFIG}: bias {config['bias']!r} is not supported", hint='train with bias="none"')
    return config


def read_weights(folder: Path) -> dict[str, torch.Tensor]:
    """adapter_model.safetensors as float32; raises BuildError if it is absent, malformed or not finite."""
    path = folder / ADAPTER_WEIGHTS
    try:
        weights = safetensors.torch.load_file(path)
    except FileNotFoundError as error:
        hint = "save the adapter with safe_serialization=True: pickles are never read"
        raise BuildError(f"{folder} has no {ADAPTER_WEIGHTS}", hint=hint) from error
    except (SafetensorError, OSError) as error:
        raise BuildError(f"{path} is not a safetensors file", context=str(error)[:200]) from error
    for name, tensor in weights.items():
        if not tensor.is_floating_point() or not torch.isfinite(tensor).all():
            raise BuildError(f"{path}: {name[:120]} has values that are not finite numbers")
    return {name: tensor.to(torch.float32) for name, tensor in weights.items()}


def by_linear(weights: Mapping[str, torch.Tensor], architecture: Architecture) -> dict[Linear, Parts]:
    """Tensors grouped by the linear they adapt; raises BuildError for any that adapts something else."""
    linears = {linear.name: linear for linear in architecture.linears()}
    grouped: dict[Linear, Parts] = {}
    for name, tensor in weights.items():
        match = _TENSOR.fullmatch(name)
        linear = linears.get(f"{match[1]}.{match[2]}") if match else None
        if match is None or linear is None:
            raise BuildError(
                f"{ADAPTER_WEIGHTS}: {name[:120]} adapts nothing that has a slot",
                hint="slots are at q, k, v, o, gate, up and down_proj of this base's layers",
            )
        grouped.setdefault(linear, {})[match[3]] = tensor
    return grouped


def require_shape(tensor: torch.Tensor, wanted: tuple[int, ...], name: str) -> None:
    if tuple(tensor.shape) != wanted:
        raise BuildError(
            f"{ADAPTER_WEIGHTS}: {name} has shape {tuple(tensor.shape)}, the base needs {wanted}",
            hint="the adapter was trained on another base",
        )
