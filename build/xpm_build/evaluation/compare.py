"""``xpm compare``: two validated experts beside each other, case by case where they were judged on the same cases."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from xpm_build.errors import EvaluationError
from xpm_build.evaluation.findings import ANSWERS, read_report
from xpm_build.evaluation.metrics import compare
from xpm_build.evaluation.report import Block, comparison_blocks, draw_shares, to_html, to_markdown
from xpm_build.rows import read_rows


def compare_experts(first: Path, second: Path) -> tuple[dict[str, Any], list[Block]]:
    """The comparison as a document, and as blocks of a report.

    Args:
        first, second: folders of experts that were validated.
    Raises:
        EvaluationError: one of them was not.
    """
    documents = read_report(first), read_report(second)
    answers = _right(first), _right(second)
    metrics = [each.get("metric", "") for each in documents]
    pairs: dict[str, Any] = {}
    for name, circle in documents[0]["circles"].items():
        other = documents[1]["circles"].get(name)
        is_same = other and other["digest"] == circle["digest"] and metrics[0] == metrics[1]
        if is_same and all(name in each for each in answers):
            pairs[name] = compare(answers[0][name], answers[1][name]).to_dict()
    names = [f"{each['name']} {each['version']}" for each in documents]
    if names[0] == names[1]:  # two ways of training the same expert
        names = [f"{name} ({folder.resolve().name})" for name, folder in zip(names, (first, second), strict=True)]
    for key in ("variant", "base"):
        stated = [str(each.get(key, "not stated")).removeprefix("sha256:")[:12] for each in documents]
        if stated[0] != stated[1]:
            names = [f"{name}, {key} {value}" for name, value in zip(names, stated, strict=True)]
    document = {
        "experts": names,
        "metrics": metrics,
        "circles": {
            name: {"right": [each["circles"][name]["expert"]["right"] for each in documents], "paired": pairs.get(name)}
            for name in documents[0]["circles"]
            if name in documents[1]["circles"]
        },
    }
    return document, comparison_blocks(documents[0], documents[1], pairs, names)


def write_comparison(document: Mapping[str, Any], blocks: Sequence[Block], out: Path) -> None:
    """The comparison as Markdown or, if ``out`` ends in .html, as HTML; its picture beside it as .png.

    Raises:
        EvaluationError: ``out`` has another ending.
    """
    if out.suffix not in (".md", ".html"):
        raise EvaluationError(f"{out} is neither .md nor .html", hint="a comparison is written as Markdown or HTML")
    picture = out.with_suffix(".png")
    shares = {
        name: {circle: found["right"][number] for circle, found in document["circles"].items()}
        for number, name in enumerate(document["experts"])
    }
    if len(shares) == 2 and document["circles"]:
        draw_shares(shares, picture)
    shown = picture.name if picture.is_file() else ""
    if out.suffix == ".html":
        text = to_html(" and ".join(document["experts"]), blocks, picture=shown)
    else:
        text = to_markdown(blocks, picture=shown)
    out.write_text(text, encoding="utf-8")


def _right(folder: Path) -> Mapping[str, list[bool]]:
    file = folder / ANSWERS
    answers: dict[str, list[bool]] = {}
    if file.is_file():
        for row in read_rows(file):
            answers.setdefault(row["circle"], []).append(bool(row["right"]))
    return answers
