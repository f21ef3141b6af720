"""The picture of the house, drawn from the imports: packages as frames, rooms as boxes, an arrow for who imports whom.

A room is a folder of modules in a package. A package's other modules share a box where they lead,
at any remove, to the same
rooms: so no arrow turns back. Within a frame an arrow is left out where others say the same by a detour.
"""

import textwrap
from collections import defaultdict
from dataclasses import dataclass
from html import escape

import grimp

_WIDTH, _PAD, _GAP, _BETWEEN = 990, 12, 14, 22  # of all; from a frame to its boxes; between boxes, and between rows
_ROOM, _LEAST = 150, 90  # a room's width, and the least of another box
_LINE, _LETTER = 15, 7  # a line's height, a small letter's width
# package → (left edge, width) of its frame; they stand in this order, the last two below one another
_FRAMES = {"xpm": (10, 970), "xpm_build": (10, 470), "xpm_runtime": (530, 410), "xpm_index": (530, 410)}


@dataclass(frozen=True, slots=True)
class Box:
    """``key`` is the room's module, or the first of several; ``text`` is what stands in it."""

    key: str
    text: str
    is_room: bool


@dataclass(frozen=True, slots=True)
class Plan:
    """A package: its boxes in rows, importing ones first, and the arrows between them."""

    rows: tuple[tuple[Box, ...], ...]
    arrows: tuple[tuple[str, str], ...]


def picture() -> str:
    """The picture as SVG."""
    graph = grimp.build_graph(*_FRAMES, cache_dir=None)
    plans = {package: _plan(graph, package) for package in _FRAMES}
    height = {package: _height(package, plan) for package, plan in plans.items()}
    top = {"xpm": 10, "xpm_build": 10 + height["xpm"] + 50}
    top["xpm_runtime"] = top["xpm_build"]
    top["xpm_index"] = top["xpm_runtime"] + height["xpm_runtime"] + 40
    below = max(top[each] + height[each] for each in _FRAMES)
    height["xpm_build"] = below - top["xpm_build"]
    height["xpm_index"] = below - top["xpm_index"]
    drawn = [_frame(package, plans[package], top[package], height[package]) for package in _FRAMES]
    between = _arrows_between(graph, top, height)
    size = f'viewBox="0 0 {_WIDTH} {below + 10}" width="{_WIDTH}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="13">'
    return "\n".join([head, _STYLE, '<rect width="100%" height="100%" fill="#fff"/>', *drawn, *between, "</svg>\n"])


_STYLE = """<defs><marker id="tip" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="8" markerHeight="8"
 markerUnits="userSpaceOnUse" orient="auto">
<path d="M0 0L8 4L0 8z" fill="#555"/></marker></defs>
<style>.frame{fill:#f6f6f3;stroke:#999}.room{fill:#dce9f7;stroke:#5b7fa6}.loose{fill:#fff;stroke:#bbb}
.arrow{fill:none;stroke:#555;marker-end:url(#tip)}.far{stroke-width:2.5}.name{font-weight:bold}
text{fill:#222}</style>"""


def _plan(graph: grimp.ImportGraph, package: str) -> Plan:
    children = sorted(each for each in graph.find_children(package) if not each.endswith(".__main__"))
    rooms = [each for each in children if graph.find_children(each)]
    shared: dict[frozenset[str], list[str]] = defaultdict(list)
    for module in children:
        if module not in rooms:
            upstream = {_child(each, package) for each in graph.find_upstream_modules(module)}
            shared[frozenset(upstream & set(rooms))].append(module)
    members = {room: {room, *graph.find_descendants(room)} for room in rooms}
    members |= {modules[0]: set(modules) for modules in shared.values()}
    owner = {module: key for key, modules in members.items() for module in modules}
    leads: dict[str, set[str]] = {key: set() for key in members}
    for module, key in owner.items():
        found = {owner.get(each) for each in graph.find_modules_directly_imported_by(module)}
        leads[key] |= {each for each in found if each is not None and each != key}
    loose = {modules[0]: modules for modules in shared.values()}
    return _in_rows(leads, {key: _box(key, loose.get(key), package) for key in members}, _FRAMES[package][1] - 2 * _PAD)


def _child(module: str, package: str) -> str:
    """The module of the package's own level in which a module lies."""
    return ".".join(module.split(".")[: package.count(".") + 2])


def _box(key: str, modules: list[str] | None, package: str) -> Box:
    if modules is None:
        return Box(key, key.removeprefix(f"{package}."), is_room=True)
    return Box(key, ", ".join(each.removeprefix(f"{package}.") for each in modules), is_room=False)


def _in_rows(leads: dict[str, set[str]], boxes: dict[str, Box], width: int) -> Plan:
    """Boxes by the longest way down from them, in rows that fit; arrows that a detour says too are left out."""
    depth: dict[str, int] = {}
    beneath: dict[str, set[str]] = {}

    def measure(key: str, above: tuple[str, ...]) -> None:
        if key in above:
            raise ValueError(f"imports in a circle: {', '.join((*above, key))}")
        if key not in depth:
            for each in leads[key]:
                measure(each, (*above, key))
            depth[key] = max((depth[each] + 1 for each in leads[key]), default=0)
            beneath[key] = set().union(*(beneath[each] | {each} for each in leads[key]))

    for key in leads:
        measure(key, ())
    arrows = [
        (key, each)
        for key in sorted(leads)
        for each in sorted(leads[key])
        if not any(each in beneath[other] for other in leads[key])
    ]
    rows: list[tuple[Box, ...]] = []
    for level in sorted(set(depth.values()), reverse=True):
        rows += _fitting([boxes[key] for key in sorted(boxes) if depth[key] == level], width)
    return Plan(tuple(rows), tuple(arrows))


def _fitting(boxes: list[Box], width: int) -> list[tuple[Box, ...]]:
    """Boxes that stand beside one another, in as many rows as their least widths need."""
    rows: list[tuple[Box, ...]] = [()]
    for box in boxes:
        taken = sum((_ROOM if each.is_room else _LEAST) + _GAP for each in rows[-1])
        if taken + (_ROOM if box.is_room else _LEAST) > width:
            rows.append(())
        rows[-1] += (box,)
    return rows


def _height(package: str, plan: Plan) -> int:
    return 30 + sum(_depth(_spread(package, row)) + _BETWEEN for row in plan.rows)


def _spread(package: str, row: tuple[Box, ...]) -> list[tuple[Box, int, list[str]]]:
    """The boxes of a row with their widths and lines: rooms are of one width, what is left is the others'."""
    loose = [box for box in row if not box.is_room]
    left = _FRAMES[package][1] - 2 * _PAD - (len(row) - 1) * _GAP - (len(row) - len(loose)) * _ROOM
    widths = [_ROOM if box.is_room else left // len(loose) for box in row]
    return [(box, wide, textwrap.wrap(box.text, (wide - 10) // _LETTER)) for box, wide in zip(row, widths, strict=True)]


def _depth(row: list[tuple[Box, int, list[str]]]) -> int:
    return max(len(lines) * _LINE + 19 for _, _, lines in row)


def _frame(package: str, plan: Plan, top: int, height: int) -> str:
    left, width = _FRAMES[package]
    parts = [
        f'<rect class="frame" x="{left}" y="{top}" width="{width}" height="{height}" rx="6"/>',
        f'<text class="name" x="{left + _PAD}" y="{top + 20}">{package}</text>',
    ]
    place: dict[str, tuple[int, int, int]] = {}  # middle, upper edge, lower edge
    shapes, y = [], top + 30
    for boxes in (_spread(package, row) for row in plan.rows):
        deep = _depth(boxes)
        x = left + (width - sum(wide + _GAP for _, wide, _ in boxes) + _GAP) // 2
        for box, wide, lines in boxes:
            place[box.key] = (x + wide // 2, y, y + deep)
            shapes.append(_shape(box.is_room, lines, x, y, wide, deep))
            x += wide + _GAP
        y += deep + _BETWEEN
    for source, target in plan.arrows:
        (x1, _, y1), (x2, y2, _) = place[source], place[target]
        bend = min(40, (y2 - y1) // 2)
        parts.append(f'<path class="arrow" d="M{x1} {y1} C{x1} {y1 + bend} {x2} {y2 - bend} {x2} {y2}"/>')
    return "\n".join([*parts, *shapes])


def _shape(is_room: bool, lines: list[str], x: int, y: int, wide: int, deep: int) -> str:
    style, size = ("room", "") if is_room else ("loose", ' font-size="11"')
    first = y + (deep - (len(lines) - 1) * _LINE) // 2 + 4
    return "\n".join(
        [
            f'<rect class="{style}" x="{x}" y="{y}" width="{wide}" height="{deep}" rx="4"/>',
            *(
                f'<text x="{x + wide // 2}" y="{first + number * _LINE}" '
                f'text-anchor="middle"{size}>{escape(line)}</text>'
                for number, line in enumerate(lines)
            ),
        ]
    )


def _arrows_between(graph: grimp.ImportGraph, top: dict[str, int], height: dict[str, int]) -> list[str]:
    """An arrow for each package that imports another; raises KeyError for one that has no way through the picture."""
    under = top["xpm"] + height["xpm"]
    middle = {each: top[each] + height[each] // 2 for each in top}
    ways = {
        ("xpm", "xpm_build"): ((245, under), (245, top["xpm_build"])),
        ("xpm", "xpm_runtime"): ((735, under), (735, top["xpm_runtime"])),
        ("xpm", "xpm_index"): ((965, under), (965, middle["xpm_index"]), (940, middle["xpm_index"])),
        ("xpm_build", "xpm_runtime"): ((480, middle["xpm_runtime"]), (530, middle["xpm_runtime"])),
        ("xpm_build", "xpm_index"): ((480, middle["xpm_index"]), (530, middle["xpm_index"])),
    }
    importing = {
        (module.split(".")[0], each.split(".")[0])
        for module in graph.modules
        for each in graph.find_modules_directly_imported_by(module)
    }
    found = sorted((source, target) for source, target in importing if source != target)
    drawn = []
    for pair in found:
        steps = " ".join(f"L{x} {y}" for x, y in ways[pair])
        drawn.append(f'<path class="arrow far" d="M{steps[1:]}"/>')
    return drawn
