"""``xpm federate``: an expert's adapter made by federated averaging, as its manifest says, simulated on this machine.

1. The training rows are spread over clients (``shares``); a client's rows are read by that client alone.
2. In each round Flower's server hands the adapter to every client, each trains it for some steps, and the server
   averages what comes back, clipped and noised first if differential privacy is asked for.
3. The last average is put into the expert's folder, where `xpm validate` judges it like any other.

What is averaged are LoRA's factors, each by itself: mean(B) · mean(A), which is not mean(B · A). With ``freeze_a``
clients train B alone, and it is: all share the A that was drawn (FFA-LoRA; Sun et al., 2024).
"""

import json
import math
import random
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from xpm_build.adapter.together import encoded
from xpm_build.dataset.settings import dataset_settings
from xpm_build.errors import TrainingError
from xpm_build.federated.options import DELTA, FederatedOptions, epsilon_of, require_sense
from xpm_build.federated.shares import spread
from xpm_build.prompts import end_of_turn, load_tokenizer
from xpm_build.training.adapter import with_adapter
from xpm_build.training.data import read_material, texts
from xpm_build.training.report import TRAINING
from xpm_build.training.run import write_adapter
from xpm_build.training.settings import TrainingSettings, training_settings
from xpm_index.archive import MANIFEST
from xpm_index.manifest import Manifest

REPORT = TRAINING / "federated.json"
_JUDGED_ROWS = 64
_KINDS = ("lora", "rslora")
Report = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class FederatedReport:
    """``losses`` are on validation rows, before the first round and after each; ``rows`` and
    ``families`` are each client's number of rows and of kinds of rows; ``epsilon`` is what privacy costs
    at ``DELTA``, infinite without noise."""

    losses: tuple[float, ...]
    rows: tuple[int, ...]
    families: tuple[int, ...]
    epsilon: float
    elapsed_s: float

    def to_dict(self) -> dict[str, Any]:
        epsilon = round(self.epsilon, 3) if math.isfinite(self.epsilon) else None
        return {**asdict(self), "epsilon": epsilon, "delta": DELTA, "elapsed_s": round(self.elapsed_s, 1)}


def federate(
    folder: Path, base: Path, options: FederatedOptions, *, report: Report = lambda text: None
) -> FederatedReport:
    """Make the adapter of the expert in ``folder`` by federated averaging; writes it and ``training/federated.json``.

    Of ``training.config`` are read: adapter, rank, alpha, targets, learning_rate, batch_size, max_seq_length and seed.
    It begins anew each time, and nothing is kept of a run that was stopped.

    Args:
        base: the Hugging Face folder of the base.
    Raises:
        TrainingError: the manifest, the data or the options do not allow it.
    """
    started = time.monotonic()
    require_sense(options)
    manifest = Manifest.parse((folder / MANIFEST).read_bytes())
    settings = training_settings(manifest.raw)
    _require_averageable(settings)
    material = read_material(folder, dataset_settings(manifest.raw), seed=settings.seed)
    if not material.valid:
        raise TrainingError(
            "there are no validation rows to follow the rounds on", hint="hold some back: training.dataset.split.valid"
        )
    shares = spread(material.train, options.clients, concentration=options.concentration, seed=settings.seed)
    tokenizer = load_tokenizer(base)
    end = end_of_turn(base, tokenizer)

    def tokens(rows: Any) -> Any:
        return encoded(texts(rows, tokenizer, end, method="sft"), tokenizer, settings.max_seq_length)

    import transformers

    from xpm_build.federated.client import Learner
    from xpm_build.federated.server import rounds_of

    transformers.set_seed(settings.seed)  # the initial A, and the noise
    model = with_adapter(settings, base)
    if options.freeze_a:
        for name, parameter in model.named_parameters():
            if ".lora_A." in name:
                parameter.requires_grad_(False)
    learner = Learner(
        model,
        learning_rate=settings.learning_rate,
        batch_size=settings.batch_size,
        steps=options.steps,
        seed=settings.seed,
    )
    judged = tokens(random.Random(settings.seed).sample(material.valid, min(_JUDGED_ROWS, len(material.valid))))
    losses = rounds_of(learner, [tokens(each) for each in shares], judged, options, report=report)
    found = FederatedReport(
        losses=tuple(round(each, 4) for each in losses),
        rows=tuple(map(len, shares)),
        families=tuple(len({row.get("family") for row in each}) for each in shares),
        epsilon=epsilon_of(options.noise, options.rounds),
        elapsed_s=time.monotonic() - started,
    )
    (folder / TRAINING).mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder / TRAINING) as scratch:
        model.save_pretrained(scratch)
        write_adapter(folder, Path(scratch), settings.save_dtype)
    document = {"options": asdict(options), **found.to_dict()}
    (folder / REPORT).write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    return found


def _require_averageable(settings: TrainingSettings) -> None:
    if settings.adapter_type not in _KINDS or settings.method != "sft":
        raise TrainingError(
            f"{settings.adapter_type} with method {settings.method} is not trained in rounds",
            hint=f"set training.config.adapter_type to {' or '.join(_KINDS)}, and method to sft",
        )
