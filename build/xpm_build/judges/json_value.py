"""JSON: right if it parses to the wanted value, types included, whatever the order of keys."""

import json
from collections.abc import Sequence

from xpm_build.judges.verdict import Row, Verdict


def judge_json(rows: Sequence[Row], answers: Sequence[str]) -> list[Verdict]:
    return [_judge(row, answer) for row, answer in zip(rows, answers, strict=True)]


def _judge(row: Row, answer: str) -> Verdict:
    try:
        got = json.loads(answer)
    except (json.JSONDecodeError, RecursionError) as error:
        return Verdict(right=False, parses=False, reason=f"not JSON: {error}")
    right = _typed(got) == _typed(json.loads(row["completion"]))
    return Verdict(right=right, parses=True, reason="" if right else "another value")


def _typed(value: object) -> object:
    """A form in which ``1``, ``1.0`` and ``true`` differ."""
    if isinstance(value, dict):
        return {key: _typed(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_typed(each) for each in value]
    return type(value).__name__, value
