"""Where the nodes of a graph go in a picture: boxes in layers, and legs between them.

In: a graph. Out: boxes and legs with positions in points, as data; `draw` puts them on paper. A
layer is a generation of the network in topological order; an input stands right above its first
reader. Parameters and indices are no boxes: a box says how many numbers it has, and over which
indices it runs. A value that many read is one line, from which its readers branch off.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import networkx

from tvm_equi.graph.captions import box_lines, leg_label
from tvm_equi.graph.graph import TensorProductGraph
from tvm_equi.graph.node import Node
from tvm_equi.graph.operations import Parameter
from tvm_equi.graph.types import IndexType

CHAR_WIDTH = 4.7
LINE_HEIGHT = 9.5
PADDING = 6.0
GAP = 26.0
LAYER_GAP = 46.0


@dataclass(frozen=True, slots=True)
class Box:
    """An operation in a picture.

    Args:
        name: of the node.
        kind: of the operation.
        lines: of text; the first is the name.
        label: of the leg that leaves the box: the irreps of its value.
        x: of the centre.
        y: of the centre, from the top.
        width: of the box.
        height: of the box.
    """

    name: str
    kind: str
    lines: tuple[str, ...]
    label: str
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class Leg:
    """A line from one box to another.

    Args:
        source: the name of the value.
        target: the name of its reader.
        points: (x, y) of the corners, from the top.
    """

    source: str
    target: str
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class Picture:
    """Boxes and legs.

    Args:
        boxes: of all operations that are shown.
        legs: between them.
        width: in points.
        height: in points.
    """

    boxes: tuple[Box, ...]
    legs: tuple[Leg, ...]
    width: float
    height: float


def picture(graph: TensorProductGraph) -> Picture:
    """The picture of a graph.

    Args:
        graph: to show.
    """
    shown = [node for node in graph.nodes if _is_shown(graph, node)]
    texts = {node.name: box_lines(graph, node) for node in shown}
    labels = {node.name: leg_label(graph, node.name) for node in shown}
    ranks = _ranks(graph, shown)
    layers, chains = _layers(graph, shown, ranks)
    widths = {}
    for place in (place for layer in layers for place in layer):
        name = place[0]
        if ranks[name] == place[1]:
            longest = max(map(len, (*texts[name], *labels[name].split("\n"))))
            widths[place] = longest * CHAR_WIDTH + 2 * PADDING
        else:
            widths[place] = 4.0
    xs = _columns(layers, chains, widths)
    heights = [
        max((len(texts[name]) for name, rank in layer if ranks[name] == rank), default=1)
        * LINE_HEIGHT
        + 2 * PADDING
        for layer in layers
    ]
    tops = [GAP]
    for number, height in enumerate(heights):
        num_lines = max((labels[n].count("\n") + 1 for n, r in layers[number] if ranks[n] == r))
        tops.append(tops[-1] + height + LAYER_GAP + (num_lines - 1) * LINE_HEIGHT)
    boxes = tuple(
        Box(
            node.name,
            node.kind,
            texts[node.name],
            labels[node.name],
            xs[node.name, ranks[node.name]],
            tops[ranks[node.name]] + heights[ranks[node.name]] / 2,
            widths[node.name, ranks[node.name]],
            len(texts[node.name]) * LINE_HEIGHT + 2 * PADDING,
        )
        for node in shown
    )
    legs = _legs(graph, {box.name: box for box in boxes}, ranks, xs, (tops, heights))
    width = max(xs[place] + widths[place] / 2 for place in xs) + GAP
    return Picture(boxes, legs, width, tops[-1])


def _is_shown(graph: TensorProductGraph, node: Node) -> bool:
    """Whether a node has a box."""
    is_index = isinstance(graph.types[node.name], IndexType)
    return not is_index and not isinstance(node.operation, Parameter)


def _read(graph: TensorProductGraph, node: Node, shown: Mapping[str, object]) -> list[str]:
    """The values with boxes that a node reads, each once."""
    return [name for name in dict.fromkeys(node.inputs) if name in shown]


def _ranks(graph: TensorProductGraph, shown: Sequence[Node]) -> dict[str, int]:
    """The layer of each node."""
    names = {node.name: node for node in shown}
    network = networkx.DiGraph()
    network.add_nodes_from(names)
    network.add_edges_from(
        (source, node.name) for node in shown for source in _read(graph, node, names)
    )
    ranks = {}
    for number, generation in enumerate(networkx.topological_generations(network)):
        ranks.update(dict.fromkeys(generation, number))
    for node in reversed(shown):  # inputs and weights as late as their readers allow
        readers = [ranks[name] for name in network.successors(node.name)]
        is_loose = not network.in_degree(node.name) or graph.types[node.name].rows == "shared"
        if readers and is_loose:
            ranks[node.name] = min(readers) - 1
    lowest = min(ranks.values())
    return {name: rank - lowest for name, rank in ranks.items()}


Place = tuple[str, int]
"""(name, layer): a box, or the line of its value where it passes another layer."""


def _layers(
    graph: TensorProductGraph, shown: Sequence[Node], ranks: Mapping[str, int]
) -> tuple[list[list[Place]], list[tuple[Place, Place]]]:
    """The places of each layer, in an order with few crossings, and which follow on which."""
    layers: list[list[Place]] = [[] for _ in range(max(ranks.values()) + 1)]
    chains: list[tuple[Place, Place]] = []
    for node in shown:
        layers[ranks[node.name]].append((node.name, ranks[node.name]))
    passing: set[Place] = set()
    for node in shown:
        for source in _read(graph, node, ranks):
            before: Place = (source, ranks[source])
            for rank in range(ranks[source] + 1, ranks[node.name]):
                place = (source, rank)
                if place not in passing:
                    passing.add(place)
                    layers[rank].append(place)
                    chains.append((before, place))
                before = place
            chains.append((before, (node.name, ranks[node.name])))
    neighbours: dict[Place, list[Place]] = {}
    for above, below in chains:
        neighbours.setdefault(above, []).append(below)
        neighbours.setdefault(below, []).append(above)
    for sweep in range(12):
        order = layers if sweep % 2 == 0 else list(reversed(layers))
        position = {
            place: n / max(1, len(layer)) for layer in layers for n, place in enumerate(layer)
        }
        for layer in order:
            means = {}
            for place in layer:
                near = [position[other] for other in neighbours.get(place, [])]
                means[place] = sum(near) / len(near) if near else position[place]
            layer.sort(key=lambda place: means[place])
            for n, place in enumerate(layer):
                position[place] = n / max(1, len(layer))
    return layers, chains


def _columns(
    layers: Sequence[Sequence[Place]],
    chains: Sequence[tuple[Place, Place]],
    widths: Mapping[Place, float],
) -> dict[Place, float]:
    """The centre of each place: near its neighbours, in the order of its layer."""
    xs: dict[Place, float] = {}
    for layer in layers:
        start = 0.0
        for place in layer:
            xs[place] = start + widths[place] / 2
            start += widths[place] + GAP
    neighbours: dict[Place, list[Place]] = {}
    for above, below in chains:
        neighbours.setdefault(above, []).append(below)
        neighbours.setdefault(below, []).append(above)
    for sweep in range(40):
        for layer in layers if sweep % 2 == 0 else reversed(layers):
            wanted = []
            for place in layer:
                near = [xs[other] for other in neighbours.get(place, [])]
                wanted.append(sum(near) / len(near) if near else xs[place])
            _spread(layer, wanted, widths, xs)
    left = min(xs[place] - widths[place] / 2 for place in xs)
    return {place: x - left + GAP for place, x in xs.items()}


def _spread(
    layer: Sequence[Place],
    wanted: Sequence[float],
    widths: Mapping[Place, float],
    xs: dict[Place, float],
) -> None:
    """Places of a layer as near as they can be to where they want to be, without overlap."""
    offsets, start = [], 0.0
    for number, place in enumerate(layer):
        start += widths[place] / 2 + (GAP + widths[layer[number - 1]] / 2 if number else 0.0)
        offsets.append(start)
    # Without offsets the positions only have to increase: the means of pooled runs do it best.
    runs: list[list[float]] = []
    for target, offset in zip(wanted, offsets, strict=True):
        runs.append([target - offset, 1.0])
        while len(runs) > 1 and runs[-2][0] > runs[-1][0]:
            mean, count = runs.pop()
            total = runs[-1][1] + count
            runs[-1] = [(runs[-1][0] * runs[-1][1] + mean * count) / total, total]
    bases = [mean for mean, count in runs for _ in range(int(count))]
    for place, base, offset in zip(layer, bases, offsets, strict=True):
        xs[place] = base + offset


def _legs(
    graph: TensorProductGraph,
    boxes: Mapping[str, Box],
    ranks: Mapping[str, int],
    xs: Mapping[Place, float],
    rows: tuple[Sequence[float], Sequence[float]],
) -> tuple[Leg, ...]:
    """A line for each value that a box reads, through the places that it passes."""
    tops, heights = rows
    legs = []
    for name, box in boxes.items():
        sources = _read(graph, graph.node(name), boxes)
        sources.sort(key=lambda source: xs[source, max(ranks[source], ranks[name] - 1)])
        for number, source in enumerate(sources):
            above = boxes[source]
            points = [(above.x, above.y + above.height / 2)]
            for rank in range(ranks[source] + 1, ranks[name]):
                x = xs[source, rank]
                points += [(x, tops[rank]), (x, tops[rank] + heights[rank])]
            share = (number + 1) / (len(sources) + 1) - 0.5
            points.append((box.x + share * 0.7 * box.width, box.y - box.height / 2))
            legs.append(Leg(source, name, tuple(points)))
    return tuple(legs)
