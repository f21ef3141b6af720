"""The figures of docs/reference/experts.md and the pages beside it, from what ``xpm
validate`` found in a work folder."""

import json
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from xpm_build.evaluation.findings import read_report
from xpm_build.evaluation.report import Block, percent, to_markdown

_CIRCLES = ("rows", "group", "phrasing")
EVERYDAY = "everyday.json"
_SHOWN_FAILURES, _SHOWN_REAL_FAILURES = 3, 5
_REAL_FIGURES = re.compile(r"(?<=<!-- a real base: begin -->\n\n).*?(?=\n\n<!-- a real base: end -->)", re.DOTALL)
_FIGURES = re.compile(r"(?<=<!-- the figures: begin -->\n\n).*?(?=\n\n<!-- the figures: end -->)", re.DOTALL)


def write_tables(work: Path, names: Sequence[str], page: Path) -> None:
    """Write the page's table of experts and circles anew, and a page per expert in the folder of the page's name."""
    reports = {name: read_report(work / name) for name in names}
    figures = to_markdown([("table", _figures(reports))]).strip()
    page.write_text(_FIGURES.sub(lambda match: figures, page.read_text(encoding="utf-8")), encoding="utf-8")
    beside = page.with_suffix("")
    beside.mkdir(exist_ok=True)
    for name, report in reports.items():
        families, failures = ("table", _families(report)), ("table", _failures(report))
        told = to_markdown([f"# {name}, family by family", families, "Some of what it got wrong:", failures])
        (beside / f"{name}.md").write_text(told, encoding="utf-8")


def write_real_tables(work: Path, names: Sequence[str], page: Path) -> None:
    """Write the page's table of experts for a real base anew, and a page of what each got wrong, of
    those judged in ``work``."""
    judged = {name: work / name for name in names if (work / name / EVERYDAY).is_file()}
    rows = [["expert", "everyday requests", "right", "parse", "base alone", "better by (95 % interval)", *_CIRCLES]]
    told: list[Block] = ["# What the experts for SmolLM2 get wrong"]
    for name, folder in judged.items():
        report = json.loads((folder / EVERYDAY).read_text(encoding="utf-8"))
        (found,) = report["circles"].values()
        shares = [percent(found["expert"][key]) for key in ("right", "parses")]
        low, high = found["over_base"]["interval"]
        gain = f"{percent(low)} to {percent(high)}"
        own = read_report(folder)["circles"]
        circles = [percent(own[each]["expert"]["right"]) if each in own else "" for each in _CIRCLES]
        rows.append([name, str(found["cases"]), *shares, percent(found["base"]["right"]), gain, *circles])
        kinds = Counter(_kind(each["reason"]) for each in report["failures"])
        listed = [["asked", "wanted", "got", "why"]]
        for each in report["failures"][:: max(1, len(report["failures"]) // _SHOWN_REAL_FAILURES)][
            :_SHOWN_REAL_FAILURES
        ]:
            listed.append([f"`{each[key]}`" for key in ("prompt", "wanted", "got")] + [each["reason"]])
        counted = [["kind", f"of the first {len(report['failures'])}"]]
        counted += [[kind, str(count)] for kind, count in kinds.most_common()]
        told += [f"## {name}", ("table", counted), "Some of them:", ("table", listed)]
    figures = to_markdown([("table", rows)]).strip()
    page.write_text(_REAL_FIGURES.sub(lambda match: figures, page.read_text(encoding="utf-8")), encoding="utf-8")
    page.with_suffix("").joinpath("smollm2.md").write_text(to_markdown(told), encoding="utf-8")


def _kind(reason: str) -> str:
    """Why an answer is wrong, without what was asked in it."""
    if re.match(r"\w+\(", reason):
        return "another result"
    return "another name" if reason.startswith("does not define") else reason.partition(":")[0]


def _figures(reports: dict[str, dict[str, Any]]) -> list[list[str]]:
    rows = [["expert", "circle", "cases", "right", "parses", "exact text", "base alone", "better by (95 % interval)"]]
    for name, report in reports.items():
        for circle, found in report["circles"].items():
            low, high = found["over_base"]["interval"]
            shares = (percent(found["expert"][key]) for key in ("right", "parses", "exact"))
            base, gain = percent(found["base"]["right"]), f"{percent(low)} to {percent(high)}"
            rows.append([name, circle, str(found["cases"]), *shares, base, gain])
    return rows


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
