"""A Sankey diagram of an energy balance, laid out here and drawn as plain SVG: no script, no library."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

Node = tuple[str, str]  # kind, name
WIDTH: Final = 1160.0
HEIGHT: Final = 440.0
_MARGIN: Final = 230.0  # for the labels on both sides
_NODE: Final = 14.0
_GAP: Final = 22.0  # between nodes of a column: a line of text
_THINNEST: Final = 0.75


@dataclass(frozen=True, slots=True)
class Box:
    """A node: its rectangle, and where its label stands."""

    x: float
    y: float
    height: float
    kind: str
    label: str
    value: float
    label_x: float
    anchor: str


@dataclass(frozen=True, slots=True)
class Ribbon:
    """A flow between two nodes: the path of its middle line."""

    path: str
    thickness: float
    kind: str
    title: str
    value: float


@dataclass(frozen=True, slots=True)
class Drawing:
    """What the template draws."""

    width: float
    height: float
    boxes: list[Box]
    ribbons: list[Ribbon]


def drawn(links: Iterable[Mapping[str, Any]], label: Callable[[str, str], str], value: str = "calorific_tce") -> Drawing | None:
    """Lay out ENERGY_LINK rows of one enterprise and period from left to right.

    Args:
        links: rows of which `value` is above zero are drawn.
        label: the words for a node, by kind and name.
        value: calorific_tce or equivalent_tce.

    Returns:
        None where nothing flows.
    """
    flows: dict[tuple[Node, Node], float] = {}
    for row in links:
        if row[value] and row[value] > 0:
            ends = (row["source_kind"], row["source"]), (row["target_kind"], row["target"])
            flows[ends] = flows.get(ends, 0.0) + row[value]
    if not flows:
        return None
    columns = _columns(flows)
    size = {node: max(sum(v for (one, _), v in flows.items() if one == node), sum(v for (_, other), v in flows.items() if other == node))
            for column in columns for node in column}
    scale = min((HEIGHT - _GAP * len(column)) / sum(size[node] for node in column) for column in columns)
    place = _places(columns, flows, size, scale)
    step = (WIDTH - 2 * _MARGIN - _NODE) / max(len(columns) - 1, 1)
    left = {node: _MARGIN + step * at for at, column in enumerate(columns) for node in column}
    return Drawing(WIDTH, HEIGHT, _boxes(columns, size, scale, place, left, label), _ribbons(flows, scale, place, left, label))


def _columns(flows: Mapping[tuple[Node, Node], float]) -> list[list[Node]]:
    """Nodes by how far they are from where energy comes in; what nothing leaves stands in the last column.

    Where energy goes in a circle (power of the plant's own that its boiler uses), the smallest flow of the circle runs back.
    """
    after: dict[Node, set[Node]] = {node: set() for ends in flows for node in ends}
    forward = []
    for one, other in sorted(flows, key=lambda ends: -flows[ends]):
        if one != other and not _reaches(other, one, after):
            after[one].add(other)
            forward.append((one, other))
    depth = dict.fromkeys(after, 0)
    for _ in after:
        for one, other in forward:
            depth[other] = max(depth[other], depth[one] + 1)
    last = max(depth.values())
    columns: list[list[Node]] = [[] for _ in range(last + 1)]
    for node, others in after.items():
        columns[depth[node] if others else last].append(node)
    return [column for column in columns if column]


def _reaches(node: Node, goal: Node, after: Mapping[Node, set[Node]]) -> bool:
    return node == goal or any(_reaches(one, goal, after) for one in after[node])


def _places(
    columns: Sequence[Sequence[Node]], flows: Mapping[tuple[Node, Node], float], size: Mapping[Node, float], scale: float,
) -> dict[Node, float]:
    """The upper edge of each node; a column is in the order of where its flows come from, so that few of them cross."""
    place: dict[Node, float] = {}
    for column in columns:
        def centre(node: Node) -> float:
            before = [(place[one] + size[one] * scale / 2, value) for (one, other), value in flows.items() if other == node and one in place]
            return sum(at * value for at, value in before) / sum(value for _, value in before) if before else 0.0

        ordered = sorted(column, key=lambda node: (centre(node), -size[node]))
        y = (HEIGHT - sum(size[node] * scale for node in column) - _GAP * (len(column) - 1)) / 2
        for node in ordered:
            place[node] = y
            y += size[node] * scale + _GAP
    return place


def _boxes(
    columns: Sequence[Sequence[Node]], size: Mapping[Node, float], scale: float, place: Mapping[Node, float], left: Mapping[Node, float],
    label: Callable[[str, str], str],
) -> list[Box]:
    boxes = []
    for at, column in enumerate(columns):
        last = at == len(columns) - 1
        for node in column:
            x = left[node]
            anchor, label_x = ("end", x - 6) if at == 0 and not last else ("start", x + _NODE + 6)
            boxes.append(Box(x, place[node], max(size[node] * scale, _THINNEST), node[0], label(*node), size[node], label_x, anchor))
    return boxes


def _ribbons(
    flows: Mapping[tuple[Node, Node], float], scale: float, place: Mapping[Node, float], left: Mapping[Node, float], label: Callable[[str, str], str],
) -> list[Ribbon]:
    """Flows leave a node in the order in which they arrive elsewhere, and the other way round."""
    out_at, in_at = dict(place), dict(place)
    leaving: dict[tuple[Node, Node], float] = {}
    for ends in sorted(flows, key=lambda ends: (place[ends[0]], place[ends[1]])):
        leaving[ends] = out_at[ends[0]]
        out_at[ends[0]] += flows[ends] * scale
    ribbons = []
    for one, other in sorted(flows, key=lambda ends: (place[ends[1]], place[ends[0]])):
        value = flows[one, other]
        half = value * scale / 2
        y0, y1 = leaving[one, other] + half, in_at[other] + half
        in_at[other] += 2 * half
        x0, x1 = left[one] + _NODE, left[other]
        bend = max(abs(x1 - x0) / 2, _NODE)
        path = f"M{x0:.1f},{y0:.1f} C{x0 + bend:.1f},{y0:.1f} {x1 - bend:.1f},{y1:.1f} {x1:.1f},{y1:.1f}"
        kind = other[0] if other[0] in {"closing", "outlet"} else one[0]
        ribbons.append(Ribbon(path, max(2 * half, _THINNEST), kind, f"{label(*one)} → {label(*other)}", value))
    return ribbons
