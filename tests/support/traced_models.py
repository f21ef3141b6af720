"""Tiny random models of architectures that are traced through Optimum, and what PEFT adapts in them."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import IA3Config, LoraConfig, PeftConfig
from transformers import (
    AutoModelForCausalLM,
    Gemma3TextConfig,
    GPT2Config,
    GraniteConfig,
    OPTConfig,
    Phi3Config,
    PretrainedConfig,
    SmolLM3Config,
)

from tests.support.models import VOCAB_SIZE, save_tokenizer

_TOKENS: dict[str, Any] = {"vocab_size": VOCAB_SIZE, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
_SHAPE: dict[str, Any] = {
    **_TOKENS,
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 96,
    "max_position_embeddings": 512,
    "initializer_range": 0.08,
}
_GATED = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


@dataclass(frozen=True, slots=True)
class Traced:
    """``ia3``: the modules whose outputs IA3 scales; the last of ``linears`` has its input scaled."""

    config: Callable[[], PretrainedConfig]
    linears: tuple[str, ...]
    ia3: tuple[str, ...]

    def adapters(self) -> dict[str, PeftConfig]:
        lora = {"r": 6, "lora_alpha": 9, "target_modules": list(self.linears), "task_type": "CAUSAL_LM"}
        last = self.linears[-1]
        return {
            "lora": LoraConfig(**lora),
            "dora": LoraConfig(**lora, use_dora=True),
            "ia3": IA3Config(target_modules=[*self.ia3, last], feedforward_modules=[last], task_type="CAUSAL_LM"),
        }


TRACED = {
    "gemma3": Traced(
        lambda: Gemma3TextConfig(
            **_SHAPE,
            head_dim=32,
            sliding_window=16,
            layer_types=["sliding_attention", "full_attention"],
            query_pre_attn_scalar=32,
        ),
        _GATED,
        ("k_proj", "v_proj"),
    ),
    "phi3": Traced(lambda: Phi3Config(**_SHAPE), ("qkv_proj", "o_proj", "gate_up_proj", "down_proj"), ("qkv_proj",)),
    "granite": Traced(
        lambda: GraniteConfig(
            **_SHAPE,
            residual_multiplier=0.5,
            attention_multiplier=0.2,
            embedding_multiplier=2.0,
            logits_scaling=1.5,
            attention_bias=True,
        ),
        _GATED,
        ("k_proj", "v_proj"),
    ),
    "smollm3": Traced(lambda: SmolLM3Config(**_SHAPE, no_rope_layers=[1, 0]), _GATED, ("k_proj", "v_proj")),
    "gpt2": Traced(
        lambda: GPT2Config(**_TOKENS, n_embd=64, n_layer=2, n_head=4, n_positions=512, initializer_range=0.08),
        ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj"),
        ("attn.c_attn",),
    ),
    "opt": Traced(
        lambda: OPTConfig(
            **_TOKENS,
            hidden_size=64,
            num_hidden_layers=2,
            num_attention_heads=4,
            ffn_dim=96,
            word_embed_proj_dim=64,
            max_position_embeddings=512,
            init_std=0.08,
        ),
        ("q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2"),
        ("k_proj", "v_proj"),
    ),
}


def save_traced_model(folder: Path, architecture: str, *, seed: int = 0) -> Path:
    """A Hugging Face folder with random weights, biases and norms among them."""
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(TRACED[architecture].config())
    for parameter in model.parameters():
        if parameter.ndim == 1:
            parameter.data += 0.1 * torch.randn(parameter.shape)
    model.save_pretrained(folder)
    save_tokenizer(folder)
    return folder
