"""What a training came to: its figures as JSON, its curve as a picture."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from xpm_build.training.settings import TrainingSettings

TRAINING = Path("training")
REPORT = TRAINING / "report.json"
CURVE = TRAINING / "curve.png"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingReport:
    """``score`` is what the best checkpoint reached: the share of validation cases that is right, or the loss.

    ``kept_step`` is the step of the adapter in the folder: the best, unless the manifest names another.
    """

    steps: int
    best_step: int
    kept_step: int
    metric: str
    score: float
    final_loss: float
    trainable_parameters: int
    elapsed_s: float
    resumed_from: int

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def result_of(trainer: Any, chosen: Path, trainable: int, elapsed_s: float, checkpoint: Path | None) -> TrainingReport:
    state = trainer.state
    losses = [entry["loss"] for entry in state.log_history if "loss" in entry]
    best = state.best_metric
    metric = (trainer.args.metric_for_best_model or "loss").removeprefix("eval_") if best is not None else "loss"
    step = state.best_global_step if best is not None else state.global_step
    return TrainingReport(
        steps=state.global_step,
        best_step=step or state.global_step,
        kept_step=step_of(chosen),
        metric=metric,
        score=float(best) if best is not None else losses[-1],
        final_loss=losses[-1],
        trainable_parameters=trainable,
        elapsed_s=round(elapsed_s, 1),
        resumed_from=step_of(checkpoint) if checkpoint else 0,
    )


def step_of(checkpoint: Path) -> int:
    """The step of ``checkpoint-N``."""
    return int(checkpoint.name.split("-")[1])


def write_report(folder: Path, result: TrainingReport, settings: TrainingSettings, trainer: Any) -> None:
    import torch

    document = {
        **result.to_dict(),
        "settings": asdict(settings),
        "threads": torch.get_num_threads(),
        "autocast": "bfloat16" if trainer.args.bf16 else "none",
        "history": [
            {key: round(float(value), 6) for key, value in entry.items() if key in _SHOWN}
            for entry in trainer.state.log_history
        ],
    }
    (folder / REPORT).write_text(json.dumps(document, indent=2) + "\n")
    _draw_curve(document["history"], folder / CURVE)


_SHOWN = ("step", "epoch", "loss", "eval_loss", "eval_task", "learning_rate", "grad_norm")


def _draw_curve(history: list[dict[str, float]], path: Path) -> None:
    """A PNG: loss of training and validation over the steps, and the task's own figure beside it."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4), layout="constrained")
    left = figure.subplots()
    right = left.twinx()
    for axis, name, label in (
        (left, "loss", "training loss"),
        (left, "eval_loss", "validation loss"),
        (right, "eval_task", "right"),
    ):
        points = [(entry["step"], entry[name]) for entry in history if name in entry]
        if points:
            style: dict[str, Any] = {"color": "tab:green", "marker": "o"} if axis is right else {}
            axis.plot(*zip(*points, strict=True), label=label, **style)
    left.set_xlabel("step")
    left.set_ylabel("loss")
    right.set_ylabel("share right")
    right.set_ylim(0, 1)
    left.legend(loc="upper right")
    figure.savefig(path, dpi=110)
