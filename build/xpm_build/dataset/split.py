"""Parting a data set: training, validation, and one test set per circle, so that nothing leaks.

A field whose values are held out (``group``: the identifiers; ``phrasing``: the sentence frames) makes a circle of its own. Rows
with nothing held out are trained on, but for a share that becomes ``valid`` and the innermost circle, ``rows``. A row in
which several fields have held-out values belongs to the circle of the last of them.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from xpm_build.dataset.hold_out import values_of
from xpm_build.dataset.rows import Row, completion_of, context_of, write_rows
from xpm_build.dataset.settings import ROWS, Split
from xpm_build.errors import DatasetError

TRAIN, VALID = "train.jsonl", "valid.jsonl"


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitReport:
    """``counts`` maps each part to its rows; ``overlap`` maps each test part to prompts it shares with training; must be 0.

    ``dropped`` maps a reason to the rows that are in no part for it.
    """

    counts: dict[str, int]
    overlap: dict[str, int]
    dropped: dict[str, int]

    def to_dict(self) -> dict[str, object]:
        return {"counts": self.counts, "overlap": self.overlap, "dropped": self.dropped}


def circle_file(circle: str) -> str:
    return f"test-{circle}.jsonl"


def is_part(path: Path) -> bool:
    """Whether a split may write a file of that name."""
    return path.name in (TRAIN, VALID) or path.match(circle_file("*"))


def split_rows(rows: Iterable[Row], split: Split, folder: Path) -> SplitReport:
    """Write ``train.jsonl``, ``valid.jsonl`` and a ``test-<circle>.jsonl`` per circle to ``folder``.

    Each row's part depends on the row and the seed alone. A prompt that occurs twice is kept once.

    Raises:
        DatasetError: nothing is left to train on.
    """
    parts: dict[str, dict[str, Row]] = {TRAIN: {}, VALID: {}, circle_file(ROWS): {}}
    for name in split.hold_out.shares:
        parts[circle_file(name)] = {}
    dropped = 0
    for row in rows:
        key = _normal(context_of(row) or completion_of(row))
        part = _part(row, key, split)
        if any(key in each for each in parts.values()):
            dropped += 1
            continue
        parts[part][key] = row
    if not parts[TRAIN]:
        raise DatasetError(
            "nothing is left to train on", context=json.dumps({name: len(each) for name, each in parts.items()}),
            hint="make more rows, or hold less back in training.dataset.split",
        )  # fmt: skip
    for name, chosen in parts.items():
        write_rows(folder / name, chosen.values())
    train = set(parts[TRAIN])
    return SplitReport(
        counts={name: len(each) for name, each in parts.items()},
        overlap={name: len(train & set(each)) for name, each in parts.items() if name != TRAIN}
        | _values_shared(parts, split),
        dropped={"same prompt": dropped},
    )


def _part(row: Row, key: str, split: Split) -> str:
    held = split.hold_out.held_fields(row)
    if held:
        return circle_file([name for name in split.hold_out.shares if name in held][-1])
    digest = hashlib.sha256(f"{split.hold_out.seed}/row/{key}".encode()).digest()
    draw = int.from_bytes(digest[:8], "big") / 2**64
    return VALID if draw < split.valid else circle_file(ROWS) if draw < split.valid + split.test else TRAIN


def _values_shared(parts: dict[str, dict[str, Row]], split: Split) -> dict[str, int]:
    """For each circle, how many of the held-out values that it is about occur in training."""
    shared = {}
    for name in split.hold_out.shares:
        seen = {value for row in parts[TRAIN].values() for value in values_of(row, name)}
        tested = {value for row in parts[circle_file(name)].values() for value in values_of(row, name)}
        shared[f"{circle_file(name)}:{name}"] = sum(split.hold_out.holds(name, value) for value in seen & tested)
    return shared


def _normal(text: str) -> str:
    return " ".join(text.lower().split())


def families(rows: Iterable[Row]) -> Counter[str]:
    return Counter(str(row.get("family", "")) for row in rows)
