"""The tables of docs/experts.md, from what ``xpm validate`` found in a work folder."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from xpm_build.evaluation.findings import read_report
from xpm_build.evaluation.report import Block, percent, to_markdown

_SHOWN_FAILURES = 3


def tables(work: Path, names: Sequence[str]) -> str:
    """Markdown: one row per expert and circle, then per family, then some of the failures."""
    reports = {name: read_report(work / name) for name in names}
    rows = [["expert", "circle", "cases", "right", "parses", "exact text", "base alone", "better by (95 % interval)"]]
    for name, report in reports.items():
        for circle, found in report["circles"].items():
            low, high = found["over_base"]["interval"]
            rows.append(
                [
                    name,
                    circle,
                    str(found["cases"]),
                    *(percent(found["expert"][key]) for key in ("right", "parses", "exact")),
                    percent(found["base"]["right"]),
                    f"{percent(low)} to {percent(high)}",
                ]
            )
    blocks: list[Block] = [("table", rows)]
    for name, report in reports.items():
        blocks += [
            f"### {name}",
            ("table", _families(report)),
            "Some of what it got wrong:",
            ("table", _failures(report)),
        ]
    return to_markdown(blocks)


def _families(report: dict[str, Any]) -> list[list[str]]:
    circles = report["circles"]
    rows = [["family", *circles]]
    for family in sorted({family for found in circles.values() for family in found["by_family"]}):
        counts = [found["by_family"].get(family) for found in circles.values()]
        rows.append([family, *(f"{each[0]}/{each[1]}" if each else "" for each in counts)])
    return rows


def _failures(report: dict[str, Any]) -> list[list[str]]:
    chosen = [each for each in report["failures"] if each["circle"] == list(report["circles"])[-1]][:_SHOWN_FAILURES]
    return [["asked", "wanted", "got"], *([f"`{each[key]}`" for key in ("prompt", "wanted", "got")] for each in chosen)]
