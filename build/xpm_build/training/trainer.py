"""TRL's trainers with what they lack: batches of like length in an order that a resumed run repeats, judging by the
task itself, and distillation from a teacher."""

import contextlib
import random
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch.utils.data import Sampler
from transformers import TrainerCallback
from trl.trainer.dpo_trainer import DPOTrainer
from trl.trainer.sft_trainer import SFTTrainer

from xpm_build.training.settings import TrainingSettings

_IGNORED = -100  # the label of a token that is not learned
_MOST_LOGITS = 2**28  # 1 GB; more are worked out in parts, by TRL
_SILENCE_S = 10.0  # after so long something is told, whatever logging_steps is
Judge = Callable[[Any], float]
"""Judges a model (with its adapter) on the validation cases: the share that is right."""


class LengthGroupedSampler(Sampler[int]):
    """Indices in batches of like length, in random order: a pure function of seed and epoch."""

    def __init__(self, lengths: Sequence[int], batch_size: int, seed: int, *, is_grouped: bool) -> None:
        self._lengths, self._batch_size, self._seed, self._is_grouped = lengths, batch_size, seed, is_grouped
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        self._epoch = epoch

    def __len__(self) -> int:
        return len(self._lengths)

    def __iter__(self) -> Iterator[int]:
        rng = random.Random(f"{self._seed}/{self._epoch}")
        order = list(range(len(self._lengths)))
        rng.shuffle(order)
        if not self._is_grouped:
            return iter(order)
        span = 50 * self._batch_size
        batches = []
        for start in range(0, len(order), span):
            part = sorted(order[start : start + span], key=lambda index: -self._lengths[index])
            batches += [part[first : first + self._batch_size] for first in range(0, len(part), self._batch_size)]
        last = batches.pop() if len(batches[-1]) < self._batch_size else []  # a batch that is not full comes last
        rng.shuffle(batches)
        return iter([index for batch in [*batches, last] for index in batch])


class _TrainerMixin:
    """Mixed into TRL's trainers."""

    judge: Judge | None = None
    settings: TrainingSettings

    def _get_train_sampler(self, train_dataset: Any = None) -> Sampler[int]:
        dataset = self.train_dataset if train_dataset is None else train_dataset  # type: ignore[attr-defined]
        key = "input_ids" if "input_ids" in dataset.column_names else "prompt_ids"
        lengths = [len(ids) for ids in dataset[key]]
        return LengthGroupedSampler(
            lengths,
            self.settings.batch_size * self.settings.gradient_accumulation_steps,
            self.settings.seed,
            is_grouped=self.settings.group_by_length,
        )

    def evaluation_loop(self, *args: Any, **kwargs: Any) -> Any:
        output = super().evaluation_loop(*args, **kwargs)  # type: ignore[misc]
        if self.judge is not None:
            model = self.model  # type: ignore[attr-defined]
            was_training = model.training
            model.eval()
            output.metrics["eval_task"] = self.judge(model)
            model.train(was_training)
        return output


class SupervisedTrainer(_TrainerMixin, SFTTrainer):
    """On a processor TRL's loss works out the whole vocabulary at every token of a prompt; here only
    where an answer is learned."""

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        targets = inputs["labels"][:, 1:]
        learned = targets != _IGNORED
        num_logits = int(learned.sum()) * model.config.vocab_size
        if return_outputs or self.label_smoother or learned.is_cuda or not 0 < num_logits <= _MOST_LOGITS:
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        given = {key: value for key, value in inputs.items() if key != "labels"}
        with head_at(model, learned):
            logits = model(**given, use_cache=False).logits
        loss = torch.nn.functional.cross_entropy(logits.float(), targets[learned], reduction="sum")
        return loss / (learned.sum() if num_items_in_batch is None else num_items_in_batch)


@contextlib.contextmanager
def head_at(model: Any, wanted: torch.Tensor) -> Iterator[None]:
    """The model's head works only at some positions; ``logits`` are then [positions, vocabulary].

    Args:
        wanted: bool [rows, tokens - 1], of all but the last token of what is given to the model; before
            it may come virtual tokens.
    """

    def pick(module: Any, given: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor]:
        return (given[0][:, -wanted.shape[1] - 1 : -1][wanted],)

    handle = model.get_output_embeddings().register_forward_pre_hook(pick)
    try:
        yield
    finally:
        handle.remove()


class PreferenceTrainer(_TrainerMixin, DPOTrainer):
    pass


class DistillationTrainer(_TrainerMixin, SFTTrainer):
    """Learns from the data and from a teacher's distribution: ``(1 - w) * loss + w * T² * KL(teacher ‖ student)``."""

    teacher: Any = None

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        given = {key: value for key, value in inputs.items() if key != "labels"} | {"use_cache": False}
        outputs = model(**given)
        with torch.no_grad():
            wanted = self.teacher(**given).logits
        labels = inputs["labels"][:, 1:]
        counted = labels != _IGNORED
        logits = outputs.logits[:, :-1][counted].float()
        loss = torch.nn.functional.cross_entropy(logits, labels[counted], reduction="sum")
        temperature, weight = self.settings.distillation_temperature, self.settings.distillation_weight
        student = torch.log_softmax(logits / temperature, dim=-1)
        teacher = torch.log_softmax(wanted[:, :-1][counted].float() / temperature, dim=-1)
        divergence = torch.nn.functional.kl_div(student, teacher, reduction="sum", log_target=True)
        num_tokens = (
            num_items_in_batch if num_items_in_batch is not None else counted.sum()
        )  # of all that is accumulated
        mixed = ((1 - weight) * loss + weight * temperature**2 * divergence) / num_tokens
        return (mixed, outputs) if return_outputs else mixed


class EvaluateLastStepCallback(TrainerCallback):
    """The last step is evaluated too, whatever ``eval_steps`` is."""

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step >= state.max_steps and args.eval_strategy != "no":
            control.should_evaluate = True


class SaveByTimeCallback(TrainerCallback):
    """A checkpoint whenever so many seconds have passed without one, so that a long step count loses no more than that.

    What is trained does not depend on it: the best checkpoint is chosen among those that were judged.
    """

    def __init__(self, period_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._period_s, self._clock = period_s, clock
        self._saved = clock()

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._saved = self._clock()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self._clock() - self._saved >= self._period_s:
            control.should_save = True

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._saved = self._clock()


class ProgressCallback(TrainerCallback):
    """Tells of the training as it goes on: step, loss, learning rate, tokens a second, time left, and
    what the task's judge says.

    The first line comes before the first step; between the logged steps one comes whenever
    nothing was told for a while.
    """

    def __init__(self, report: Callable[[str], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._report, self._clock = report, clock
        self._started, self._first = clock(), 0
        self._last_log = self._started
        self._num_tokens = self._loss = 0.0

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._started, self._first = self._clock(), state.global_step
        self._num_tokens = state.num_input_tokens_seen
        rows = args.per_device_train_batch_size * args.gradient_accumulation_steps
        self._log(state, [f"{state.max_steps - self._first:,} steps of {rows} rows to go"])

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self._clock() - self._last_log >= _SILENCE_S:
            self._log(state, [f"loss {self._loss:.4f}"] if self._loss else [])

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        if not logs or ("loss" not in logs and "eval_loss" not in logs):
            return
        self._loss = float(logs.get("loss", self._loss))
        names = {
            "loss": "loss {:.4f}",
            "learning_rate": "lr {:.1e}",
            "eval_loss": "validation loss {:.4f}",
            "eval_task": "right {:.1%}",
        }
        self._log(state, [form.format(logs[name]) for name, form in names.items() if name in logs])

    def _log(self, state: Any, figures: list[str]) -> None:
        self._last_log = self._clock()
        elapsed, done = self._last_log - self._started, state.global_step - self._first
        parts = [f"step {state.global_step}/{state.max_steps}", *figures]
        if tokens := state.num_input_tokens_seen - self._num_tokens:
            parts.append(f"{tokens / max(elapsed, 1e-3):,.0f} tokens/s")
        if done:
            parts.append(f"{elapsed / done * (state.max_steps - state.global_step):.0f} s left")
        self._report("  ".join(parts))
