"""The embedded base: its shape, its tokenizer and its training, as a Hugging Face folder."""

import json
import random
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from tokenizers import Tokenizer
from transformers import Qwen3Config, Qwen3ForCausalLM

from examples.embedded.corpus import Document, base_document
from examples.embedded.tokenizer import END_OF_TEXT, TURN_END, alphabetic_tokens, save_tokenizer, train_tokenizer
from examples.embedded.training import Draw, TrainingPlan, train
from xpm_build.domains.words import Oddity

VOCAB_SIZE = 2048


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """A part of the base's training.

    ``oddities`` says from which share of the stage on words are how odd: (share, share of odd words, whether of the
    tokenizer's own tokens). In a ``strange`` stage requests are not worded quite as the frames have them; in a ``hard``
    one more of them are of the families that take the most practice.
    """

    plan: TrainingPlan
    oddities: tuple[tuple[float, float, bool], ...]
    strange: bool = False
    hard: bool = False


_FEWER_ODDITIES = ((0.0, 0.35, True), (0.7, 0.25, True))
_LATER_PLAN = TrainingPlan(
    steps=5_000, learning_rate=1.5e-3, embedding_learning_rate=1e-3, batch_tokens=4096, given_weight=0.1, seed=3
)

# At first words are well-formed, until copying is learned; then odd ones come too, of the tokenizer's
# own tokens, until copying holds for every token; then fewer of them. The other stages are for sentences that are
# worded like none that was read, the last two with more of what is still got wrong.
STAGES = (
    Stage(
        plan=TrainingPlan(steps=12_000, learning_rate=2e-3, batch_tokens=4096, given_weight=0.1, seed=1),
        oddities=((0.0, 0.1, False), (0.12, 0.3, False), (0.25, 0.4, True), (0.8, 0.25, True)),
    ),
    Stage(
        plan=replace(_LATER_PLAN, steps=3_000, learning_rate=1e-3, embedding_learning_rate=7.5e-4, seed=2),
        oddities=_FEWER_ODDITIES,
        strange=True,
    ),
    Stage(plan=_LATER_PLAN, oddities=_FEWER_ODDITIES, strange=True),
    Stage(plan=replace(_LATER_PLAN, steps=7_500, seed=4), oddities=_FEWER_ODDITIES, strange=True, hard=True),
    Stage(plan=replace(_LATER_PLAN, steps=6_500, seed=5), oddities=_FEWER_ODDITIES, strange=True, hard=True),
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
        attn_implementation="eager",  # on a CPU the fused kernel's backward pass takes a third of a step
    )


def train_base(folder: Path) -> None:
    """Train tokenizer and base from nothing and write them to ``folder``; an interrupted training goes on.

    The weights are rounded to bfloat16 and stored so: what the experts are trained on, what is exported and what is
    shipped is one and the same set of numbers.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rng = random.Random(_TOKENIZER_SEED)
    documents = (base_document(rng, oddity=Oddity()) for _ in range(_TOKENIZER_DOCUMENTS))
    tokenizer = train_tokenizer((each.given + each.written for each in documents), vocab_size=VOCAB_SIZE)
    torch.manual_seed(_TOKENIZER_SEED)
    model = Qwen3ForCausalLM(make_config(tokenizer))
    checkpoints = [folder / f"training-{number}.pt" for number in range(len(STAGES))]
    pieces = alphabetic_tokens(tokenizer)
    begun = max((number for number, path in enumerate(checkpoints) if path.is_file()), default=0)
    for stage, checkpoint in list(zip(STAGES, checkpoints, strict=True))[begun:]:
        train(model, tokenizer, _draw_of(stage, pieces), stage.plan, checkpoint=checkpoint)
    model.to(torch.bfloat16).save_pretrained(folder)
    save_tokenizer(tokenizer, folder)
    generation = {
        "eos_token_id": model.config.eos_token_id,
        "pad_token_id": model.config.pad_token_id,
        "do_sample": False,
    }
    (folder / "generation_config.json").write_text(json.dumps(generation, indent=2) + "\n")
    for checkpoint in checkpoints:
        checkpoint.unlink(missing_ok=True)


def _draw_of(stage: Stage, pieces: tuple[str, ...]) -> Draw:
    def draw(rng: random.Random, progress: float) -> Document:
        _, share, of_tokens = [each for each in stage.oddities if each[0] <= progress][-1]
        oddity = Oddity(share=share, pieces=pieces if of_tokens else ())
        return base_document(rng, oddity=oddity, strange=stage.strange, hard=stage.hard)

    return draw
