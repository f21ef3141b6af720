"""What PEFT's ``save_pretrained`` writes, read without PEFT and never from a pickle."""

import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError

from xpm_build.base.architecture import Linear
from xpm_build.base.safetensors_file import StoredTensor, stored_tensors
from xpm_build.errors import BuildError, UnfitError
from xpm_runtime.adapter import SLOTS

ADAPTER_CONFIG = "adapter_config.json"
ADAPTER_WEIGHTS = "adapter_model.safetensors"
_TENSOR = re.compile(
    r"base_model\.model\.(.+)\."
    r"(lora_A|lora_B|lora_E|lora_magnitude_vector|ia3_l|lokr_w1|lokr_w1_a|lokr_w1_b|lokr_w2|lokr_w2_a"
    r"|lokr_w2_b)(?:\.weight)?"
)
# What would change the result and is not compiled: anything but "off" is refused. Not among them are
# fan_in_fan_out, which PEFT itself sets aside for the linears that a base has, and layers_pattern, whose choice of
# layers shows in the tensors.
_UNSUPPORTED = (
    "modules_to_save",
    "layer_replication",
    "lora_bias",
    "use_qalora",
    "trainable_token_indices",
    "megatron_config",
    "target_parameters",
    "arrow_config",
    "use_effective_conv2d",
    "use_bdlora",
    "kasa_config",
    "velora_config",
    "monteclora_config",
)
# Of a pattern that a stranger wrote: a repeated group, or many repetitions in a row, may take for ever to be matched.
_REPEATS = re.compile(r"(?<!\\)[*+{]")
_REPEATED_GROUP = re.compile(r"\)[*+{]")
_MAX_REPEATS = 4
_FLAGS = ("use_dora", "use_rslora", "fan_in_fan_out")
_PATTERNS: Mapping[str, tuple[str, ...]] = {
    "LORA": ("rank_pattern", "alpha_pattern"),
    "LOKR": ("rank_pattern", "alpha_pattern"),
}
# Adapters that other programs write: a file or a key of the configuration that gives each away,
# and the way to PEFT's files.
_FOREIGN_FILES = (
    (
        "adapters.safetensors",
        "mlx-lm",
        "transpose lora_a to lora_A and lora_b to lora_B, with lora_alpha = rank × scale",
    ),
    ("adapters.npz", "mlx-lm", "transpose lora_a to lora_A and lora_b to lora_B, with lora_alpha = rank × scale"),
    (
        "adapter_model.bin",
        "PEFT in a pickle, which is never read",
        "load it with PEFT and save it with safe_serialization=True",
    ),
    ("*.gguf", "llama.cpp", "take the PEFT folder that it was converted from"),
    (SLOTS, "`xpm build expert --slots-only`", "ask its publisher for what PEFT saved"),
)
_FOREIGN_KEYS = (
    ("lora_parameters", "mlx-lm"),
    ("fine_tune_type", "mlx-lm"),
    ("ss_network_module", "kohya's sd-scripts"),
)

_TYPES = {"BOOL": "bool", "C64": "complex64"} | {
    f"{kind[0].upper()}{bits}": f"{kind}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)
}

Parts = dict[str, NDArray[np.float32]]


def read_config(folder: Path) -> dict[str, Any]:
    """adapter_config.json; raises BuildError if it is absent, malformed, or has an option that
    would have to be ignored."""
    path = folder / ADAPTER_CONFIG
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise _absent(folder, ADAPTER_CONFIG, "name a folder that PEFT's save_pretrained wrote") from error
    except (ValueError, RecursionError) as error:
        raise BuildError(f"{path} is not valid JSON", context=str(error)[:200]) from error
    if not isinstance(config, dict):
        raise BuildError(f"{path} must hold an object")
    if not isinstance(config.get("peft_type"), str):
        foreign = next((program for key, program in _FOREIGN_KEYS if key in config), "")
        if foreign:
            raise _absent(folder, ADAPTER_WEIGHTS, "", program=foreign)
        raise BuildError(f"{ADAPTER_CONFIG}: peft_type is missing", hint="PEFT's save_pretrained writes it, e.g. LORA")
    for option in _UNSUPPORTED:
        value = config.get(option)
        if value and value != "none":
            raise BuildError(f"{ADAPTER_CONFIG}: {option} is not supported", context=f"it is {str(value)[:80]!r}")
    if config.get("bias") not in (None, "none"):
        raise BuildError(f"{ADAPTER_CONFIG}: bias {config['bias']!r} is not supported", hint='train with bias="none"')
    for flag in _FLAGS:
        if not isinstance(config.get(flag), bool | None):
            raise BuildError(f"{ADAPTER_CONFIG}: {flag} must be true or false", context=f"it is {config[flag]!r:.80}")
    for key in _PATTERNS.get(config["peft_type"], ()):
        _check_pattern(config, key)
    return config


def _absent(folder: Path, name: str, otherwise: str, *, program: str = "") -> BuildError:
    """What to say of a folder that PEFT did not write: which program's adapter it holds, if that can be told."""
    for pattern, writer, way in _FOREIGN_FILES:
        if (not program or program == writer) and any(folder.glob(pattern)):
            return BuildError(
                f"{folder} has no {name}", context=f"{pattern} is an adapter as written by {writer}", hint=way
            )
    if program:
        return BuildError(
            f"{folder} holds an adapter of {program}, not of PEFT", hint="convert it to PEFT's files first"
        )
    return BuildError(f"{folder} has no {name}", hint=otherwise)


def _check_pattern(config: Mapping[str, Any], key: str) -> None:
    """A value per module: patterns that compile, each with a number above 0."""
    patterns = config.get(key) or {}
    if not isinstance(patterns, dict):
        raise BuildError(
            f"{ADAPTER_CONFIG}: {key} must be an object of patterns and numbers", context=f"it is {str(patterns)[:80]}"
        )
    for pattern in patterns:
        try:
            re.compile(_whole_name(pattern))
        except (re.error, OverflowError, RecursionError) as error:
            raise BuildError(
                f"{ADAPTER_CONFIG}: {key} has {pattern[:80]!r}, which is no pattern",
                context=str(error),
                hint="it is a module's name, e.g. q_proj, or a regular expression for the end of one",
            ) from error
        if len(_REPEATS.findall(pattern)) > _MAX_REPEATS or _REPEATED_GROUP.search(pattern):
            raise BuildError(
                f"{ADAPTER_CONFIG}: {key} has {pattern[:80]!r}, which repeats too much to be matched in good time",
                hint=f"at most {_MAX_REPEATS} signs of repetition, none of them after a group",
            )
        number(patterns, pattern, where=f"{key}.")


def _whole_name(pattern: str) -> str:
    return rf"(.*\.)?({pattern})$"


def number(config: Mapping[str, Any], key: str, *, where: str = "") -> float:
    """The number above 0 at ``key`` of adapter_config.json; raises BuildError if it is absent or anything else."""
    value = config.get(key)
    name = f"{ADAPTER_CONFIG}: {where}{key[:80]}"
    if value is None:
        raise BuildError(
            f"{name} is missing", hint="PEFT's save_pretrained writes it: put in what the adapter was trained with"
        )
    if isinstance(value, bool) or not isinstance(value, int | float) or not (0 < value < math.inf):
        raise BuildError(f"{name} must be a number above 0", context=f"it is {str(value)[:80]!r}")
    return float(value)


def number_for(config: Mapping[str, Any], key: str, patterns: str, linear: Linear) -> float:
    """The number at ``key``, or what ``patterns`` (an object of patterns and numbers) has for the
    linear, as PEFT matches it."""
    for pattern in config.get(patterns) or {}:
        if re.match(_whole_name(pattern), linear.path):
            return number(config[patterns], pattern, where=f"{patterns}.")
    return number(config, key)


def is_compiled(folder: Path) -> bool:
    """Whether an expert's folder has its slots alone, and nothing that PEFT saved."""
    return (folder / SLOTS).is_file() and not (folder / ADAPTER_CONFIG).is_file()


def require_weights(folder: Path) -> None:
    """Raise BuildError, which says what is there instead, if there is no adapter_model.safetensors."""
    if not (folder / ADAPTER_WEIGHTS).is_file():
        raise _absent(folder, ADAPTER_WEIGHTS, "save the adapter with safe_serialization=True: pickles are never read")


def read_weights(folder: Path) -> Parts:
    """adapter_model.safetensors as float32, 8-bit floats too; raises BuildError if it is
    absent, malformed or not finite."""
    require_weights(folder)
    path = folder / ADAPTER_WEIGHTS
    try:
        stored = stored_tensors(path)
    except (SafetensorError, OSError) as error:
        raise BuildError(f"{path} is not a safetensors file", context=str(error)[:200]) from error
    return {name: _as_float32(name, tensor) for name, tensor in stored.items()}


def _as_float32(name: str, tensor: StoredTensor) -> NDArray[np.float32]:
    where = f"{ADAPTER_WEIGHTS}: {name[:120]}"
    if not tensor.is_float:
        raise BuildError(
            f"{where} holds {_TYPES.get(tensor.dtype, tensor.dtype)}, not floating-point numbers",
            hint="an adapter that was quantised has to be saved in float32, float16 or bfloat16 first",
        )
    widened = tensor.read()
    if not np.isfinite(widened).all():
        raise BuildError(f"{where} has values that are not finite numbers")
    return widened


def by_linear(weights: Mapping[str, NDArray[np.float32]], slots: Sequence[Linear]) -> dict[Linear, Parts]:
    """Tensors grouped by the linear they adapt; raises BuildError for any that adapts something else."""
    linears = {linear.path: linear for linear in slots if not linear.is_input}
    grouped: dict[Linear, Parts] = {}
    for name, tensor in weights.items():
        match = _TENSOR.fullmatch(name)
        linear = linears.get(match[1]) if match else None
        if match is None or linear is None:
            modules = dict.fromkeys(path.rpartition(".")[2] for path in linears)
            is_of_a_layer = match is not None and match[1].rpartition(".")[2] in modules
            raise (UnfitError if is_of_a_layer else BuildError)(
                f"{ADAPTER_WEIGHTS}: {name[:120]} adapts nothing that has a slot",
                hint=f"slots are at the linears of this base's layers: {', '.join(modules)}"[:200],
            )
        grouped.setdefault(linear, {})[match[2]] = tensor
    return grouped


def require_shape(shape: tuple[int, ...], wanted: tuple[int, ...], name: str) -> None:
    if shape != wanted:
        raise UnfitError(
            f"{ADAPTER_WEIGHTS}: {name} has shape {shape}, the base needs {wanted}",
            hint="the adapter was trained on another base",
        )
