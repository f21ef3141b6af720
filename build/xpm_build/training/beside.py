"""Training an expert beside frozen others, so that it bears with them when they act, and leaves
their answers as they are.

In each batch the expert's own rows are learned with some of the others acting, drawn anew; and on rows of one of the
others the answers with the expert are held to those without it. What is drawn is a pure function of the seed, the step
and the batch's number in it, so a run that goes on repeats it.
"""

import random
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from xpm_build.adapter.peft_files import ADAPTER_WEIGHTS
from xpm_build.adapter.together import Together, batch_of, encoded
from xpm_build.dataset.settings import dataset_settings
from xpm_build.dataset.split import TRAIN
from xpm_build.errors import TrainingError
from xpm_build.manifest_file import read_manifest
from xpm_build.rows import read_sound_rows
from xpm_build.training.data import texts
from xpm_build.training.settings import TrainingSettings
from xpm_build.training.trainer import SupervisedTrainer
from xpm_index.archive import MANIFEST
from xpm_index.digests import sha256_file

_MOST_ROWS = 2048  # of each other
Pair = tuple[torch.Tensor, torch.Tensor]
Tokens = Sequence[tuple[Sequence[int], Sequence[int]]]


@dataclass(slots=True)
class Others:
    """Frozen experts that can act on a base while another is trained on it.

    ``rows`` are the (prompt, answer) tokens of each; ``updates`` maps a linear's path to (number of an expert, (A
    (rank, in), B (out, rank))) of those on it; ``acting`` are the numbers of those that act now.
    """

    rows: Sequence[Tokens]
    updates: dict[str, list[tuple[int, Pair]]]
    acting: frozenset[int] = field(default=frozenset())

    @contextmanager
    def at_work(self, numbers: frozenset[int]) -> Iterator[None]:
        before, self.acting = self.acting, numbers
        try:
            yield
        finally:
            self.acting = before

    def hook(self, model: Any) -> None:
        """Let them act on a PEFT model: beside its own adapter, and known to nobody who saves or counts parameters."""
        for path, updates in self.updates.items():
            linear = model.base_model.model.get_submodule(path)
            linear = getattr(linear, "base_layer", linear)
            on_device = [(number, (a.to(model.device), b.to(model.device))) for number, (a, b) in updates]
            linear.register_forward_hook(self._adds(on_device))

    def _adds(self, updates: Sequence[tuple[int, Pair]]) -> Any:
        def add(module: Any, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> torch.Tensor:
            for number, (a, b) in updates:
                if number in self.acting:
                    output = output + ((inputs[0].to(a.dtype) @ a.T) @ b.T).to(output.dtype)
            return output

        return add


def read_others(folder: Path, settings: TrainingSettings, base: Path, tokenizer: Any, end: str) -> Others:
    """The experts that ``training.config.beside`` names, seen from the expert's ``folder``.

    Raises:
        TrainingError: one is no expert's folder, is named twice, or has no rows. BuildError: one is for another base,
            or no update of low rank alone.
    """
    folders = _folders(folder, settings)
    rows = [_rows(each, settings, tokenizer, end) for each in folders.values()]
    with tempfile.TemporaryDirectory(prefix="xpm-beside-") as scratch:
        return Others(rows, Together(base, folders, Path(scratch)).updates())


def digests_of(folder: Path, settings: TrainingSettings) -> list[str]:
    """Of the weights and rows of the experts beside: what a run depends on besides their paths."""
    found = []
    for each in _folders(folder, settings).values():
        files = [*sorted(each.rglob(ADAPTER_WEIGHTS)), _rows_file(each)]
        found += [sha256_file(file) for file in files if "checkpoints" not in file.parts and file.is_file()]
    return found


def _folders(folder: Path, settings: TrainingSettings) -> dict[str, Path]:
    folders = {path: folder / path for path in settings.beside}
    if len(folders) < len(settings.beside):
        raise TrainingError("training.config.beside names an expert twice", context=", ".join(settings.beside))
    for path, each in folders.items():
        if not (each / MANIFEST).is_file():
            raise TrainingError(
                f"training.config.beside: {path} is no expert's folder", context=f"{each / MANIFEST} does not exist"
            )
    return folders


def _rows_file(folder: Path) -> Path:
    return (folder / dataset_settings(read_manifest(folder).raw).path).with_name(TRAIN)


def _rows(folder: Path, settings: TrainingSettings, tokenizer: Any, end: str) -> Tokens:
    path = _rows_file(folder)
    if not path.is_file():
        raise TrainingError(
            f"training.config.beside: {folder.name} has no rows to keep its answers on",
            context=f"{path} does not exist",
            hint="name the folder that it was made in",
        )
    rows = list(read_sound_rows(path))
    random.Random(settings.seed).shuffle(rows)
    return encoded(texts(rows[:_MOST_ROWS], tokenizer, end, method="sft"), tokenizer, settings.max_seq_length)


class BesideTrainer(SupervisedTrainer):
    """The loss is that of the own rows, with some of the others acting, and ``beside_weight`` times
    what another's answers lose."""

    others: Others
    _place = (-1, 0)  # (step, number of the batch in it)

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        if not model.training:
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        step, (last, number) = self.state.global_step, self._place
        self._place = step, (number + 1 if step == last else 0)
        rng = random.Random(f"{self.settings.seed}/{'/'.join(map(str, self._place))}")
        held = rng.randrange(len(self.others.rows))
        drawn = frozenset(each for each in range(len(self.others.rows)) if rng.random() < 0.5)
        with self.others.at_work(drawn):
            found = super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        rows = rng.sample(self.others.rows[held], min(len(self.others.rows[held]), self.settings.batch_size))
        kept = self.settings.beside_weight * divergence(model, self.others, held, rows)
        if num_items_in_batch is not None:  # else the Trainer divides by the batches of a step
            kept = kept / self.current_gradient_accumulation_steps
        return (found[0] + kept, found[1]) if return_outputs else found + kept


def divergence(model: Any, others: Others, number: int, rows: Tokens) -> torch.Tensor:
    """KL(another's answers without the model's adapter ‖ with it) per answer token, a scalar; 0 if
    the adapter changes nothing."""
    batch = {key: each.to(model.device) for key, each in batch_of(rows).items()}
    counted = batch.pop("labels")[:, 1:] != -100

    def answers() -> torch.Tensor:
        return torch.log_softmax(model(**batch, use_cache=False).logits[:, :-1][counted].float(), dim=-1)

    with others.at_work(frozenset({number})):
        with torch.no_grad(), model.disable_adapter():
            wanted = answers()
        return torch.nn.functional.kl_div(answers(), wanted, reduction="batchmean", log_target=True)
