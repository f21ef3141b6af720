"""Compile what PEFT saved to slots: one file of tensors named as the graph's inputs, bound to one base by its digest.

Reads PEFT's own files and the base's weights, folds scales and norms in, and refuses whatever it would have to ignore.
"""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch

from xpm_build.adapter.altered_base import without_beginning
from xpm_build.adapter.methods import COMPILERS, CompiledAdapter, combine
from xpm_build.adapter.peft_files import ADAPTER_CONFIG, ADAPTER_WEIGHTS, by_linear, read_config, read_weights
from xpm_build.base.architecture import Linear
from xpm_build.base.model_slots import slots_of
from xpm_build.errors import BuildError
from xpm_runtime.adapter import FORMAT

STORAGES = ("float32", "float16", "int8")
FROZEN_SEED = "lora_fa_seed"


def compile_adapter(folder: Path, model: Any) -> CompiledAdapter:
    """Compile the PEFT adapter in ``folder`` for ``model`` (the Hugging Face model it was trained on).

    Raises:
        BuildError: a file is missing, the method or an option is not supported, or a tensor has an unknown name, a wrong
            shape or a value that is not finite.
    """
    config, weights, _ = read_whole(folder, model)
    return COMPILERS[config["peft_type"]](config, weights, model)


def read_whole(folder: Path, model: Any) -> tuple[dict[str, Any], dict[str, torch.Tensor], bool]:
    """(configuration, weights) of an adapter as a change of the base as it is, and whether the files hold just that.

    LoRA-FA's files lack the A that was drawn; those of PiSSA and the like are a change of a base that was altered at the start.
    """
    config, weights = read_config(folder), read_weights(folder)
    if config["peft_type"] not in COMPILERS:
        raise BuildError(
            f"adapters of type {config['peft_type'][:40]} are not supported",
            hint=f"supported: {', '.join(COMPILERS)} (DoRA, rsLoRA and LoRA-FA are LORA)",
        )
    whole = with_frozen_a(config, weights, model)
    plain, whole = without_beginning(folder, config, whole)
    return plain, whole, whole is weights


def compile_adapters(folders: list[Path], model: Any) -> CompiledAdapter:
    """One expert of several adapters that act together."""
    compiled = [compile_adapter(folder, model) for folder in folders]
    return compiled[0] if len(compiled) == 1 else combine(compiled)


def with_frozen_a(config: Mapping[str, Any], weights: dict[str, torch.Tensor], model: Any) -> dict[str, torch.Tensor]:
    """LoRA-FA: add the A that was drawn and never trained, where a file keeps only B and ``lora_fa_seed`` in its configuration."""
    if config.get("peft_type") != "LORA" or any(".lora_A." in name for name in weights):
        return weights
    seed = config.get(FROZEN_SEED)
    if not isinstance(seed, int):
        raise BuildError(
            f"{ADAPTER_WEIGHTS} holds no lora_A",
            context=f"{ADAPTER_CONFIG} has no {FROZEN_SEED}",
            hint="a LoRA-FA adapter needs the seed of its frozen A, or A itself",
        )
    slots = slots_of(model)
    number = {linear.name: index for index, linear in enumerate(slots)}
    drawn = dict(weights)
    for linear, parts in by_linear(weights, slots).items():
        if "lora_B" in parts:
            a = frozen_a(linear, parts["lora_B"].shape[1], seed=seed, number=number[linear.name])
            drawn[f"base_model.model.{linear.path}.lora_A.weight"] = a
    return drawn


def frozen_a(linear: Linear, rank: int, *, seed: int, number: int) -> torch.Tensor:
    """LoRA-FA's A (rank, in) of the ``number``-th slot of the graph: uniform within ±1/√in, as LoRA's own initialisation."""
    generator = torch.Generator().manual_seed(seed * 1_000_003 + number)
    bound = linear.num_in**-0.5
    return (2 * torch.rand(rank, linear.num_in, generator=generator) - 1) * bound


def complete(folder: Path, out: Path, model: Any) -> Path:
    """A folder that PEFT can load on the base as it is: ``folder`` itself, or a copy in ``out`` as ``read_whole`` reads it."""
    config, whole, is_as_saved = read_whole(folder, model)
    if is_as_saved:
        return folder
    out.mkdir(parents=True)
    kept = {key: value for key, value in config.items() if key != FROZEN_SEED}
    (out / ADAPTER_CONFIG).write_text(json.dumps(kept, indent=2, sort_keys=True) + "\n")
    safetensors.torch.save_file(whole, out / ADAPTER_WEIGHTS, metadata={"format": "pt"})
    if (folder / "README.md").is_file():
        shutil.copyfile(folder / "README.md", out / "README.md")
    return out


def save_slots(adapter: CompiledAdapter, out: Path, *, base_digest: str, storage: str = "float32") -> None:
    """Write the compiled tensors with what identifies their base.

    Args:
        storage: how A and B are stored: float32, float16, or int8 with one scale per rank. The rest is always float32.
    """
    if storage not in STORAGES:
        raise BuildError(f"storage {storage!r} is unknown", hint=f"choose of {', '.join(STORAGES)}")
    tensors: dict[str, torch.Tensor] = {}
    for name, tensor in sorted(adapter.tensors.items()):
        if not name.startswith("slots.") or storage == "float32":
            tensors[name] = tensor.to(torch.float32).contiguous()
        elif storage == "float16":
            tensors[name] = tensor.to(torch.float16).contiguous()
            if not torch.isfinite(tensors[name]).all():
                raise BuildError(f"{name} has values too large for float16", hint="store it as float32 or int8")
        else:
            scale = tensor.abs().amax(dim=1, keepdim=True) / 127
            numbers = torch.where(scale > 0, tensor / scale.clamp(min=1e-30), torch.zeros(1))
            tensors[name] = numbers.round().to(torch.int8).contiguous()
            tensors[f"{name}.scale"] = scale[:, 0].to(torch.float32).contiguous()
    metadata = {"base_digest": base_digest, "format": FORMAT, "rank": str(adapter.rank)}
    out.write_bytes(_with_metadata(safetensors.torch.save(tensors), metadata))


def _with_metadata(data: bytes, metadata: Mapping[str, str]) -> bytes:
    """Put metadata into a safetensors file, in order: the library writes it in a different order each time."""
    length = int.from_bytes(data[:8], "little")
    header = json.dumps({"__metadata__": metadata, **json.loads(data[8 : 8 + length])}, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header + data[8 + length :]
