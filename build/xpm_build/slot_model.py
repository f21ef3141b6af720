"""A Qwen3 model as the exporter must see it: fused pieces as ONNX Runtime operators, and a slot at every linear.

    y = (W x) ⊙ (1 + gate_scale·scales) + ((x·Aᵀ) ⊙ gate_rank)·B

The operators are ``autograd.Function``s: ``symbolic`` emits the operator, ``forward`` only gives the tracer the right
shapes. So this module exports; it does not compute.
"""

from typing import Any

import torch
from torch import Tensor, nn

from xpm_build.graph_spec import Shape


class _Reshape(torch.autograd.Function):
    """Reshape to a constant shape; 0 keeps a dimension, -1 takes what is left. Avoids the tracer's Shape-Gather-Concat chains."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, *shape: int) -> Tensor:
        return x.reshape([x.shape[i] if size == 0 else size for i, size in enumerate(shape)])

    @staticmethod
    def symbolic(g: Any, x: Any, *shape: int) -> Any:
        return g.op("Reshape", x, g.op("Constant", value_t=torch.tensor(shape)))


class _RmsNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, epsilon: float) -> Tensor:
        return x.clone()

    @staticmethod
    def symbolic(g: Any, x: Any, weight: Any, epsilon: float) -> Any:
        return g.op("SimplifiedLayerNormalization", x, weight, axis_i=-1, epsilon_f=epsilon, stash_type_i=1).setType(
            x.type()
        )


class _SkipRmsNorm(torch.autograd.Function):
    """(normalised x + residual, x + residual)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, residual: Tensor, weight: Tensor, epsilon: float) -> tuple[Tensor, Tensor]:
        return x + residual, x + residual

    @staticmethod
    def symbolic(g: Any, x: Any, residual: Any, weight: Any, epsilon: float) -> Any:
        outputs = g.op(
            "com.microsoft::SkipSimplifiedLayerNormalization", x, residual, weight, epsilon_f=epsilon, outputs=4
        )
        return outputs[0].setType(x.type()), outputs[3].setType(x.type())


class _Attention(torch.autograd.Function):
    """GroupQueryAttention with rotary embedding inside and the cache as past and present."""

    @staticmethod
    def forward(
        ctx: Any, q: Tensor, k: Tensor, v: Tensor, past_key: Tensor, past_value: Tensor,
        seqlens_k: Tensor, total_length: Tensor, cos: Tensor, sin: Tensor, num_heads: int, num_kv_heads: int,
    ) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
        def grown(past: Tensor, new: Tensor) -> Tensor:
            heads = new.reshape(new.shape[0], new.shape[1], num_kv_heads, -1).transpose(1, 2)
            return torch.cat([past, heads], 2)

        return q.clone(), grown(past_key, k), grown(past_value, v)

    @staticmethod
    def symbolic(
        g: Any, q: Any, k: Any, v: Any, past_key: Any, past_value: Any,
        seqlens_k: Any, total_length: Any, cos: Any, sin: Any, num_heads: int, num_kv_heads: int,
    ) -> Any:  # fmt: skip
        attended, key, value = g.op(
            "com.microsoft::GroupQueryAttention", q, k, v, past_key, past_value, seqlens_k, total_length, cos, sin,
            num_heads_i=num_heads, kv_num_heads_i=num_kv_heads, do_rotary_i=1, rotary_interleaved_i=0, outputs=3,
        )  # fmt: skip
        return attended.setType(q.type()), key.setType(past_key.type()), value.setType(past_value.type())


class _Fused(nn.Module):
    """Several linears over one input as one product; ``out_features`` are the parts."""

    def __init__(self, *linears: nn.Linear) -> None:
        super().__init__()
        self.out_features = [linear.out_features for linear in linears]
        self.weight = nn.Parameter(torch.cat([linear.weight for linear in linears]), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.linear(x, self.weight)


class SlotModel(nn.Module):
    """Wraps a Hugging Face Qwen3 model for export. ``config`` is what Optimum looks for."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.config = model.config
        self.shape = Shape(model.config)
        self.embed = model.model.embed_tokens
        self.norms = nn.ModuleList(
            nn.ModuleList(
                [layer.input_layernorm, layer.post_attention_layernorm, layer.self_attn.q_norm, layer.self_attn.k_norm]
            )
            for layer in model.model.layers
        )
        self.linears = nn.ModuleList(
            nn.ModuleList(
                [
                    _Fused(layer.self_attn.q_proj, layer.self_attn.k_proj, layer.self_attn.v_proj),
                    _Fused(layer.self_attn.o_proj),
                    _Fused(layer.mlp.gate_proj, layer.mlp.up_proj),
                    _Fused(layer.mlp.down_proj),
                ]
            )
            for layer in model.model.layers
        )
        self.final_norm = model.model.norm
        self.lm_head = model.lm_head

    def forward(
        self, input_ids: Tensor, past_key_values: list[Tensor], seqlens_k: Tensor, total_sequence_length: Tensor,
        rope_cos: Tensor, rope_sin: Tensor, logit_positions: Tensor, gate_rank: Tensor, gate_scale: Tensor,
        scales: Tensor, soft_embeds: Tensor, slots: list[Tensor],
    ) -> tuple[Tensor, list[Tensor]]:  # fmt: skip
        c, epsilon = self.config, self.config.rms_norm_eps
        factors = iter(torch.split(1.0 + torch.matmul(gate_scale, scales), self._group_sizes(), dim=-1))
        pairs = iter(zip(slots[0::2], slots[1::2], strict=True))

        def linear(fused: _Fused, x: Tensor) -> list[Tensor]:
            outputs = torch.split(fused(x) * next(factors), fused.out_features, dim=-1)
            return [
                y + torch.matmul(torch.matmul(x, a.transpose(0, 1)) * gate_rank, b)
                for y, (a, b) in zip(outputs, pairs, strict=False)
            ]

        def heads(x: Tensor, norm: Any, count: int) -> Tensor:
            normed = _RmsNorm.apply(_Reshape.apply(x, 0, 0, count, -1), norm.weight, epsilon)
            return _Reshape.apply(normed, 0, 0, -1)

        hidden = self._embed(input_ids, soft_embeds)
        residual: Tensor | None = None
        present: list[Tensor] = []
        for layer, (norms, linears) in enumerate(zip(self.norms, self.linears, strict=True)):
            if residual is None:
                x = _RmsNorm.apply(hidden, norms[0].weight, epsilon)
            else:
                x, hidden = _SkipRmsNorm.apply(hidden, residual, norms[0].weight, epsilon)
            q, k, v = linear(linears[0], x)
            attended, key, value = _Attention.apply(
                heads(q, norms[2], c.num_attention_heads), heads(k, norms[3], c.num_key_value_heads), v,
                past_key_values[2 * layer], past_key_values[2 * layer + 1], seqlens_k, total_sequence_length,
                rope_cos, rope_sin, c.num_attention_heads, c.num_key_value_heads,
            )  # fmt: skip
            present += [key, value]
            x, hidden = _SkipRmsNorm.apply(hidden, linear(linears[1], attended)[0], norms[1].weight, epsilon)
            gate, up = linear(linears[2], x)
            residual = linear(linears[3], nn.functional.silu(gate) * up)[0]
        x, _ = _SkipRmsNorm.apply(hidden, residual, self.final_norm.weight, epsilon)
        wanted = torch.gather(x, 1, logit_positions.unsqueeze(-1).expand(-1, -1, c.hidden_size))
        return self.lm_head(wanted), present

    def _embed(self, input_ids: Tensor, soft_embeds: Tensor) -> Tensor:
        """Rows of the vocabulary, or of ``soft_embeds`` for ids from ``vocab_size`` on."""
        vocab_size = self.config.vocab_size
        with_zero = torch.cat([torch.zeros_like(self.embed.weight[:1]), soft_embeds], 0)
        soft_ids = torch.clamp(input_ids - (vocab_size - 1), min=0)
        soft = nn.functional.embedding(soft_ids, with_zero)
        return torch.where((soft_ids > 0).unsqueeze(-1), soft, self.embed(torch.clamp(input_ids, max=vocab_size - 1)))

    def _group_sizes(self) -> list[int]:
        return [sum(fused.out_features) for linears in self.linears for fused in linears]
