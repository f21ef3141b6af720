"""Compile what PEFT saved to slots: one file of tensors named as the graph's inputs, bound to one base by its digest.

Reads PEFT's own files and the base's weights, folds scales and norms in, and refuses whatever it would have to ignore.
"""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray

from xpm_build.adapter.altered_base import without_beginning
from xpm_build.adapter.methods import COMPILERS, CompiledAdapter, combine
from xpm_build.adapter.peft_files import ADAPTER_CONFIG, ADAPTER_WEIGHTS, Parts, by_linear, read_config, read_weights
from xpm_build.base.adaptable import Adaptable
from xpm_build.base.architecture import Linear
from xpm_build.errors import BuildError
from xpm_runtime.adapter import ACTIVATED_FORMAT, FORMAT
from xpm_runtime.tensor_file import tensor_bytes

STORAGES = ("float32", "float16", "int8")
FROZEN_SEED = "lora_fa_seed"


def compile_adapter(folder: Path, base: Adaptable) -> CompiledAdapter:
    """Compile the PEFT adapter in ``folder`` for the base that it was trained on.

    Raises:
        BuildError: a file is missing, the method or an option is not supported, or a tensor has an unknown name, a
            wrong shape or a value that is not finite.
    """
    config, weights, _ = read_whole(folder, base)
    return COMPILERS[config["peft_type"]](config, weights, base)


def read_whole(folder: Path, base: Adaptable) -> tuple[dict[str, Any], Parts, bool]:
    """(configuration, weights) of an adapter as a change of the base as it is, and whether the files hold just that.

    LoRA-FA's files lack the A that was drawn; those of PiSSA and the like are a change of a base that
    was altered at the start.
    """
    config, weights = read_config(folder), read_weights(folder)
    if config["peft_type"] not in COMPILERS:
        raise BuildError(
            f"adapters of type {config['peft_type'][:40]} are not supported",
            hint=f"supported: {', '.join(COMPILERS)} (DoRA, rsLoRA and LoRA-FA are LORA)",
        )
    whole = with_frozen_a(config, weights, base)
    plain, whole = without_beginning(folder, config, whole)
    return plain, whole, whole is weights


def compile_adapters(folders: list[Path], base: Adaptable) -> CompiledAdapter:
    """One expert of several adapters that act together."""
    compiled = [compile_adapter(folder, base) for folder in folders]
    return compiled[0] if len(compiled) == 1 else combine(compiled)


def with_frozen_a(config: Mapping[str, Any], weights: Parts, base: Adaptable) -> Parts:
    """LoRA-FA: add the A that was drawn and never trained, where a file keeps only B and
    ``lora_fa_seed`` in its configuration."""
    if config.get("peft_type") != "LORA" or any(".lora_A." in name for name in weights):
        return weights
    seed = config.get(FROZEN_SEED)
    if not isinstance(seed, int):
        raise BuildError(
            f"{ADAPTER_WEIGHTS} holds no lora_A",
            context=f"{ADAPTER_CONFIG} has no {FROZEN_SEED}",
            hint="a LoRA-FA adapter needs the seed of its frozen A, or A itself",
        )
    number = {linear.name: index for index, linear in enumerate(base.slots)}
    drawn = dict(weights)
    for linear, parts in by_linear(weights, base.slots).items():
        if "lora_B" in parts and parts["lora_B"].ndim == 2:
            a = frozen_a(linear, parts["lora_B"].shape[1], seed=seed, number=number[linear.name])
            drawn[f"base_model.model.{linear.path}.lora_A.weight"] = a
    return drawn


def frozen_a(linear: Linear, rank: int, *, seed: int, number: int) -> NDArray[np.float32]:
    """LoRA-FA's A (rank, in) of the ``number``-th slot of the graph: uniform within ±1/√in, as
    LoRA's own initialisation.

    The numbers are those of torch.rand: 24 bits of each of the Mersenne twister's.
    """
    twister = np.random.RandomState((seed * 1_000_003 + number) % (1 << 32))
    drawn = twister.randint(0, 1 << 32, rank * linear.num_in, dtype=np.uint32)
    uniform = (drawn & 0xFFFFFF).astype(np.float32) * np.float32(2**-24)
    return (2 * uniform - 1).reshape(rank, linear.num_in) * np.float32(linear.num_in**-0.5)


def complete(folder: Path, out: Path, base: Adaptable) -> Path:
    """A folder that PEFT can load on the base as it is: ``folder`` itself, or a copy in ``out``
    as ``read_whole`` reads it."""
    config, whole, is_as_saved = read_whole(folder, base)
    if is_as_saved:
        return folder
    out.mkdir(parents=True)
    kept = {key: value for key, value in config.items() if key != FROZEN_SEED}
    (out / ADAPTER_CONFIG).write_text(json.dumps(kept, indent=2, sort_keys=True) + "\n")
    safetensors.numpy.save_file(whole, out / ADAPTER_WEIGHTS, metadata={"format": "pt"})
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
    tensors: dict[str, NDArray[Any]] = {}
    for name, tensor in sorted(adapter.tensors.items()):
        if not np.isfinite(tensor).all():
            raise BuildError(f"{name} has values that are not finite numbers", context="they came of the adapter's own")
        if not name.startswith("slots.") or storage == "float32":
            tensors[name] = np.ascontiguousarray(tensor, np.float32)
        elif storage == "float16":
            with np.errstate(over="ignore"):
                tensors[name] = np.ascontiguousarray(tensor, np.float16)
            if not np.isfinite(tensors[name]).all():
                raise BuildError(f"{name} has values too large for float16", hint="store it as float32 or int8")
        else:
            scale = np.abs(tensor).max(axis=1, keepdims=True) / np.float32(127)
            numbers = np.where(scale > 0, tensor / np.maximum(scale, np.float32(1e-30)), np.float32(0))
            tensors[name] = np.ascontiguousarray(np.rint(numbers), np.int8)
            tensors[f"{name}.scale"] = np.ascontiguousarray(scale[:, 0], np.float32)
    metadata = {"base_digest": base_digest, "format": FORMAT, "rank": str(adapter.rank)}
    if adapter.invocation:
        metadata |= {"format": ACTIVATED_FORMAT, "invocation_tokens": json.dumps(adapter.invocation)}
    out.write_bytes(tensor_bytes(tensors, metadata))
