"""How good a model is at the task itself while it is trained: its answers to validation
cases, judged by running them."""

from collections.abc import Callable
from typing import Any

from xpm_build.evaluation.answers import sampling_of
from xpm_build.judges import judge_of
from xpm_build.judges.judging import require_judgeable
from xpm_build.judges.languages import language_of
from xpm_build.judges.sandbox import isolation
from xpm_build.prompts import conversation, render
from xpm_build.training.compiled import as_written
from xpm_build.training.data import Material
from xpm_build.training.settings import TrainingSettings
from xpm_index.manifest import Manifest
from xpm_runtime import SamplingParams


def task_metric(
    settings: TrainingSettings, material: Material, tokenizer: Any, end: str, manifest: Manifest, language: str
) -> Callable[[Any], float] | None:
    """The share of the first validation cases that a model gets right, greedily and as its language's judge sees it.

    Raises:
        EvaluationError: ``decoding`` makes no sense, or a row cannot be judged. SandboxError:
            answers cannot be run here.
    """
    if settings.metric == "loss" or not language or not material.valid:
        return None
    if language_of(language).is_executed:
        isolation()  # rather now than after the first hundred steps
    cases = sorted(material.valid[: settings.eval_cases], key=lambda row: len(str(row.get("prompt", ""))))
    prompts = [render(tokenizer, conversation(row)) for row in cases]
    sampling = sampling_of(manifest)
    end_id = tokenizer.convert_tokens_to_ids(end)
    judge = judge_of(language)
    require_judgeable(language, cases)

    def share(model: Any) -> float:
        answers = []
        for start in range(0, len(prompts), settings.eval_batch_size):
            answers += _answers(model, tokenizer, prompts[start : start + settings.eval_batch_size], sampling, end_id)
        verdicts = judge(cases, answers)
        return sum(verdict.right for verdict in verdicts) / len(verdicts)

    return share


def _answers(model: Any, tokenizer: Any, prompts: list[str], sampling: SamplingParams, end_id: int) -> list[str]:
    import torch

    side, tokenizer.padding_side = tokenizer.padding_side, "left"
    batch = tokenizer(prompts, return_tensors="pt", padding=True, add_special_tokens=False).to(model.device)
    tokenizer.padding_side = side
    batch.pop("token_type_ids", None)
    with torch.inference_mode(), as_written():
        out = model.generate(
            **batch,
            max_new_tokens=sampling.max_tokens,
            repetition_penalty=sampling.repetition_penalty,
            do_sample=False,
            eos_token_id=end_id,
            pad_token_id=tokenizer.pad_token_id,
            use_cache=True,
        )
    written = out[:, batch["input_ids"].shape[1] :] if out.shape[1] > batch["input_ids"].shape[1] else out
    texts = tokenizer.batch_decode(written, skip_special_tokens=True)
    return [min((str(text).split(stop)[0] for stop in sampling.stop), key=len, default=str(text)) for text in texts]
