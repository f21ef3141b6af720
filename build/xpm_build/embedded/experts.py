"""The embedded experts: what each is trained on, with which kind of adapter, and its training through PEFT."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM

from xpm_build.embedded.corpus import chat_document
from xpm_build.embedded.evaluation import executes_alike, same_json
from xpm_build.embedded.examples import Example, Oddity, draw
from xpm_build.embedded.json_tasks import make_json
from xpm_build.embedded.sql_tasks import make_sql
from xpm_build.embedded.tokenizer import alphabetic_tokens
from xpm_build.embedded.training import TrainingPlan, train
from xpm_build.embedded.words import Vocabulary

ODD_SHARE = 0.4
_ALL_LINEARS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How one expert is made and judged.

    ``is_right(example, answer)`` is the task's own judgement, by execution where the task allows it.
    """

    name: str
    make: Callable[[Vocabulary], Example]
    is_right: Callable[[Example, str], bool]
    metric: str
    use_dora: bool
    rank: int
    plan: TrainingPlan


RECIPES = {
    recipe.name: recipe
    for recipe in (
        Recipe(
            name="expert-sql",
            make=make_sql,
            is_right=executes_alike,
            metric="execution accuracy",
            use_dora=True,
            rank=16,
            plan=TrainingPlan(steps=700, learning_rate=2e-3, batch_tokens=3072, seed=11),
        ),
        Recipe(
            name="expert-json",
            make=make_json,
            is_right=same_json,
            metric="exact JSON equality",
            use_dora=False,
            rank=16,
            plan=TrainingPlan(steps=700, learning_rate=2e-3, batch_tokens=3072, seed=12),
        ),
    )
}


def train_expert(recipe: Recipe, base: Path, folder: Path) -> float:
    """Train one adapter on the frozen base and save it to ``folder`` as PEFT saves it; return the final loss.

    Args:
        base: Hugging Face folder of the base.
        folder: where ``adapter_config.json`` and ``adapter_model.safetensors`` are written.
    """
    torch.manual_seed(recipe.plan.seed)
    model = get_peft_model(
        AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32),
        LoraConfig(
            r=recipe.rank,
            lora_alpha=2 * recipe.rank,
            target_modules=_ALL_LINEARS,
            use_dora=recipe.use_dora,
            task_type="CAUSAL_LM",
        ),
    )
    tokenizer = Tokenizer.from_file(str(base / "tokenizer.json"))
    oddity = Oddity(share=ODD_SHARE, pieces=alphabetic_tokens(tokenizer))
    loss = train(
        model, tokenizer, lambda rng: chat_document(draw(recipe.make, "train", rng, oddity=oddity)), recipe.plan
    )
    model.peft_config["default"].base_model_name_or_path = ""  # a path of the training machine helps nobody
    model.save_pretrained(folder)
    (folder / "README.md").unlink(missing_ok=True)  # PEFT's empty model card
    return loss
