"""Compile a PEFT adapter to slots: LoRA, rsLoRA, DoRA, IA3 and prompt tuning become A, B, scales and soft_embeds.

Reads PEFT's own files (never a pickle) and the base's weights, folds alpha/rank and DoRA's norms in, and refuses whatever
it would have to ignore. docs/formats/graph.md has the algebra.
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError

from xpm_build.errors import BuildError
from xpm_build.fingerprint import fingerprint
from xpm_build.graph_spec import Linear, Shape

SLOTS = "slots.safetensors"
ADAPTER_CONFIG = "adapter_config.json"
ADAPTER_WEIGHTS = "adapter_model.safetensors"
SLOTS_FORMAT = "xpm-slots-1"
_TENSOR = re.compile(
    r"base_model\.model\.model\.layers\.(\d+)\.(?:self_attn|mlp)\.(\w+)\.(lora_A|lora_B|lora_magnitude_vector|ia3_l)(?:\.weight)?"
)
# What would change the result and is not compiled: anything but "off" is refused.
_UNSUPPORTED = (
    "modules_to_save", "fan_in_fan_out", "layer_replication", "lora_bias", "use_qalora", "trainable_token_indices",
    "layers_pattern", "megatron_config", "alora_invocation_tokens", "target_parameters", "arrow_config",
)  # fmt: skip


@dataclass(slots=True)
class CompiledAdapter:
    """Slot tensors by name; ``kind`` is lora, dora, ia3 or prompt."""

    kind: str
    rank: int
    tensors: dict[str, torch.Tensor] = field(default_factory=dict)

    @property
    def num_soft(self) -> int:
        return self.tensors["soft_embeds"].shape[0] if "soft_embeds" in self.tensors else 0


def compile_adapter(folder: Path, model: Any) -> CompiledAdapter:
    """Compile the PEFT adapter in ``folder`` for ``model`` (the Hugging Face model it was trained on).

    Raises:
        BuildError: a file is missing, the method or an option is not supported, or a tensor has an unknown name, a wrong
            shape or a value that is not finite.
    """
    config = _read_config(folder)
    weights = _read_weights(folder)
    compilers: dict[str, Callable[..., CompiledAdapter]] = {
        "LORA": _compile_lora,
        "IA3": _compile_ia3,
        "PROMPT_TUNING": _compile_prompt,
    }
    method = str(config.get("peft_type"))
    if method not in compilers:
        raise BuildError(
            f"adapters of type {method} are not supported",
            hint=f"supported: {', '.join(compilers)} (DoRA and rsLoRA are LORA)",
        )
    for option in _UNSUPPORTED:
        value = config.get(option)
        if value and value != "none":
            raise BuildError(f"{ADAPTER_CONFIG}: {option} is not supported", context=f"it is {str(value)[:80]!r}")
    return compilers[method](config, weights, model)


def save_slots(adapter: CompiledAdapter, out: Path, *, base_digest: str) -> None:
    """Write the compiled tensors with what identifies their base."""
    tensors = {name: tensor.to(torch.float32).contiguous() for name, tensor in sorted(adapter.tensors.items())}
    metadata = {"base_digest": base_digest, "format": SLOTS_FORMAT, "rank": str(adapter.rank)}
    out.write_bytes(_with_metadata(safetensors.torch.save(tensors), metadata))


def _with_metadata(data: bytes, metadata: Mapping[str, str]) -> bytes:
    """Put metadata into a safetensors file, in order: the library writes it in a different order each time."""
    length = int.from_bytes(data[:8], "little")
    header = json.dumps({"__metadata__": metadata, **json.loads(data[8 : 8 + length])}, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header + data[8 + length :]


def base_digest(model: Any) -> str:
    return fingerprint(model.state_dict(), model.config)


def _read_config(folder: Path) -> dict[str, Any]:
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
    return config


def _read_weights(folder: Path) -> dict[str, torch.Tensor]:
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


def _by_linear(weights: Mapping[str, torch.Tensor], shape: Shape) -> dict[Linear, dict[str, torch.Tensor]]:
    """Tensors grouped by the linear they adapt; raises BuildError for any that adapts something else."""
    linears = {linear.name: linear for linear in shape.linears()}
    grouped: dict[Linear, dict[str, torch.Tensor]] = {}
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


def _require_shape(tensor: torch.Tensor, wanted: tuple[int, ...], name: str) -> None:
    if tuple(tensor.shape) != wanted:
        raise BuildError(
            f"{ADAPTER_WEIGHTS}: {name} has shape {tuple(tensor.shape)}, the base needs {wanted}",
            hint="the adapter was trained on another base",
        )


def _weight(model: Any, linear: Linear) -> torch.Tensor:
    layer, module = linear.name.split(".")
    block = model.model.layers[int(layer)]
    owner = block.self_attn if hasattr(block.self_attn, module) else block.mlp
    return getattr(owner, module).weight.detach().to(torch.float32)


def _scale_rows(shape: Shape, deltas: Mapping[Linear, torch.Tensor]) -> torch.Tensor:
    """One row [1, total_out] of output-scale deltas, zero where nothing is scaled."""
    parts = [deltas.get(linear, torch.zeros(linear.num_out)) for linear in shape.linears()]
    return torch.cat(parts).unsqueeze(0)


def _lora_scale(config: Mapping[str, Any], linear: Linear, rank: int) -> float:
    module = linear.name.split(".")[1]
    pattern = config.get("alpha_pattern") or {}
    alpha = next(
        (float(v) for key, v in pattern.items() if re.search(rf"(^|\.){key}$", module)), float(config["lora_alpha"])
    )
    return alpha / (rank**0.5 if config.get("use_rslora") else rank)


def _compile_lora(config: Mapping[str, Any], weights: Mapping[str, torch.Tensor], model: Any) -> CompiledAdapter:
    if config.get("bias", "none") != "none":
        raise BuildError(f"{ADAPTER_CONFIG}: bias {config['bias']!r} is not supported", hint='train with bias="none"')
    shape = Shape(model.config)
    grouped = _by_linear(weights, shape)
    ranks = {parts["lora_A"].shape[0] for parts in grouped.values() if "lora_A" in parts}
    if not ranks:
        raise BuildError(f"{ADAPTER_WEIGHTS} holds no LoRA weights")
    adapter = CompiledAdapter(kind="dora" if config.get("use_dora") else "lora", rank=max(ranks))
    deltas: dict[Linear, torch.Tensor] = {}
    for linear, parts in grouped.items():
        if not {"lora_A", "lora_B"} <= parts.keys():
            raise BuildError(f"{ADAPTER_WEIGHTS}: {linear.name} has only one of lora_A and lora_B")
        rank = parts["lora_A"].shape[0]
        _require_shape(parts["lora_A"], (rank, linear.num_in), f"{linear.name}.lora_A")
        _require_shape(parts["lora_B"], (linear.num_out, rank), f"{linear.name}.lora_B")
        update = parts["lora_B"] * _lora_scale(config, linear, rank)
        if config.get("use_dora"):
            if "lora_magnitude_vector" not in parts:
                raise BuildError(f"{ADAPTER_WEIGHTS}: {linear.name} has no magnitude vector, but use_dora is set")
            norm = torch.linalg.norm(_weight(model, linear) + update @ parts["lora_A"], dim=1)
            factor = parts["lora_magnitude_vector"].reshape(-1) / norm
            _require_shape(factor, (linear.num_out,), f"{linear.name}.lora_magnitude_vector")
            update = factor.unsqueeze(1) * update
            deltas[linear] = factor - 1
        padding = (0, 0, 0, adapter.rank - rank)
        adapter.tensors[f"slots.{linear.name}.A"] = torch.nn.functional.pad(parts["lora_A"], padding)
        adapter.tensors[f"slots.{linear.name}.B"] = torch.nn.functional.pad(update.T, padding)
    if deltas:
        adapter.tensors["scales"] = _scale_rows(shape, deltas)
    return adapter


def _compile_ia3(config: Mapping[str, Any], weights: Mapping[str, torch.Tensor], model: Any) -> CompiledAdapter:
    shape = Shape(model.config)
    linears = {linear.name: linear for linear in shape.linears()}
    factors: dict[Linear, torch.Tensor] = {}
    for linear, parts in _by_linear(weights, shape).items():
        if parts.keys() != {"ia3_l"}:
            raise BuildError(f"{ADAPTER_WEIGHTS}: {linear.name} has tensors that are not IA3's")
        factor = parts["ia3_l"].reshape(-1)
        layer, module = linear.name.split(".")
        scales_input = parts["ia3_l"].shape[0] == 1
        if scales_input and module != "down_proj":
            raise BuildError(
                f"IA3 on the input of {module} is not supported", hint="as a feed-forward module only down_proj is"
            )
        # The input of down_proj is silu(gate)·up: scaling it is scaling the output of up_proj.
        target = linears[f"{layer}.up_proj"] if scales_input else linear
        _require_shape(factor, (target.num_out,), f"{linear.name}.ia3_l")
        factors[target] = factors[target] * factor if target in factors else factor
    if not factors:
        raise BuildError(f"{ADAPTER_WEIGHTS} holds no IA3 weights")
    deltas = {linear: factor - 1 for linear, factor in factors.items()}
    return CompiledAdapter(kind="ia3", rank=0, tensors={"scales": _scale_rows(shape, deltas)})


def _compile_prompt(config: Mapping[str, Any], weights: Mapping[str, torch.Tensor], model: Any) -> CompiledAdapter:
    if weights.keys() != {"prompt_embeddings"}:
        raise BuildError(
            f"{ADAPTER_WEIGHTS} must hold prompt_embeddings and nothing else", context=f"it holds {sorted(weights)[:5]}"
        )
    embeds = weights["prompt_embeddings"]
    _require_shape(embeds, (embeds.shape[0], model.config.hidden_size), "prompt_embeddings")
    return CompiledAdapter(kind="prompt", rank=0, tensors={"soft_embeds": embeds})
