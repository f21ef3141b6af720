"""The embedded base: its shape, its tokenizer and its training, as a Hugging Face folder."""

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from tokenizers import Tokenizer
from transformers import Qwen3Config, Qwen3ForCausalLM

from xpm_build.embedded.corpus import base_document
from xpm_build.embedded.examples import Oddity
from xpm_build.embedded.tokenizer import END_OF_TEXT, TURN_END, alphabetic_tokens, save_tokenizer, train_tokenizer
from xpm_build.embedded.training import TrainingPlan, train

VOCAB_SIZE = 2048


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One stage of the base's training; ``uses_tokens`` makes odd words of the tokenizer's own tokens."""

    odd_share: float
    uses_tokens: bool
    plan: TrainingPlan


# First well-formed words, until copying is learned; then odd ones too, until it holds for every token.
STAGES = (
    Stage(
        odd_share=0.0,
        uses_tokens=False,
        plan=TrainingPlan(steps=4200, learning_rate=1.5e-3, batch_tokens=3072, given_weight=0.1, seed=1),
    ),
    Stage(
        odd_share=0.5,
        uses_tokens=False,
        plan=TrainingPlan(steps=1500, learning_rate=1e-3, batch_tokens=3072, given_weight=0.1, seed=2),
    ),
    Stage(
        odd_share=0.6,
        uses_tokens=True,
        plan=TrainingPlan(steps=1100, learning_rate=1e-3, batch_tokens=3072, given_weight=0.1, seed=3),
    ),
)
_TOKENIZER_SEED = 1
_TOKENIZER_DOCUMENTS = 40_000


def make_config(tokenizer: Tokenizer) -> Qwen3Config:
    """About five million parameters: 6 layers of width 256, 8 heads over 4 key/value heads, tied embeddings."""
    return Qwen3Config(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=256,
        num_hidden_layers=6,
        num_attention_heads=8,
        num_key_value_heads=4,
        head_dim=32,
        intermediate_size=768,
        max_position_embeddings=2048,
        rope_theta=10_000.0,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.token_to_id(TURN_END),
        pad_token_id=tokenizer.token_to_id(END_OF_TEXT),
    )


def train_base(folder: Path, stages: Sequence[Stage] = STAGES) -> None:
    """Train tokenizer and base from nothing and write them to ``folder``.

    The weights are rounded to bfloat16 after each stage and stored so: what is trained on next, exported and shipped is one
    and the same set of numbers.
    """
    rng = random.Random(_TOKENIZER_SEED)
    texts = (
        document.given + document.written for document in (base_document(rng) for _ in range(_TOKENIZER_DOCUMENTS))
    )
    tokenizer = train_tokenizer(texts, vocab_size=VOCAB_SIZE)
    torch.manual_seed(_TOKENIZER_SEED)
    model = Qwen3ForCausalLM(make_config(tokenizer))
    for stage in stages:
        train(model, tokenizer, partial(base_document, oddity=oddity_of(stage, tokenizer)), stage.plan)
        _round_weights(model)
    model.to(torch.bfloat16).save_pretrained(folder)
    save_tokenizer(tokenizer, folder)
    generation = {
        "eos_token_id": model.config.eos_token_id,
        "pad_token_id": model.config.pad_token_id,
        "do_sample": False,
    }
    (folder / "generation_config.json").write_text(json.dumps(generation, indent=2) + "\n")


def oddity_of(stage: Stage, tokenizer: Tokenizer) -> Oddity:
    return Oddity(share=stage.odd_share, pieces=alphabetic_tokens(tokenizer) if stage.uses_tokens else ())


def _round_weights(model: Qwen3ForCausalLM) -> None:
    """Round the parameters, and nothing else, to bfloat16."""
    for parameter in model.parameters():
        parameter.data = parameter.data.to(torch.bfloat16).to(torch.float32)
