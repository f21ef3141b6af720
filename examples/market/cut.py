"""A part of a LoRA adapter: some of the directions of its update, by their singular values."""

import json
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from xpm_build.adapter.peft_files import ADAPTER_CONFIG, ADAPTER_WEIGHTS

_A, _B = ".lora_A.weight", ".lora_B.weight"


def cut_adapter(source: Path, out: Path, *, first: int, last: int | None) -> None:
    """Write the directions ``first`` to ``last`` (exclusive, None for the end) of every update, the strongest being 0.

    ``source`` and ``out`` are folders with PEFT's files. The parts of a cut add up to the whole.
    """
    config = json.loads((source / ADAPTER_CONFIG).read_text())
    tensors = load_file(source / ADAPTER_WEIGHTS)
    parts: dict[str, torch.Tensor] = {}
    for name in (each.removesuffix(_A) for each in tensors if each.endswith(_A)):
        a, b = tensors[name + _A].double(), tensors[name + _B].double()
        # B A without forming it: of the factors' triangles alone.
        outer, left = torch.linalg.qr(b)
        inner, right = torch.linalg.qr(a.T)
        u, values, v = torch.linalg.svd(left @ right.T)
        kept = slice(first, len(values) if last is None else last)
        root = values[kept].sqrt()
        parts[name + _B] = ((outer @ u[:, kept]) * root).float().contiguous()
        parts[name + _A] = ((inner @ v.T[:, kept]) * root).T.float().contiguous()
    rank = next(iter(parts.values())).shape[1]
    config["lora_alpha"] = config["lora_alpha"] * rank / config["r"]
    config["r"] = rank
    out.mkdir(parents=True, exist_ok=True)
    save_file(parts, out / ADAPTER_WEIGHTS)
    (out / ADAPTER_CONFIG).write_text(json.dumps(config, indent=2))
