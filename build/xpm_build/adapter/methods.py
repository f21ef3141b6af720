"""One function per method of PEFT: from its tensors to slot tensors. docs/reference/formats/graph.md has the algebra.

Every method becomes, per linear, a product of low rank (A, B), a factor on the outputs (a delta in ``scales``, and what biases
need in ``offsets``), or virtual tokens (``soft_embeds``).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from xpm_build.adapter.peft_files import (
    ADAPTER_CONFIG,
    ADAPTER_WEIGHTS,
    Parts,
    by_linear,
    number,
    number_for,
    require_shape,
)
from xpm_build.base.architecture import Linear, tensor_name
from xpm_build.base.model_slots import slots_of
from xpm_build.errors import BuildError
from xpm_runtime.adapter import MAX_RANK

_NEGLIGIBLE = 1e-6  # of the largest singular value


@dataclass(slots=True)
class CompiledAdapter:
    """Slot tensors by name; ``kind`` names the method.

    ``truncation`` is the largest relative error (Frobenius) of a linear's update that had to be cut to MAX_RANK, 0 if exact.
    """

    kind: str
    rank: int
    tensors: dict[str, torch.Tensor] = field(default_factory=dict)
    truncation: float = 0.0

    @property
    def num_soft(self) -> int:
        return self.tensors["soft_embeds"].shape[0] if "soft_embeds" in self.tensors else 0


LowRank = dict[Linear, tuple[torch.Tensor, torch.Tensor]]  # (rank, in) and (rank, out)


def compile_lora(config: Mapping[str, Any], weights: Mapping[str, torch.Tensor], model: Any) -> CompiledAdapter:
    """LoRA and rsLoRA; DoRA, whose factor m / ‖W + BA‖ scales both the base's output and B."""
    slots, use_dora = slots_of(model), bool(config.get("use_dora"))
    pairs: LowRank = {}
    deltas: dict[Linear, torch.Tensor] = {}
    for linear, parts in by_linear(weights, slots).items():
        rank = _require_pair(linear, parts)
        update = parts["lora_B"] * _lora_scale(config, linear, rank)
        if use_dora:
            if "lora_magnitude_vector" not in parts:
                raise BuildError(f"{ADAPTER_WEIGHTS}: {linear.name} has no magnitude vector, but use_dora is set")
            norm = torch.linalg.norm(_parameter(model, linear, "weight") + update @ parts["lora_A"], dim=1)
            factor = parts["lora_magnitude_vector"].reshape(-1) / norm
            require_shape(factor, (linear.num_out,), f"{linear.name}.lora_magnitude_vector")
            update = factor.unsqueeze(1) * update
            deltas[linear] = factor - 1
        pairs[linear] = parts["lora_A"], update.T
    adapter = _low_rank("dora" if use_dora else "lora", pairs)
    if deltas:
        adapter.tensors["scales"] = _row(slots, deltas)
    return adapter


def compile_adalora(config: Mapping[str, Any], weights: Mapping[str, torch.Tensor], model: Any) -> CompiledAdapter:
    """AdaLoRA: B·(A ⊙ E), scaled by alpha over the rank that it began with; ranks that were pruned have E = 0 and are dropped."""
    begun_with = number(config, "init_r")
    alpha = begun_with if config.get("lora_alpha") == 0 else number(config, "lora_alpha")  # as PEFT has it
    pairs: LowRank = {}
    for linear, parts in by_linear(weights, slots_of(model)).items():
        rank = _require_pair(linear, parts)
        if "lora_E" not in parts:
            raise BuildError(f"{ADAPTER_WEIGHTS}: {linear.name} has no lora_E")
        require_shape(parts["lora_E"], (rank, 1), f"{linear.name}.lora_E")
        kept = parts["lora_E"][:, 0] != 0
        scale = alpha / (begun_with + 1e-5)
        pairs[linear] = (parts["lora_A"] * parts["lora_E"])[kept], scale * parts["lora_B"].T[kept]
    return _low_rank("adalora", pairs)


def compile_lokr(config: Mapping[str, Any], weights: Mapping[str, torch.Tensor], model: Any) -> CompiledAdapter:
    """LoKr: the singular values of w1 ⊗ w2 are the products of theirs, so the best pair of low rank is read off two small ones."""
    pairs: LowRank = {}
    truncation = 0.0
    for linear, parts in by_linear(weights, slots_of(model)).items():
        first, second = _kronecker_factor(linear, parts, "lokr_w1"), _kronecker_factor(linear, parts, "lokr_w2")
        require_shape(
            torch.kron(first.to("meta"), second.to("meta")), (linear.num_out, linear.num_in), f"{linear.name}.lokr"
        )
        scale = number_for(config, "alpha", "alpha_pattern", linear) / number_for(config, "r", "rank_pattern", linear)
        pair, error = _kronecker_pair(first, second, scale)
        pairs[linear] = pair
        truncation = max(truncation, error)
    adapter = _low_rank("lokr", pairs)
    adapter.truncation = truncation
    return adapter


def compile_ia3(config: Mapping[str, Any], weights: Mapping[str, torch.Tensor], model: Any) -> CompiledAdapter:
    """IA3: factors on outputs, and on what goes into a feed-forward part's last linear."""
    slots = slots_of(model)
    targets = _input_targets(slots)
    factors: dict[Linear, torch.Tensor] = {}
    for linear, parts in by_linear(weights, slots).items():
        if parts.keys() != {"ia3_l"}:
            raise BuildError(f"{ADAPTER_WEIGHTS}: {linear.name} has tensors that are not IA3's")
        factor = parts["ia3_l"].reshape(-1)
        target: Linear | None = linear
        if parts["ia3_l"].shape[0] == 1:
            target = targets.get(linear.path)
        if target is None:
            scaled = ", ".join(dict.fromkeys(path.rpartition(".")[2] for path in targets))
            raise BuildError(
                f"IA3 on the input of {linear.name.partition('.')[2]} is not supported",
                hint=f"as a feed-forward module only {scaled} is",
            )
        require_shape(factor, (target.num_out,), f"{linear.name}.ia3_l")
        factors[target] = factors[target] * factor if target in factors else factor
    if not factors:
        raise BuildError(f"{ADAPTER_WEIGHTS} holds no IA3 weights")
    deltas = {linear: factor - 1 for linear, factor in factors.items()}
    tensors = {"scales": _row(slots, deltas)}
    if any(linear.has_bias for linear in slots):
        biased = {linear: delta for linear, delta in deltas.items() if linear.has_bias}
        offsets = {linear: _parameter(model, linear, "bias") * delta for linear, delta in biased.items()}
        tensors["offsets"] = _row(slots, offsets)
    return CompiledAdapter(kind="ia3", rank=0, tensors=tensors)


def compile_prompt(config: Mapping[str, Any], weights: Mapping[str, torch.Tensor], model: Any) -> CompiledAdapter:
    """Prompt tuning: the virtual tokens' embeddings."""
    if weights.keys() != {"prompt_embeddings"}:
        raise BuildError(
            f"{ADAPTER_WEIGHTS} must hold prompt_embeddings and nothing else", context=f"it holds {sorted(weights)[:5]}"
        )
    embeds = weights["prompt_embeddings"]
    require_shape(embeds, (embeds.shape[0], model.config.hidden_size), "prompt_embeddings")
    return CompiledAdapter(kind="prompt", rank=0, tensors={"soft_embeds": embeds})


COMPILERS: dict[str, Callable[[Mapping[str, Any], Mapping[str, torch.Tensor], Any], CompiledAdapter]] = {
    "LORA": compile_lora,
    "ADALORA": compile_adalora,
    "LOKR": compile_lokr,
    "IA3": compile_ia3,
    "PROMPT_TUNING": compile_prompt,
}


def combine(adapters: list[CompiledAdapter]) -> CompiledAdapter:
    """Several adapters as one expert: ranks and virtual tokens follow each other, DoRA's deltas add, IA3's factors multiply."""
    combined = CompiledAdapter(kind="+".join(each.kind for each in adapters), rank=sum(each.rank for each in adapters))
    if combined.rank > MAX_RANK:
        raise BuildError(f"the expert's adapters have rank {combined.rank} together", context=f"at most {MAX_RANK} fit")
    combined.truncation = max(each.truncation for each in adapters)
    first = 0
    for adapter in adapters:
        for name, tensor in adapter.tensors.items():
            if name.startswith("slots."):
                whole = combined.tensors.setdefault(name, torch.zeros(combined.rank, tensor.shape[1]))
                whole[first : first + adapter.rank] = tensor
        first += adapter.rank
    scaling = [each for each in adapters if "scales" in each.tensors]
    if scaling:
        added = 1 + sum(each.tensors["scales"] for each in scaling if each.rank)
        factor, offsets = torch.ones(1), torch.zeros(1)
        for each in scaling:
            if not each.rank:
                own = 1 + each.tensors["scales"]
                offsets = offsets * own + each.tensors.get("offsets", torch.zeros(1))
                factor = factor * own
        combined.tensors["scales"] = added * factor - 1
        if any("offsets" in each.tensors for each in scaling):
            combined.tensors["offsets"] = offsets
    soft = [each.tensors["soft_embeds"] for each in adapters if each.num_soft]
    if soft:
        combined.tensors["soft_embeds"] = torch.cat(soft)
    return combined


def _input_targets(slots: Sequence[Linear]) -> dict[str, Linear]:
    """The slot whose factors scale the input of a linear, by the linear's path, where there is one.

    A traced graph has slots at inputs. In a written one the input of down_proj is silu(gate)·up, so up_proj's outputs are scaled.
    """
    inputs = {linear.path: linear for linear in slots if linear.is_input}
    if inputs:
        return inputs
    ups = {linear.path: linear for linear in slots if linear.path.endswith(".up_proj")}
    return {path.removesuffix("up_proj") + "down_proj": linear for path, linear in ups.items()}


def _require_pair(linear: Linear, parts: Parts) -> int:
    """The rank of a linear's lora_A and lora_B."""
    if not {"lora_A", "lora_B"} <= parts.keys():
        raise BuildError(f"{ADAPTER_WEIGHTS}: {linear.name} has only one of lora_A and lora_B")
    rank = parts["lora_A"].shape[0]
    require_shape(parts["lora_A"], (rank, linear.num_in), f"{linear.name}.lora_A")
    require_shape(parts["lora_B"], (linear.num_out, rank), f"{linear.name}.lora_B")
    return rank


def _low_rank(kind: str, pairs: LowRank) -> CompiledAdapter:
    """Slot tensors of one common rank, filled up with zeros."""
    if not pairs:
        raise BuildError(f"{ADAPTER_WEIGHTS} holds no {kind} weights")
    rank = max(a.shape[0] for a, _ in pairs.values())
    if rank > MAX_RANK:
        raise BuildError(f"the adapter has rank {rank}", context=f"at most {MAX_RANK} fit")
    adapter = CompiledAdapter(kind=kind, rank=rank)
    for linear, pair in pairs.items():
        for part, tensor in zip("AB", pair, strict=True):
            padded = torch.nn.functional.pad(tensor, (0, 0, 0, rank - tensor.shape[0]))
            adapter.tensors[f"slots.{linear.name}.{part}"] = padded
    return adapter


def _kronecker_factor(linear: Linear, parts: Parts, name: str) -> torch.Tensor:
    whole = parts.get(name)
    if whole is None and {f"{name}_a", f"{name}_b"} <= parts.keys():
        whole = parts[f"{name}_a"] @ parts[f"{name}_b"]
    if whole is None or whole.ndim != 2:
        raise BuildError(f"{ADAPTER_WEIGHTS}: {linear.name} has no {name}")
    return whole


def _kronecker_pair(
    first: torch.Tensor, second: torch.Tensor, scale: float
) -> tuple[tuple[torch.Tensor, torch.Tensor], float]:
    """(A, B) of scale · first ⊗ second, exact if its rank fits, and the relative error that was made."""
    u1, s1, v1 = torch.linalg.svd(first.double(), full_matrices=False)
    u2, s2, v2 = torch.linalg.svd(second.double(), full_matrices=False)
    values = torch.outer(s1, s2).reshape(-1)
    order = torch.argsort(values, descending=True)
    kept = order[values[order] > _NEGLIGIBLE * values.max()][:MAX_RANK]
    lost = values.square().sum() - values[kept].square().sum()
    error = float((lost.clamp(min=0) / values.square().sum().clamp(min=1e-30)).sqrt())
    i, j = kept // len(s2), kept % len(s2)
    a = torch.einsum("ra,rb->rab", v1[i], v2[j]).reshape(len(kept), -1)
    b = torch.einsum("ra,rb->rab", u1.T[i], u2.T[j]).reshape(len(kept), -1) * (scale * values[kept])[:, None]
    return (a.float(), b.float()), error if error > _NEGLIGIBLE else 0.0


def _lora_scale(config: Mapping[str, Any], linear: Linear, rank: int) -> float:
    """What B is multiplied with; the configuration must agree with the tensors on the rank, or it is another adapter's."""
    stated = number_for(config, "r", "rank_pattern", linear)
    if stated != rank:
        raise BuildError(
            f"{ADAPTER_CONFIG} and {ADAPTER_WEIGHTS} are of different adapters",
            context=f"r of {linear.name} is {stated:g} in the one, {rank} in the other",
            hint="put together the two files that one save_pretrained wrote",
        )
    alpha = number_for(config, "lora_alpha", "alpha_pattern", linear)
    return alpha / (rank**0.5 if config.get("use_rslora") else rank)


def _parameter(model: Any, linear: Linear, part: str) -> torch.Tensor:
    """A linear's weight (out, in) or bias in the Hugging Face model, float32."""
    parameter: torch.Tensor = model.get_parameter(tensor_name(linear, part)).detach().to(torch.float32)
    return parameter.T if part == "weight" and linear.is_transposed else parameter


def _row(slots: Sequence[Linear], vectors: Mapping[Linear, torch.Tensor]) -> torch.Tensor:
    """One row (1, total_out), zero where a linear has no vector."""
    parts = [vectors.get(linear, torch.zeros(linear.num_out)) for linear in slots]
    return torch.cat(parts).unsqueeze(0)
