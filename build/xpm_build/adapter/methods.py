"""One function per method of PEFT: from its tensors to slot tensors. docs/reference/formats/graph.md has the algebra.

Every method becomes, per linear, a product of low rank (A, B), a factor on the outputs (a delta in ``scales``, and what
biases need in ``offsets``), or virtual tokens (``soft_embeds``).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xpm_build.adapter.peft_files import (
    ADAPTER_CONFIG,
    ADAPTER_WEIGHTS,
    Parts,
    by_linear,
    number,
    number_for,
    require_shape,
)
from xpm_build.base.adaptable import Adaptable
from xpm_build.base.architecture import Linear
from xpm_build.errors import BuildError
from xpm_runtime.adapter import MAX_INVOCATION_TOKENS, MAX_RANK

Floats = NDArray[np.float32]
_NEGLIGIBLE = 1e-6  # of the largest singular value


@dataclass(slots=True)
class CompiledAdapter:
    """Slot tensors by name; ``kind`` names the method.

    ``invocation`` are the tokens from whose last place in a prompt on it acts, () if it acts everywhere.
    ``truncation`` is the largest relative error (Frobenius) of a linear's update that had to be
    cut to MAX_RANK, 0 if exact.
    """

    kind: str
    rank: int
    tensors: dict[str, Floats] = field(default_factory=dict)
    truncation: float = 0.0
    invocation: tuple[int, ...] = ()

    @property
    def num_soft(self) -> int:
        return self.tensors["soft_embeds"].shape[0] if "soft_embeds" in self.tensors else 0


LowRank = dict[Linear, tuple[Floats, Floats]]  # (rank, in) and (rank, out)


def compile_lora(config: Mapping[str, Any], weights: Mapping[str, Floats], base: Adaptable) -> CompiledAdapter:
    """LoRA, rsLoRA and activated LoRA; DoRA, whose factor m / ‖W + BA‖ scales both the base's output and B."""
    use_dora = bool(config.get("use_dora"))
    pairs: LowRank = {}
    deltas: dict[Linear, Floats] = {}
    for linear, parts in by_linear(weights, base.slots).items():
        rank = _require_pair(linear, parts)
        update = parts["lora_B"] * _lora_scale(config, linear, rank)
        if use_dora:
            if "lora_magnitude_vector" not in parts:
                raise BuildError(f"{ADAPTER_WEIGHTS}: {linear.name} has no magnitude vector, but use_dora is set")
            magnitude = parts["lora_magnitude_vector"].reshape(-1)
            require_shape(magnitude.shape, (linear.num_out,), f"{linear.name}.lora_magnitude_vector")
            factor = (magnitude / _norms(base.parameter(linear, "weight"), update, parts["lora_A"])).astype(np.float32)
            update = factor[:, np.newaxis] * update
            deltas[linear] = factor - 1
        pairs[linear] = parts["lora_A"], update.T
    invocation = invocation_of(config)
    adapter = _low_rank("dora" if use_dora else "alora" if invocation else "lora", pairs)
    adapter.invocation = invocation
    if deltas:
        adapter.tensors["scales"] = _row(base.slots, deltas)
    return adapter


def invocation_of(config: Mapping[str, Any]) -> tuple[int, ...]:
    """The tokens that invoke an activated LoRA, () of any other; raises BuildError if they are no tokens."""
    ids = config.get("alora_invocation_tokens")
    if ids is None:
        return ()
    if config.get("use_dora"):
        raise BuildError(f"{ADAPTER_CONFIG}: an activated LoRA can't be a DoRA")
    is_list = isinstance(ids, list) and 1 <= len(ids) <= MAX_INVOCATION_TOKENS
    if not is_list or not all(type(each) is int and each >= 0 for each in ids):
        raise BuildError(
            f"{ADAPTER_CONFIG}: alora_invocation_tokens must be 1 to {MAX_INVOCATION_TOKENS} token ids",
            context=f"got {ids!r}"[:200],
        )
    return tuple(ids)


def compile_adalora(config: Mapping[str, Any], weights: Mapping[str, Floats], base: Adaptable) -> CompiledAdapter:
    """AdaLoRA: B·(A ⊙ E), scaled by alpha over the rank that it began with; ranks that were pruned
    have E = 0 and are dropped."""
    begun_with = number(config, "init_r")
    alpha = begun_with if config.get("lora_alpha") == 0 else number(config, "lora_alpha")  # as PEFT has it
    pairs: LowRank = {}
    for linear, parts in by_linear(weights, base.slots).items():
        rank = _require_pair(linear, parts)
        if "lora_E" not in parts:
            raise BuildError(f"{ADAPTER_WEIGHTS}: {linear.name} has no lora_E")
        require_shape(parts["lora_E"].shape, (rank, 1), f"{linear.name}.lora_E")
        kept = parts["lora_E"][:, 0] != 0
        scale = alpha / (begun_with + 1e-5)
        pairs[linear] = (parts["lora_A"] * parts["lora_E"])[kept], scale * parts["lora_B"].T[kept]
    return _low_rank("adalora", pairs)


def compile_lokr(config: Mapping[str, Any], weights: Mapping[str, Floats], base: Adaptable) -> CompiledAdapter:
    """LoKr: the singular values of w1 ⊗ w2 are the products of theirs, so the best pair of low rank
    is read off two small ones."""
    pairs: LowRank = {}
    truncation = 0.0
    for linear, parts in by_linear(weights, base.slots).items():
        first, second = _kronecker_factor(linear, parts, "lokr_w1"), _kronecker_factor(linear, parts, "lokr_w2")
        shape = (first.shape[0] * second.shape[0], first.shape[1] * second.shape[1])
        require_shape(shape, (linear.num_out, linear.num_in), f"{linear.name}.lokr")
        scale = number_for(config, "alpha", "alpha_pattern", linear) / number_for(config, "r", "rank_pattern", linear)
        pair, error = _kronecker_pair(first, second, scale)
        pairs[linear] = pair
        truncation = max(truncation, error)
    adapter = _low_rank("lokr", pairs)
    adapter.truncation = truncation
    return adapter


def compile_ia3(config: Mapping[str, Any], weights: Mapping[str, Floats], base: Adaptable) -> CompiledAdapter:
    """IA3: factors on outputs, and on what goes into a feed-forward part's last linear."""
    targets = _input_targets(base.slots)
    factors: dict[Linear, Floats] = {}
    for linear, parts in by_linear(weights, base.slots).items():
        if parts.keys() != {"ia3_l"}:
            raise BuildError(f"{ADAPTER_WEIGHTS}: {linear.name} has tensors that are not IA3's")
        factor = parts["ia3_l"].reshape(-1)
        target: Linear | None = linear
        if parts["ia3_l"].shape[:1] == (1,):
            target = targets.get(linear.path)
        if target is None:
            scaled = ", ".join(dict.fromkeys(path.rpartition(".")[2] for path in targets))
            raise BuildError(
                f"IA3 on the input of {linear.name.partition('.')[2]} is not supported",
                hint=f"as a feed-forward module only {scaled} is",
            )
        require_shape(factor.shape, (target.num_out,), f"{linear.name}.ia3_l")
        factors[target] = factors[target] * factor if target in factors else factor
    if not factors:
        raise BuildError(f"{ADAPTER_WEIGHTS} holds no IA3 weights")
    deltas = {linear: factor - 1 for linear, factor in factors.items()}
    tensors = {"scales": _row(base.slots, deltas)}
    if any(linear.has_bias for linear in base.slots):
        biased = {linear: delta for linear, delta in deltas.items() if linear.has_bias}
        offsets = {linear: base.parameter(linear, "bias") * delta for linear, delta in biased.items()}
        tensors["offsets"] = _row(base.slots, offsets)
    return CompiledAdapter(kind="ia3", rank=0, tensors=tensors)


def compile_prompt(config: Mapping[str, Any], weights: Mapping[str, Floats], base: Adaptable) -> CompiledAdapter:
    """Prompt tuning: the virtual tokens' embeddings."""
    if weights.keys() != {"prompt_embeddings"}:
        raise BuildError(
            f"{ADAPTER_WEIGHTS} must hold prompt_embeddings and nothing else", context=f"it holds {sorted(weights)[:5]}"
        )
    embeds = weights["prompt_embeddings"]
    require_shape(embeds.shape, (*embeds.shape[:1], base.hidden_size), "prompt_embeddings")
    return CompiledAdapter(kind="prompt", rank=0, tensors={"soft_embeds": embeds})


COMPILERS: dict[str, Callable[[Mapping[str, Any], Mapping[str, Floats], Adaptable], CompiledAdapter]] = {
    "LORA": compile_lora,
    "ADALORA": compile_adalora,
    "LOKR": compile_lokr,
    "IA3": compile_ia3,
    "PROMPT_TUNING": compile_prompt,
}


def combine(adapters: list[CompiledAdapter]) -> CompiledAdapter:
    """Several adapters as one expert: ranks and virtual tokens follow each other, DoRA's deltas
    add, IA3's factors multiply."""
    if len({each.invocation for each in adapters}) > 1:
        raise BuildError(
            "adapters that are invoked by different tokens can't be one expert",
            hint="build an expert of each, or train them with the same invocation",
        )
    combined = CompiledAdapter(kind="+".join(each.kind for each in adapters), rank=sum(each.rank for each in adapters))
    combined.invocation = adapters[0].invocation
    if combined.rank > MAX_RANK:
        raise BuildError(f"the expert's adapters have rank {combined.rank} together", context=f"at most {MAX_RANK} fit")
    combined.truncation = max(each.truncation for each in adapters)
    first = 0
    for adapter in adapters:
        for name, tensor in adapter.tensors.items():
            if name.startswith("slots."):
                whole = combined.tensors.setdefault(name, np.zeros((combined.rank, tensor.shape[1]), np.float32))
                whole[first : first + adapter.rank] = tensor
        first += adapter.rank
    scaling = [each for each in adapters if "scales" in each.tensors]
    if scaling:
        added = np.ones(1, np.float32) + sum(each.tensors["scales"] for each in scaling if each.rank)
        factor, offsets = np.ones(1, np.float32), np.zeros(1, np.float32)
        for each in scaling:
            if not each.rank:
                own = 1 + each.tensors["scales"]
                offsets = offsets * own + each.tensors.get("offsets", np.float32(0))
                factor = factor * own
        combined.tensors["scales"] = added * factor - 1
        if any("offsets" in each.tensors for each in scaling):
            combined.tensors["offsets"] = offsets
    soft = [each.tensors["soft_embeds"] for each in adapters if each.num_soft]
    if soft:
        combined.tensors["soft_embeds"] = np.concatenate(soft)
    return combined


def _input_targets(slots: Sequence[Linear]) -> dict[str, Linear]:
    """The slot whose factors scale the input of a linear, by the linear's path, where there is one.

    A traced graph has slots at inputs. In a written one the input of down_proj is silu(gate)·up, so
    up_proj's outputs are scaled.
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
    rank = parts["lora_A"].shape[:1]
    require_shape(parts["lora_A"].shape, (*rank, linear.num_in), f"{linear.name}.lora_A")
    require_shape(parts["lora_B"].shape, (linear.num_out, *rank), f"{linear.name}.lora_B")
    return rank[0]


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
            padded = np.pad(tensor, ((0, rank - tensor.shape[0]), (0, 0)))
            adapter.tensors[f"slots.{linear.name}.{part}"] = padded
    return adapter


def _kronecker_factor(linear: Linear, parts: Parts, name: str) -> Floats:
    whole = parts.get(name)
    if whole is None and {f"{name}_a", f"{name}_b"} <= parts.keys():
        whole = parts[f"{name}_a"] @ parts[f"{name}_b"]
    if whole is None or whole.ndim != 2:
        raise BuildError(f"{ADAPTER_WEIGHTS}: {linear.name} has no {name}")
    return whole


def _kronecker_pair(first: Floats, second: Floats, scale: float) -> tuple[tuple[Floats, Floats], float]:
    """(A, B) of scale · first ⊗ second, exact if its rank fits, and the relative error that was made."""
    u1, s1, v1 = np.linalg.svd(first.astype(np.float64), full_matrices=False)
    u2, s2, v2 = np.linalg.svd(second.astype(np.float64), full_matrices=False)
    values = np.outer(s1, s2).reshape(-1)
    order = np.argsort(-values, kind="stable")
    kept = order[values[order] > _NEGLIGIBLE * values.max()][:MAX_RANK]
    lost = np.square(values).sum() - np.square(values[kept]).sum()
    error = float(np.sqrt(max(lost, 0.0) / max(np.square(values).sum(), 1e-30)))
    i, j = kept // len(s2), kept % len(s2)
    a = np.einsum("ra,rb->rab", v1[i], v2[j]).reshape(len(kept), -1)
    b = np.einsum("ra,rb->rab", u1.T[i], u2.T[j]).reshape(len(kept), -1) * (scale * values[kept])[:, np.newaxis]
    return (a.astype(np.float32), b.astype(np.float32)), error if error > _NEGLIGIBLE else 0.0


def _lora_scale(config: Mapping[str, Any], linear: Linear, rank: int) -> float:
    """What B is multiplied with; the configuration must agree with the tensors on the rank,
    or it is another adapter's."""
    stated = number_for(config, "r", "rank_pattern", linear)
    if stated != rank:
        raise BuildError(
            f"{ADAPTER_CONFIG} and {ADAPTER_WEIGHTS} are of different adapters",
            context=f"r of {linear.name} is {stated:g} in the one, {rank} in the other",
            hint="put together the two files that one save_pretrained wrote",
        )
    alpha = number_for(config, "lora_alpha", "alpha_pattern", linear)
    return alpha / (rank**0.5 if config.get("use_rslora") else rank)


def _norms(weight: Floats, update: Floats, a: Floats) -> NDArray[np.float64]:
    """(out,) lengths of the rows of W + update·A, in float64: no sum's order shows in what is
    rounded to 32 bits after it."""
    whole = weight.astype(np.float64)
    whole += update.astype(np.float64) @ a.astype(np.float64)
    return np.asarray(np.linalg.norm(whole, axis=1))


def _row(slots: Sequence[Linear], vectors: Mapping[Linear, Floats]) -> Floats:
    """One row (1, total_out), zero where a linear has no vector."""
    parts = [vectors.get(linear, np.zeros(linear.num_out, np.float32)) for linear in slots]
    return np.concatenate(parts)[np.newaxis]
