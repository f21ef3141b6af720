"""Validation for people: the same figures as Markdown, as HTML and as a picture."""

import html
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

_PICTURED = "share of right answers by circle"


def write_reports(folder: Path, document: Mapping[str, Any]) -> None:
    """``report.md``, ``report.html`` and ``report.png`` in ``folder``."""
    blocks, picture = blocks_of(document), folder / "report.png"
    draw(document, picture)
    (folder / "report.md").write_text(to_markdown(blocks, picture=picture.name), encoding="utf-8")
    (folder / "report.html").write_text(to_html(document["name"], blocks, picture=picture.name), encoding="utf-8")


Block = str | tuple[str, list[list[str]]]
"""A heading (``# …``, ``## …``), a paragraph, or a table: ("table", rows with the header first)."""


def blocks_of(document: Mapping[str, Any]) -> list[Block]:
    """The report's parts, in order."""
    blocks: list[Block] = [f"# {document['name']} {document['version']}", f"Judged by {document['metric']}."]
    rows = [
        [
            "circle",
            "cases",
            "expert",
            "base alone",
            "better than the base by",
            "wins/losses",
            "parses",
            "exact",
            "normalised exact",
            "F1",
            "BLEU",
        ]
    ]
    for name, circle in document["circles"].items():
        expert, over = circle["expert"], circle["over_base"]
        low, high = over["interval"]
        rows.append(
            [
                name,
                str(circle["cases"]),
                percent(expert["right"]),
                percent(circle["base"]["right"]),
                f"{percent(over['difference'])} [{percent(low)}, {percent(high)}]",
                f"{over['wins']}/{over['losses']}",
                percent(expert["parses"]),
                percent(expert["exact"]),
                percent(expert["normalised_exact"]),
                percent(expert["f1"]),
                f"{expert['bleu']:.1f}",
            ]
        )
    blocks.append(("table", rows))
    blocks.append(
        "Wins and losses are the cases that the expert alone, and the base alone, gets right; the interval is the 95 % "
        "bootstrap interval of the difference, case by case."
    )
    blocks += _families(document)
    blocks += _comparisons(document)
    if document["limitations"]:
        blocks += ["## Limitations (drafted from the failures)", *(f"- {each}" for each in document["limitations"])]
    if document["failures"]:
        blocks.append("## Failures")
        listed = [["circle", "family", "prompt", "wanted", "got", "why"]]
        listed += [
            [each[key] for key in ("circle", "family", "prompt", "wanted", "got", "reason")]
            for each in document["failures"]
        ]
        blocks.append(("table", listed))
    return blocks


def _families(document: Mapping[str, Any]) -> list[Block]:
    circles = document["circles"]
    families = sorted({family for circle in circles.values() for family in circle["by_family"]})
    if families in ([], ["all"]):
        return []
    rows = [["family", *circles]]
    for family in families:
        cells = []
        for circle in circles.values():
            right, asked = circle["by_family"].get(family, (0, 0))
            cells.append(f"{right}/{asked}" if asked else "")
        rows.append([family, *cells])
    return ["## By family", ("table", rows)]


def _comparisons(document: Mapping[str, Any]) -> list[Block]:
    rows = [["circle", "beside", "right", "difference", "interval", "wins", "losses"]]
    for name, circle in document["circles"].items():
        pairs = [("an earlier version", circle["against"], circle["over_against"])] if "against" in circle else []
        pairs += [
            (f"with {other}", each["figures"], each["over_alone"])
            for other, each in circle.get("compositions", {}).items()
        ]
        for beside, found, over in pairs:
            low, high = over["interval"]
            rows.append(
                [
                    name,
                    beside,
                    percent(found["right"]),
                    percent(over["difference"]),
                    f"[{percent(low)}, {percent(high)}]",
                    str(over["wins"]),
                    str(over["losses"]),
                ]
            )
    return ["## Beside others", ("table", rows)] if len(rows) > 1 else []


def comparison_blocks(
    first: Mapping[str, Any], second: Mapping[str, Any], pairs: Mapping[str, Any], names: Sequence[str]
) -> list[Block]:
    """Two experts beside each other under their ``names``; ``pairs`` maps circles of equal cases to comparisons.

    What was judged by different measures is shown, but not compared.
    """
    metrics = [each.get("metric", "") for each in (first, second)]
    rows = [["circle", *names, "difference", "interval"]]
    for name in [each for each in first["circles"] if each in second["circles"]]:
        shares = [each["circles"][name]["expert"]["right"] for each in (first, second)]
        over = pairs.get(name)
        difference = percent(shares[0] - shares[1])
        interval = f"[{percent(over['interval'][0])}, {percent(over['interval'][1])}]" if over else "other cases"
        if metrics[0] != metrics[1]:
            difference, interval = "", "another measure"
        rows.append([name, *map(percent, shares), difference, interval])
    blocks: list[Block] = [f"# {names[0]} and {names[1]}", ("table", rows)]
    if metrics[0] != metrics[1]:
        return [*blocks, f"Not compared: the first was judged by {metrics[0]}, the second by {metrics[1]}."]
    return [*blocks, *_family_differences(first, second, names)]


def _family_differences(first: Mapping[str, Any], second: Mapping[str, Any], names: Sequence[str]) -> list[Block]:
    rows = [["circle", "family", *names]]
    for circle in first["circles"]:
        families = [each["circles"].get(circle, {}).get("by_family", {}) for each in (first, second)]
        for family in sorted(set(families[0]) & set(families[1])):
            counts = [each[family] for each in families]
            if counts[0] != counts[1]:
                rows.append([circle, family, *(f"{right}/{asked}" for right, asked in counts)])
    return ["## Families that differ", ("table", rows)] if len(rows) > 1 else []


def to_markdown(blocks: Sequence[Block], *, picture: str = "", pictured: str = _PICTURED) -> str:
    parts = []
    for block in blocks:
        if isinstance(block, str):
            parts.append(block)
            continue
        header, *rows = block[1]
        lines = [_line(header), "|" + "---|" * len(header), *map(_line, rows)]
        parts.append("\n".join(lines))
    if picture:
        parts.append(f"![{pictured}]({picture})")
    return "\n\n".join(parts) + "\n"


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", "<br>") for cell in cells) + " |"


def to_html(title: str, blocks: Sequence[Block], *, picture: str = "", pictured: str = _PICTURED) -> str:
    parts = []
    for block in blocks:
        if isinstance(block, str):
            level = len(block) - len(block.lstrip("#"))
            text = html.escape(block.lstrip("# "))
            parts.append(f"<h{level}>{text}</h{level}>" if level else f"<p>{text}</p>")
            continue
        header, *rows = block[1]
        cells = "".join(f"<th>{html.escape(each)}</th>" for each in header)
        body = "".join(
            "<tr>" + "".join(f"<td><pre>{html.escape(each)}</pre></td>" for each in row) + "</tr>" for row in rows
        )
        parts.append(f"<table><tr>{cells}</tr>{body}</table>")
    image = f'<img src="{html.escape(picture)}" alt="{html.escape(pictured)}">' if picture else ""
    style = (
        "body{font:15px/1.5 system-ui;max-width:70rem;margin:2rem auto;padding:0 1rem}table{border-collapse:collapse}"
        "th,td{border:1px solid #ccc;padding:.2rem .6rem;text-align:left;vertical-align:top}"
        "pre{margin:0;white-space:pre-wrap}"
    )
    head = f'<meta charset="utf-8"><title>{html.escape(title)}</title><style>{style}</style>'
    return (
        f'<!doctype html>\n<html lang="en"><head>{head}</head><body>\n'
        + "\n".join([*parts, image])
        + "\n</body></html>\n"
    )


def draw(document: Mapping[str, Any], path: Path) -> None:
    """Bars: the share of right answers in each circle, of the expert and of the base alone."""
    circles = document["circles"]
    shares = {
        label: {name: circle[key]["right"] for name, circle in circles.items()}
        for key, label in (("expert", document["name"]), ("base", "the base alone"))
    }
    draw_shares(shares, path)


def draw_shares(shares: Mapping[str, Mapping[str, float]], path: Path) -> None:
    """Two groups of bars as a PNG: who -> circle -> share, 0 to 1; all have the same circles."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 3.5), layout="constrained")
    axis = figure.subplots()
    circles = list(next(iter(shares.values())))
    for offset, (label, by_circle) in enumerate(shares.items()):
        values = [100 * by_circle[name] for name in circles]
        axis.bar([number + 0.4 * offset for number in range(len(circles))], values, width=0.38, label=label)
    axis.set_xticks([number + 0.2 for number in range(len(circles))], circles)
    axis.set_ylabel("right, %")
    axis.set_ylim(0, 100)
    axis.legend()
    figure.savefig(path, dpi=110)


def percent(share: float) -> str:
    """A share of 0 to 1 as people read it."""
    return f"{100 * share:.1f} %"
