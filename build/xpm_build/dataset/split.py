"""Parting a data set: training, validation, and one test set per circle, so that nothing leaks.

A field whose values are held out (``group``: the identifiers; ``phrasing``: the sentence frames) makes a circle of its
own. Rows with nothing held out are trained on, but for a share of each family that becomes ``valid`` and the innermost
circle, ``rows``. A row in which several fields have held-out values belongs to the circle of the last of them.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from xpm_build.dataset.apportion import apportion
from xpm_build.dataset.hold_out import values_of
from xpm_build.dataset.settings import ROWS, Split
from xpm_build.errors import DatasetError
from xpm_build.rows import Row, completion_of, context_of, write_rows

TRAIN, VALID = "train.jsonl", "valid.jsonl"


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitReport:
    """``counts`` maps each part to its rows; ``overlap`` maps each test part to prompts it shares
    with training; must be 0.

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

    The parts are the same for the same rows in any order. A prompt that occurs twice is kept once.

    Raises:
        DatasetError: nothing is left to train on.
    """
    given = list(rows)
    parts = _parts(given, split)
    if not parts[TRAIN]:
        raise DatasetError(
            "nothing is left to train on",
            context=json.dumps({name: len(each) for name, each in parts.items()}),
            hint="make more rows, or hold less back in training.dataset.split",
        )
    for name, chosen in parts.items():
        write_rows(folder / name, chosen.values())
    train = set(parts[TRAIN])
    return SplitReport(
        counts={name: len(each) for name, each in parts.items()},
        overlap={name: len(train & set(each)) for name, each in parts.items() if name != TRAIN}
        | _values_shared(parts, split),
        dropped={"same prompt": len(given) - sum(map(len, parts.values()))},
    )


def part_sizes(rows: Iterable[Row], split: Split) -> dict[str, int]:
    """How many rows ``split_rows`` would put into each part; writes nothing."""
    return {name: len(each) for name, each in _parts(rows, split).items()}


def _parts(rows: Iterable[Row], split: Split) -> dict[str, dict[str, Row]]:
    """File name → rows by prompt, of each part."""
    unique: dict[str, Row] = {}
    for row in rows:
        unique.setdefault(_normal(context_of(row) or completion_of(row)), row)
    held_in = {key: split.hold_out.held_fields(row) for key, row in unique.items()}
    inner = _inner_parts({key: row for key, row in unique.items() if not held_in[key]}, split)
    parts: dict[str, dict[str, Row]] = {TRAIN: {}, VALID: {}, circle_file(ROWS): {}}
    for name in split.hold_out.shares:
        parts[circle_file(name)] = {}
    for key, row in unique.items():
        held = held_in[key]
        part = circle_file([name for name in split.hold_out.shares if name in held][-1]) if held else inner[key]
        parts[part][key] = row
    return parts


def _inner_parts(rows: Mapping[str, Row], split: Split) -> dict[str, str]:
    """Which part each row of which nothing is held out belongs to: of every family the same shares, chosen by hash."""
    families: dict[str, list[str]] = {}
    for key in sorted(rows, key=lambda key: hashlib.sha256(f"{split.hold_out.seed}/row/{key}".encode()).digest()):
        families.setdefault(str(rows[key].get("family", "")), []).append(key)
    parts = dict.fromkeys(rows, TRAIN)
    for part, share in ((VALID, split.valid), (circle_file(ROWS), split.test)):
        left = {family: len(keys) for family, keys in families.items()}
        for family, number in apportion(round(share * len(rows)), left).items():
            parts |= dict.fromkeys(families[family][:number], part)
            families[family] = families[family][number:]
    return parts


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
