"""Tiny random models of the real architecture, and PEFT adapters with random weights for them.
Seeded; kilobytes; seconds."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from peft import AdaLoraConfig, IA3Config, LoKrConfig, LoraConfig, PeftConfig, PromptTuningConfig, get_peft_model
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoModelForCausalLM, LlamaConfig, PretrainedConfig, Qwen2Config, Qwen3Config

ALL_LINEARS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
VOCAB_SIZE = 256 + len(SPECIAL)
_CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


_SHAPE: dict[str, Any] = {
    "vocab_size": VOCAB_SIZE,
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 96,
    "max_position_embeddings": 256,
    "rope_theta": 10_000.0,
    "tie_word_embeddings": True,
    "initializer_range": 0.08,
    "bos_token_id": None,
    "eos_token_id": 2,
    "pad_token_id": 0,
}


def tiny_config(**changes: Any) -> Qwen3Config:
    return Qwen3Config(**{**_SHAPE, "head_dim": 32, **changes})


ARCHITECTURES: dict[str, Callable[[], PretrainedConfig]] = {
    "qwen3": tiny_config,
    "qwen3-untied": lambda: tiny_config(tie_word_embeddings=False),
    "qwen3-biased": lambda: tiny_config(attention_bias=True),
    "qwen2": lambda: Qwen2Config(**_SHAPE),
    "llama": lambda: LlamaConfig(**_SHAPE),
    "llama-biased": lambda: LlamaConfig(
        **{**_SHAPE, "num_key_value_heads": 4, "attention_bias": True, "mlp_bias": True}
    ),
    "llama-scaled": lambda: LlamaConfig(**{**_SHAPE, "rope_scaling": _LLAMA3_ROPE}),
}
_LLAMA3_ROPE = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}


def save_tokenizer(folder: Path) -> None:
    """A byte-level tokenizer without merges: 256 bytes after three control tokens."""
    vocab = {token: number for number, token in enumerate([*SPECIAL, *sorted(pre_tokenizers.ByteLevel.alphabet())])}
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(SPECIAL)
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": SPECIAL[2], "chat_template": _CHAT_TEMPLATE}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))


def save_tiny_model(folder: Path, *, architecture: str = "qwen3", seed: int = 0, vocab_size: int = VOCAB_SIZE) -> Path:
    """A Hugging Face folder with random weights, biases among them."""
    torch.manual_seed(seed)
    config = ARCHITECTURES[architecture]()
    config.vocab_size = vocab_size
    model = AutoModelForCausalLM.from_config(config)
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            parameter.data = 0.3 * torch.randn(parameter.shape)
    model.save_pretrained(folder)
    save_tokenizer(folder)
    return folder


def load(folder: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


def lora(rank: int = 8, *, targets: list[str] | None = None, **options: Any) -> LoraConfig:
    return LoraConfig(
        r=rank, lora_alpha=2 * rank, target_modules=targets or ALL_LINEARS, task_type="CAUSAL_LM", **options
    )


def ia3() -> IA3Config:
    return IA3Config(
        target_modules=["k_proj", "v_proj", "down_proj"], feedforward_modules=["down_proj"], task_type="CAUSAL_LM"
    )


def prompt_tuning(num_tokens: int = 5) -> PromptTuningConfig:
    return PromptTuningConfig(num_virtual_tokens=num_tokens, task_type="CAUSAL_LM")


CONFIGS: dict[str, Callable[[], PeftConfig]] = {
    "lora": lora,
    "rslora": lambda: lora(use_rslora=True),
    "dora": lambda: lora(use_dora=True),
    "partial": lambda: lora(4, targets=["q_proj", "v_proj"]),
    "patterns": lambda: lora(4, rank_pattern={"q_proj": 6}, alpha_pattern={"q_proj": 3}),
    "some-layers": lambda: lora(4, layers_to_transform=[1]),
    "adalora": lambda: AdaLoraConfig(
        init_r=6, target_r=4, total_step=10, lora_alpha=12, target_modules=ALL_LINEARS, task_type="CAUSAL_LM"
    ),
    "lokr": lambda: LoKrConfig(r=4, alpha=8, target_modules=ALL_LINEARS, task_type="CAUSAL_LM"),
    "lokr-both": lambda: LoKrConfig(
        r=2,
        alpha=6,
        decompose_both=True,
        decompose_factor=4,
        target_modules=["q_proj", "down_proj"],
        task_type="CAUSAL_LM",
    ),
    "ia3": ia3,
    "prompt": prompt_tuning,
}


def randomise(model: torch.nn.Module, seed: int) -> None:
    """Give every trainable tensor of an adapter random values that visibly change the model."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        if "lora_A" in name or "lora_B" in name:
            parameter.data = 0.1 * noise
        elif "lora_E" in name or "lokr_" in name:
            parameter.data = 0.3 * noise
        elif "magnitude" in name:
            parameter.data = parameter.data * (1 + 0.2 * noise)
        elif "ia3_l" in name:
            parameter.data = 1 + 0.3 * noise
        elif "prompt_encoder" in name:
            parameter.data = 0.3 * noise


def save_adapter(base: Path, folder: Path, config: PeftConfig, *, seed: int) -> Path:
    """What PEFT's ``save_pretrained`` writes for a random adapter."""
    model = get_peft_model(load(base), config)
    randomise(model, seed)
    model.save_pretrained(folder)
    return folder
