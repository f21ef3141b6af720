"""A decoder in numpy, float32, one layer after the other: what graphs are compared with, and
what calibration looks into.

It is the architecture's definition in sixty lines, without a cache: slow beside the engine, exact, and in need of
nothing but the weights of the layer that it computes.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from xpm_build.base.architecture import Architecture, LinearGroup, tensor_name
from xpm_runtime.rope import rope_tables

Floats = NDArray[np.float32]
_SHIFT = np.float32(60)  # exp of more is past float32's precision for a gate


class Decoder:
    """Computes with ``weights``, by their Hugging Face names. Hidden states are (sequences, tokens, hidden_size)."""

    def __init__(self, architecture: Architecture, weights: Mapping[str, Floats], *, num_tokens: int) -> None:
        self.a = architecture
        self.weights = weights
        self._cos, self._sin = rope_tables(
            head_dim=architecture.head_dim,
            theta=architecture.config.rope_theta,
            num_positions=num_tokens,
            scaling=architecture.rope_scaling,
            dtype="float32",
        )

    def embed(self, ids: NDArray[np.integer]) -> Floats:
        return self.weights["model.embed_tokens.weight"][ids]

    def layer(self, layer: int, hidden: Floats) -> Floats:
        qkv, attended, gate_up, down = self.a.groups(layer)
        hidden = hidden + self.product(
            attended, self.attend(layer, self.product(qkv, self.attention_input(layer, hidden)))
        )
        return hidden + self.product(down, self.gated(self.product(gate_up, self.mlp_input(layer, hidden))))

    def logits(self, hidden: Floats) -> Floats:
        name = "model.embed_tokens.weight" if self.a.is_tied else "lm_head.weight"
        return self._norm(hidden, "model.norm.weight") @ self.weights[name].T

    def attention_input(self, layer: int, hidden: Floats) -> Floats:
        return self._norm(hidden, f"model.layers.{layer}.input_layernorm.weight")

    def mlp_input(self, layer: int, hidden: Floats) -> Floats:
        return self._norm(hidden, f"model.layers.{layer}.post_attention_layernorm.weight")

    def product(self, group: LinearGroup, x: Floats) -> Floats:
        """The outputs of a group's linears, one after the other."""
        parts = []
        for linear in group.linears:
            y = x @ self.weights[tensor_name(linear)].T
            parts.append(y + self.weights[tensor_name(linear, "bias")] if linear.has_bias else y)
        return np.concatenate(parts, axis=-1)

    def attend(self, layer: int, qkv: Floats) -> Floats:
        """Causal attention of each sequence, before the output's linear."""
        a = self.a
        sizes = np.cumsum([a.num_heads * a.head_dim, a.num_kv_heads * a.head_dim])
        query, key, value = (self._heads(part) for part in np.split(qkv, sizes, axis=-1))
        if a.has_qk_norm:
            query = self._norm(query, f"model.layers.{layer}.self_attn.q_norm.weight")
            key = self._norm(key, f"model.layers.{layer}.self_attn.k_norm.weight")
        query, key = self._rotate(query), self._rotate(key)
        shared = a.num_heads // a.num_kv_heads
        result = np.empty_like(query)
        length = query.shape[2]
        later = np.triu(np.full((length, length), -np.inf, np.float32), 1)
        for number in range(len(query)):
            keys, values = (each[number].repeat(shared, axis=0) for each in (key, value))
            scores = query[number] @ keys.swapaxes(1, 2) * np.float32(a.head_dim**-0.5) + later
            scores = np.exp(scores - scores.max(axis=-1, keepdims=True))
            result[number] = scores / scores.sum(axis=-1, keepdims=True) @ values
        return result.swapaxes(1, 2).reshape(*qkv.shape[:2], -1)

    def gated(self, gate_up: Floats) -> Floats:
        """silu(gate) ⊙ up"""
        gate, up = np.split(gate_up, 2, axis=-1)
        return gate / (1 + np.exp(np.clip(-gate, -_SHIFT, _SHIFT))) * up

    def _heads(self, x: Floats) -> Floats:
        return x.reshape(*x.shape[:2], -1, self.a.head_dim).swapaxes(1, 2)

    def _rotate(self, x: Floats) -> Floats:
        length = x.shape[2]
        cos, sin = self._cos[:length], self._sin[:length]
        first, second = np.split(x, 2, axis=-1)
        return np.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)

    def _norm(self, x: Floats, name: str) -> Floats:
        return x / np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + np.float32(self.a.epsilon)) * self.weights[name]


def last_hidden(decoder: Decoder, ids: NDArray[np.integer]) -> Floats:
    """What ``Decoder.logits`` takes: hidden states of ``ids`` (sequences, tokens) behind the last layer."""
    hidden = decoder.embed(ids)
    for layer in range(decoder.a.num_layers):
        hidden = decoder.layer(layer, hidden)
    return hidden


def windows(ids: Sequence[int], length: int) -> NDArray[np.int64]:
    """Sequences of ``length`` tokens, one after the other; what is left over at the end is not used."""
    count = len(ids) // length
    return np.array(ids[: count * length], np.int64).reshape(count, length)
