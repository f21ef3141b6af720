"""From a data set's files to the texts that TRL trains on."""

import hashlib
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xpm_build.dataset.settings import DatasetSettings
from xpm_build.dataset.split import TRAIN, VALID
from xpm_build.errors import TrainingError
from xpm_build.prompts import conversation, render
from xpm_build.rows import Row, in_turn, is_chat, read_sound_rows


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """``digest`` names the rows and their order."""

    train: tuple[Row, ...]
    valid: tuple[Row, ...]
    digest: str


def read_material(folder: Path, settings: DatasetSettings, *, seed: int) -> Material:
    """The rows of an expert's folder: ``data/train.jsonl`` and ``data/valid.jsonl``, or those of
    its tasks, mixed by weight.

    Raises:
        TrainingError: a file is missing or empty. DatasetError: a row has nothing to learn from; names the line.
    """
    if settings.tasks:
        least = min(task.weight for task in settings.tasks)
        if least <= 0:
            raise TrainingError("training.dataset.tasks: a weight must be more than 0")
        train: list[Row] = []
        for task in settings.tasks:
            rows = list(_rows(folder / task.train))
            times = task.weight / least
            train += rows * int(times) + rows[: round(len(rows) * (times - int(times)))]
        random.Random(seed).shuffle(train)
        valid = in_turn(_rows(folder / task.valid) for task in settings.tasks if task.valid)
    else:
        data = (folder / settings.path).parent
        train, valid = list(_rows(data / TRAIN)), list(_rows(data / VALID))
    if not train:
        raise TrainingError(
            "there is nothing to train on", hint="make data with `xpm dataset generate` and `xpm dataset split`"
        )
    digest = hashlib.sha256(repr([sorted(row.items()) for row in (*train, *valid)]).encode()).hexdigest()
    return Material(train=tuple(train), valid=tuple(valid), digest=digest)


def _rows(path: Path) -> list[Row]:
    if not path.is_file():
        raise TrainingError(
            f"{path} does not exist", hint="make it with `xpm dataset generate` and `xpm dataset split`"
        )
    return list(read_sound_rows(path))


def texts(rows: Sequence[Row], tokenizer: Any, end: str, *, method: str) -> list[dict[str, str]]:
    """What TRL reads: prompt and completion, or prompt, chosen and rejected, or text.

    Args:
        end: what every answer ends with.
    """
    result = []
    for row in rows:
        if method == "dpo":
            if not {"prompt", "chosen", "rejected"} <= row.keys():
                raise TrainingError(
                    "dpo needs rows with prompt, chosen and rejected", context=f"a row has {', '.join(row)}"
                )
            prompt = render(tokenizer, conversation(row))
            result.append({"prompt": prompt, "chosen": row["chosen"] + end, "rejected": row["rejected"] + end})
        elif "text" in row and "prompt" not in row and not is_chat(row):
            result.append({"prompt": "", "completion": row["text"] + end})
        elif "chosen" in row:
            raise TrainingError(
                f"{method} needs rows with a completion", context="a row has chosen and rejected", hint="use method dpo"
            )
        else:
            answer = row["messages"][-1]["content"] if is_chat(row) else row["completion"]
            result.append({"prompt": render(tokenizer, conversation(row)), "completion": answer + end})
    return result
