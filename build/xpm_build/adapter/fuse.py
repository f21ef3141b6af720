"""``xpm fuse``: experts that act together often, as one: the sum of their updates, re-compressed.

What comes of it is an expert's folder like any other: PEFT's files of a plain LoRA, and a manifest that says which
packages it was made of, at which scales, and with which error in each linear.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray

from xpm_build.adapter.compile import compile_adapter
from xpm_build.adapter.fused_manifest import fused_manifest, joined_name
from xpm_build.adapter.methods import CompiledAdapter, combine
from xpm_build.adapter.peft_files import ADAPTER_CONFIG, ADAPTER_WEIGHTS
from xpm_build.adapter.places import adapter_places, for_base
from xpm_build.adapter.recompress import Pair, Spectrum, spectrum_of
from xpm_build.base.adaptable import Adaptable
from xpm_build.base.architecture import Linear
from xpm_build.errors import BuildError
from xpm_index.archive import MANIFEST
from xpm_index.digests import sha256_file
from xpm_index.manifest import Manifest
from xpm_index.names import validate_name
from xpm_runtime.adapter import MAX_RANK
from xpm_runtime.composition import MAX_EXPERTS

METHOD = "sum of updates, re-compressed by singular value decomposition"
_MAX_SCALE = 100.0
_NOT_LOW_RANK = {
    "scales": "scales the base's outputs (DoRA's magnitudes, IA3)",
    "offsets": "adds to the base's outputs (IA3 on a base with biases)",
    "soft_embeds": "has virtual tokens",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """An expert to fuse: its folder, how strongly it acts, and the digest of the package
    that it came in, "" of none."""

    folder: Path
    scale: float = 1.0
    package: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class FuseOptions:
    """``rank`` is that of every linear, else it is the least that keeps every linear's relative error
    (Frobenius) to ``error``."""

    name: str = ""
    version: str = "0.1.0"
    rank: int | None = None
    error: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Fused:
    """``errors`` maps a linear to the relative error of its update; ``ranks`` are those of the parts, in order."""

    folder: Path
    name: str
    rank: int
    ranks: tuple[int, ...]
    errors: Mapping[str, float]

    def to_dict(self) -> dict[str, Any]:
        return {
            "path": str(self.folder),
            "name": self.name,
            "rank": self.rank,
            "ranks_of_parts": list(self.ranks),
            "largest_error": max(self.errors.values()),
            "errors": dict(self.errors),
        }


def fuse(parts: Sequence[Part], out: Path | None, base: Adaptable, base_digest: str, options: FuseOptions) -> Fused:
    """Write the sum of several experts' updates to a new folder, which `xpm build expert` packs.

    Args:
        parts: two to ten; their order does not matter.
        out: the folder; by default it is named like the expert.
        base: that all of them are for, with its digest.
    Raises:
        BuildError: a part is for another base, or is no update of low rank alone; there are two of one name; the rank
            or error asked for makes no sense or does not fit. ManifestError: a manifest is malformed.
    """
    _check(parts, options)
    read = sorted(((_manifest(part), part) for part in parts), key=lambda each: each[0].name)
    manifests = [for_base(manifest, base_digest) for manifest, _ in read]
    _require_one_base(manifests)
    name = validate_name(options.name or joined_name(manifests), what="expert name")
    out = out or Path(name)
    if out.exists():
        raise BuildError(f"{out} is there already", hint="name a folder that is not")
    compiled = [_compiled(manifest, part, base) for manifest, (_, part) in zip(manifests, read, strict=True)]
    scaled = [(each, part.scale) for each, (_, part) in zip(compiled, read, strict=True)]
    spectra = {linear: spectrum_of(pairs) for linear in base.slots if (pairs := _pairs(linear, scaled))}
    rank = _rank(spectra, options)
    errors = {linear.name: spectrum.error(rank) for linear, spectrum in spectra.items()}
    facts = [_facts(manifest, part) for manifest, (_, part) in zip(manifests, read, strict=True)]
    fusion = {
        "method": METHOD,
        "parts": facts,
        "rank": rank,
        "asked": {"rank": options.rank} if options.rank else {"error": options.error},
        "largest_error": _rounded(max(errors.values())),
        "errors": {linear: _rounded(error) for linear, error in errors.items()},
    }
    manifest = fused_manifest(name, options.version, manifests, base_digest=base_digest, fusion=fusion)
    out.mkdir(parents=True)
    _write_adapter(out, {linear: spectrum.pair(rank) for linear, spectrum in spectra.items()}, rank, base.slots)
    (out / MANIFEST).write_bytes(manifest.to_bytes())
    return Fused(folder=out, name=name, rank=rank, ranks=tuple(each.rank for each in compiled), errors=errors)


def _check(parts: Sequence[Part], options: FuseOptions) -> None:
    if not 2 <= len(parts) <= MAX_EXPERTS:
        raise BuildError(f"2 to {MAX_EXPERTS} experts are fused, {len(parts)} were given")
    for part in parts:
        if not 0 < abs(part.scale) <= _MAX_SCALE:  # neither is what is not a number
            raise BuildError(
                f"the scale of {part.folder.name} is {part.scale}", hint=f"it is not 0, and at most {_MAX_SCALE:g}"
            )
    if options.rank is not None and not 1 <= options.rank <= MAX_RANK:
        raise BuildError(f"rank {options.rank} is not 1..{MAX_RANK}")
    if not 0 <= options.error < 1:
        raise BuildError(f"a relative error of {options.error} makes no sense", hint="it is at least 0 and below 1")


def _manifest(part: Part) -> Manifest:
    path = part.folder / MANIFEST
    if not path.is_file():
        raise BuildError(
            f"{part.folder} has no {MANIFEST}", hint="name an expert's folder, package, or installed expert"
        )
    return Manifest.parse(path.read_bytes())


def _require_one_base(manifests: Sequence[Manifest]) -> None:
    bases = {manifest.name: manifest.bases[0].name for manifest in manifests}
    if len(set(bases.values())) > 1:
        stated = ", ".join(f"{name} for {base}" for name, base in bases.items())
        raise BuildError("the experts are for different bases", context=stated, hint="fuse experts of one base")
    if len(bases) < len(manifests):
        raise BuildError("two of the experts have the same name", context=", ".join(each.name for each in manifests))


def _compiled(manifest: Manifest, part: Part, base: Adaptable) -> CompiledAdapter:
    """A part as slot tensors, all of them of low rank."""
    adapters = [compile_adapter(part.folder / place, base) for place in adapter_places(manifest, part.folder)]
    adapter = adapters[0] if len(adapters) == 1 else combine(adapters)
    if adapter.invocation:
        raise BuildError(
            f"{manifest.name} cannot be fused: it acts from its invocation on, and others everywhere",
            hint="let them act beside each other",
        )
    for tensor, what in _NOT_LOW_RANK.items():
        if tensor in adapter.tensors:
            raise BuildError(
                f"{manifest.name} cannot be fused: it {what}",
                context=f"its adapter is of type {adapter.kind}; a sum of low rank does not hold that",
                hint="fuse LoRA, rsLoRA, AdaLoRA or LoKr experts; let others act beside them",
            )
    return adapter


def _pairs(linear: Linear, adapters: Sequence[tuple[CompiledAdapter, float]]) -> list[Pair]:
    """(A, scale · B) of each adapter that acts on the linear."""
    return [
        (adapter.tensors[f"slots.{linear.name}.A"], np.float32(scale) * adapter.tensors[f"slots.{linear.name}.B"])
        for adapter, scale in adapters
        if f"slots.{linear.name}.A" in adapter.tensors
    ]


def _rank(spectra: Mapping[Linear, Spectrum], options: FuseOptions) -> int:
    """One rank for all linears: slots have one, so less in some of them would be filled up with zeros."""
    if options.rank is not None:
        return min(options.rank, max(each.rank for each in spectra.values()) or 1)
    needed = {linear.name: each.rank_for(options.error) for linear, each in spectra.items()}
    linear = max(needed, key=lambda name: needed[name])
    if needed[linear] > MAX_RANK:
        raise BuildError(
            f"an error of {options.error:g} takes rank {needed[linear]} at {linear}",
            context=f"at most {MAX_RANK} fit",
            hint="allow a larger --error, or state a --rank",
        )
    return max(needed[linear], 1)


def _facts(manifest: Manifest, part: Part) -> dict[str, Any]:
    weights = [part.folder / place / ADAPTER_WEIGHTS for place in adapter_places(manifest, part.folder)]
    facts: dict[str, Any] = {"name": manifest.name, "version": str(manifest.version), "scale": part.scale}
    if part.package:
        facts["package"] = part.package
    return facts | {"weights": [sha256_file(each) for each in weights]}


def _write_adapter(out: Path, pairs: Mapping[Linear, Pair], rank: int, slots: Sequence[Linear]) -> None:
    """What PEFT's save_pretrained would write of a LoRA of one rank whose scale is 1."""
    tensors: dict[str, NDArray[np.float32]] = {}
    for linear, (a, b) in pairs.items():
        tensors[f"base_model.model.{linear.path}.lora_A.weight"] = np.ascontiguousarray(a)
        tensors[f"base_model.model.{linear.path}.lora_B.weight"] = np.ascontiguousarray(b.T)
    config = {
        "base_model_name_or_path": "",
        "bias": "none",
        "inference_mode": True,
        "lora_alpha": rank,
        "peft_type": "LORA",
        "r": rank,
        "target_modules": _targets(pairs, slots),
        "task_type": "CAUSAL_LM",
        "use_dora": False,
        "use_rslora": False,
    }
    (out / ADAPTER_CONFIG).write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    safetensors.numpy.save_file(tensors, out / ADAPTER_WEIGHTS, metadata={"format": "pt"})


def _targets(adapted: Collection[Linear], slots: Sequence[Linear]) -> list[str]:
    """Modules by name where all layers have them, else the paths of what is adapted: PEFT wants a
    tensor for whatever is named."""
    lacking = {linear.path.rpartition(".")[2] for linear in slots if not linear.is_input and linear not in adapted}
    modules = {linear.path.rpartition(".")[2] for linear in adapted}
    return sorted(linear.path for linear in adapted) if lacking & modules else sorted(modules)


def _rounded(error: float) -> float:
    return float(f"{error:.4g}")
