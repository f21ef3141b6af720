"""The routing head of an expert's folder, from the data that it is trained on."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from xpm_build.dataset.settings import dataset_settings
from xpm_build.dataset.split import TRAIN
from xpm_build.routing.heads import LEAST_POSITIVES, TrainedHead, embedded, train_head
from xpm_build.rows import prompt_of, read_sound_rows
from xpm_index.manifest import Manifest
from xpm_runtime.embedder import Embedder
from xpm_runtime.router.route import Encoder
from xpm_runtime.router.vectors import own_vectors

_MAX_ROWS = 20_000


def head_of_folder(
    folder: Path, manifest: Manifest, *, embedder: Path | None = None, report: Callable[[str], None]
) -> tuple[bytes, dict[str, Any]]:
    """(the head's file, what the manifest tells of it); (b"", {}) where the folder holds no prompts to learn from.

    Args:
        embedder: a folder that `xpm build embedder` wrote: the head gets weights for it beside those for the vectors of
            words that come with xpm.
    Raises:
        DatasetError: a row of the data is malformed; names the line.
    """
    prompts: list[str] = []
    groups: list[str] = []
    for path in _files(folder, manifest):
        for number, row in enumerate(read_sound_rows(path)):
            if number >= _MAX_ROWS:
                break
            if prompt := prompt_of(row):
                prompts.append(prompt)
                phrasing = row.get("phrasing")
                groups.append(str(phrasing) if phrasing else prompt)
    if len(set(prompts)) < LEAST_POSITIVES:
        report(
            "no routing head: there is no data set here to learn it from, so prompts find it by its manifest and README"
        )
        return b"", {}
    report(f"training the routing head on {len(set(prompts)):,} prompts")
    called = (*manifest.capabilities, *manifest.name.removeprefix("expert-").split("-"))
    trained = _trained(prompts, groups, called, own_vectors())
    head = trained.head
    if embedder is not None:
        trained = _trained(prompts, groups, called, Embedder.for_routing(embedder))
        head = replace(head, embedded=trained.head)
    facts = {
        "prompts": trained.num_positives,
        "others": trained.num_negatives,
        "accuracy": round(trained.accuracy, 3),
        "calibration_error": round(trained.calibration_error, 3),
    }
    report(
        f"routing head: right on {trained.accuracy:.1%} of phrasings that were left out,"
        f" calibration error {trained.calibration_error:.3f}"
    )
    return head.to_bytes(), facts


def _trained(prompts: Sequence[str], groups: Sequence[str], called: Sequence[str], encoder: Encoder) -> TrainedHead:
    return train_head(prompts, called=called, groups=groups, embed=partial(embedded, encoder), embedder=encoder.digest)


def _files(folder: Path, manifest: Manifest) -> list[Path]:
    settings = dataset_settings(manifest.raw)
    found = [folder / task.train for task in settings.tasks] or [(folder / settings.path).parent / TRAIN]
    return [path for path in found if path.is_file()]
