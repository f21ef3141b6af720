"""A matrix of conflicts for people: a table, and a heat map of the same figures."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from xpm_build.evaluation.report import Block, percent, to_html, to_markdown

_TITLE = "What experts lose beside each other"
_PICTURED = "points lost, by expert and by what acts beside it"
_WORST = 10.0  # points: where the colours end, unless something loses more
_NOTE = (
    "A cell is the difference, in points, between the share of right answers so and by the row's expert alone, over "
    "the same cases, with its 95 % interval by paired bootstrap; what is lost is below 0. Marked * is what the "
    "interval tells from 0; of twenty cells without a conflict one is marked by chance."
)


def conflict_blocks(document: Mapping[str, Any]) -> list[Block]:
    """The matrix as a table, in points, and a list of what each expert is judged by."""
    columns = _columns(document)
    table = [["expert", "cases", "alone", *columns]]
    for name, row in document["experts"].items():
        cells = [_cell(row.get(kind, {}).get(other)) for kind, other in columns.values()]
        table.append([name, str(row["cases"]), percent(row["alone"]), *cells])
    measures = [["expert", "right means"], *([name, row["metric"]] for name, row in document["experts"].items())]
    return [f"# {_TITLE}", ("table", table), _NOTE, ("table", measures)]


def write_conflicts(out: Path, document: Mapping[str, Any]) -> None:
    """``matrix.json``, ``matrix.md``, ``matrix.html`` and the heat map ``matrix.png`` in ``out``."""
    text = json.dumps(document, indent=2, ensure_ascii=False) + "\n"
    (out / "matrix.json").write_text(text, encoding="utf-8")
    picture, blocks = out / "matrix.png", conflict_blocks(document)
    draw_heat_map(document, picture)
    (out / "matrix.md").write_text(to_markdown(blocks, picture=picture.name, pictured=_PICTURED), encoding="utf-8")
    (out / "matrix.html").write_text(
        to_html(_TITLE, blocks, picture=picture.name, pictured=_PICTURED), encoding="utf-8"
    )


def draw_heat_map(document: Mapping[str, Any], path: Path) -> None:
    """Rows are experts, columns what acts beside or for them; red is lost, blue gained, as a PNG."""
    import numpy as np
    from matplotlib.figure import Figure

    rows, columns = list(document["experts"]), _columns(document)
    points = np.full((len(rows), len(columns)), np.nan)
    for i, name in enumerate(rows):
        for j, (kind, other) in enumerate(columns.values()):
            if (found := document["experts"][name].get(kind, {}).get(other)) is not None:
                points[i, j] = 100 * found["difference"]
    worst = max(_WORST, float(np.nanmax(np.abs(points))))
    figure = Figure(figsize=(1.6 + 0.85 * len(columns), 1.4 + 0.5 * len(rows)), layout="constrained")
    axis = figure.subplots()
    shown = axis.imshow(points, cmap="RdBu", vmin=-worst, vmax=worst, aspect="auto")
    axis.set_xticks(range(len(columns)), list(columns), rotation=30, ha="right")
    axis.set_yticks(range(len(rows)), rows)
    for i, j in np.argwhere(~np.isnan(points)):
        dark = abs(points[i, j]) > 0.6 * worst
        axis.text(j, i, f"{points[i, j]:+.1f}", ha="center", va="center", color="white" if dark else "black")
    figure.colorbar(shown, ax=axis, label="points")
    figure.savefig(path, dpi=110)


def _columns(document: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    """Heading -> (key, name) of what acts beside the experts, and of what was fused of them."""
    found: dict[str, tuple[str, str]] = {f"beside {name}": ("beside", name) for name in document["experts"]}
    for kind, heading in (("beside", "beside {}"), ("fused", "{} instead")):
        for row in document["experts"].values():
            found |= {heading.format(name): (kind, name) for name in row.get(kind, {})}
    return found


def _cell(found: Mapping[str, Any] | None) -> str:
    if found is None:
        return ""
    low, high = found["interval"]
    sign = " *" if low > 0 or high < 0 else ""
    return f"{100 * found['difference']:+.1f} [{100 * low:+.1f}, {100 * high:+.1f}]{sign}"
