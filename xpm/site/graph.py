"""The graph of what an expert requires, drawn here: columns by distance, plain SVG without scripts or styles."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup, escape

from xpm.site.catalogue import Catalogue

_MAX_NODES = 24
_MAX_DEPTH = 4
_WIDTH, _HEIGHT, _GAP_X, _GAP_Y, _PAD = 190, 30, 50, 12, 4
_MAX_CHARS = 24


@dataclass(frozen=True, slots=True)
class Graph:
    """``columns`` hold names by distance from the first; ``edges`` lead from a name to one that it requires."""

    columns: tuple[tuple[str, ...], ...]
    edges: tuple[tuple[str, str], ...]

    def to_dict(self) -> dict[str, Any]:
        return {"columns": [list(each) for each in self.columns], "edges": [list(each) for each in self.edges]}


def graph_of(catalogue: Catalogue, name: str) -> Graph:
    """What a package requires, and what that requires; of large graphs what is nearest."""
    columns: list[tuple[str, ...]] = [(name,)]
    seen, edges = {name}, []
    while columns[-1] and len(columns) < _MAX_DEPTH:
        new: dict[str, None] = {}
        for each in columns[-1]:
            known = catalogue.packages.get(each)
            for wanted in known.requires if known else ():
                found = catalogue.find(wanted)
                needed = found.name if found else wanted
                if needed not in seen and len(seen) < _MAX_NODES:
                    seen.add(needed)
                    new[needed] = None
                if needed in seen:
                    edges.append((each, needed))
        columns.append(tuple(new))
    return Graph(tuple(each for each in columns if each), tuple(dict.fromkeys(edges)))


def to_svg(columns: Sequence[Sequence[str]], edges: Sequence[Sequence[str]]) -> Markup:
    """The picture of a graph's document; "" where there is nothing but the package itself."""
    if len(columns) < 2:
        return Markup("")
    place = {
        name: (_PAD + column * (_WIDTH + _GAP_X), _PAD + row * (_HEIGHT + _GAP_Y))
        for column, names in enumerate(columns)
        for row, name in enumerate(names)
    }
    width = 2 * _PAD + len(columns) * (_WIDTH + _GAP_X) - _GAP_X
    height = 2 * _PAD + max(map(len, columns)) * (_HEIGHT + _GAP_Y) - _GAP_Y
    label = f"{columns[0][0]} requires " + ", ".join(name for column in columns[1:] for name in column)
    opening = Markup('<svg class="graph" role="img" aria-label="{0}" width="{1}" height="{2}" viewBox="0 0 {1} {2}">')
    parts = [opening.format(label, width, height)]
    for start, end in edges:
        (x1, y1), (x2, y2) = place[start], place[end]
        x1, y1, y2 = x1 + _WIDTH, y1 + _HEIGHT // 2, y2 + _HEIGHT // 2
        parts.append(Markup(f'<path d="M{x1} {y1}C{x1 + 25} {y1} {x2 - 25} {y2} {x2} {y2}"/>'))
    for name, (x, y) in place.items():
        shown = name if len(name) <= _MAX_CHARS else f"{name[: _MAX_CHARS - 1]}…"
        parts.append(
            Markup(f'<rect x="{x}" y="{y}" width="{_WIDTH}" height="{_HEIGHT}" rx="5"/><text x="{x + 8}" y="{y + 20}">')
            + escape(shown)
            + Markup("</text>")
        )
    return Markup("").join(parts) + Markup("</svg>")
