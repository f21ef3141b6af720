"""``xpm compare``: two validated experts beside each other, case by case where they were judged on the same cases."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from xpm_build.dataset.rows import read_rows
from xpm_build.evaluation.metrics import compare
from xpm_build.evaluation.report import Block, comparison_blocks
from xpm_build.evaluation.validate import ANSWERS, read_report


def compare_experts(first: Path, second: Path) -> tuple[dict[str, Any], list[Block]]:
    """The comparison as a document, and as blocks of a report.

    Args:
        first, second: folders of experts that were validated.
    Raises:
        EvaluationError: one of them was not.
    """
    documents = read_report(first), read_report(second)
    answers = _right(first), _right(second)
    pairs: dict[str, Any] = {}
    for name, circle in documents[0]["circles"].items():
        other = documents[1]["circles"].get(name)
        if other and other["digest"] == circle["digest"] and all(name in each for each in answers):
            pairs[name] = compare(answers[0][name], answers[1][name]).to_dict()
    document = {
        "experts": [f"{each['name']} {each['version']}" for each in documents],
        "circles": {
            name: {
                "right": [each["circles"][name]["expert"]["right"] for each in documents], "paired": pairs.get(name),
            }
            for name in documents[0]["circles"]
            if name in documents[1]["circles"]
        },
    }  # fmt: skip
    return document, comparison_blocks(documents[0], documents[1], pairs)


def _right(folder: Path) -> Mapping[str, list[bool]]:
    file = folder / ANSWERS
    answers: dict[str, list[bool]] = {}
    if file.is_file():
        for row in read_rows(file):
            answers.setdefault(row["circle"], []).append(bool(row["right"]))
    return answers
