"""Which channels of a graph's values are one and the same, and which may be taken away.

    g = Gather(x); t = TensorProduct(g, y, w) uvu      channel u of x, g, each path of t, and z
    s = ScatterSum(t); z = Linear(s)                   are one class; z's own channels are others

In: a graph. Out: classes of channels that can only go together. A class is locked if a caller sees
one of its channels (inputs, outputs), if an operation gives channels a meaning of their own or is
not known here, or if its weights cannot be cut.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from tvm_equi.graph.graph import TensorProductGraph
from tvm_equi.graph.node import Node
from tvm_equi.graph.operations import (
    Activation,
    Add,
    Concat,
    Convolution,
    Gather,
    Linear,
    Norm,
    Parameter,
    ScalarMLP,
    ScatterSum,
    Slice,
    Sum,
    TensorProduct,
)
from tvm_equi.graph.rewriting import View
from tvm_equi.graph.types import ValueType


@dataclass(slots=True)
class Channels:
    """Classes of channels, by the number of a channel: a union-find structure.

    Args:
        starts: the number of the first channel of each segment, by (value, segment).
        muls: channels of each segment.
        parent: of each channel; a class's root is its own.
        locked: roots of classes that stay.
    """

    starts: dict[tuple[str, int], int] = field(default_factory=dict)
    muls: dict[tuple[str, int], int] = field(default_factory=dict)
    parent: list[int] = field(default_factory=list)
    locked: set[int] = field(default_factory=set)

    def root(self, channel: int) -> int:
        """The class of a channel."""
        while self.parent[channel] != channel:
            self.parent[channel] = self.parent[self.parent[channel]]
            channel = self.parent[channel]
        return channel

    def roots(self, value: str, segment: int) -> tuple[int, ...]:
        """The class of each channel of a segment."""
        start = self.starts[value, segment]
        return tuple(self.root(start + u) for u in range(self.muls[value, segment]))

    def segments(self, value: str) -> range:
        """The numbers of a value's segments."""
        num = 0
        while (value, num) in self.starts:
            num += 1
        return range(num)

    def is_locked(self, root: int) -> bool:
        """Whether a class stays."""
        return root in self.locked

    def _tie(self, one: tuple[str, int], other: tuple[str, int], first: int = 0) -> None:
        """Makes channels first .. of one segment and all of another the same, as many as fit."""
        for u in range(min(self.muls[one] - first, self.muls[other])):
            a, b = self.root(self.starts[one] + first + u), self.root(self.starts[other] + u)
            if a != b:
                self.parent[b] = a
                if b in self.locked:
                    self.locked.add(a)

    def _lock(self, value: str, segments: Iterable[int]) -> None:
        """Keeps all channels of some segments."""
        for segment in segments:
            self.locked.update(self.roots(value, segment))


def channel_classes(graph: TensorProductGraph) -> Channels:
    """The classes of a graph's channels.

    Args:
        graph: to look at.
    """
    found = Channels()
    for node in graph.nodes:
        kind = graph.types[node.name]
        for number, irrep in enumerate(kind.segments if isinstance(kind, ValueType) else ()):
            found.starts[node.name, number] = len(found.parent)
            found.muls[node.name, number] = irrep.mul
            found.parent += range(len(found.parent), len(found.parent) + irrep.mul)
    view = View.of(graph.nodes, graph.outputs)
    for node in graph.nodes:
        _add_node(found, graph, view, node)
    for name in graph.outputs:
        _lock_all(found, graph, name)
    return found


def _lock_all(found: Channels, graph: TensorProductGraph, name: str) -> None:
    """Keeps all channels of a value."""
    found._lock(name, found.segments(name))


def _add_node(found: Channels, graph: TensorProductGraph, view: View, node: Node) -> None:
    """Ties and locks what one operation makes and reads."""
    match node.operation:
        case Parameter():
            return
        case Gather() | ScatterSum() | Sum() | Norm() | Activation() | Add():
            for place in ((source, k) for source in node.inputs for k in found.segments(source)):
                found._tie((node.name, place[1]), place)
        case Slice(parts=parts):
            for k, (segment, first, _) in enumerate(parts):
                found._tie((node.inputs[0], segment), (node.name, k), first)
        case Concat():
            places = [(source, k) for source in node.inputs for k in found.segments(source)]
            for number, place in enumerate(places):
                found._tie((node.name, number), place)
        case Linear():
            homes = {weight_home(view, source) for source in node.inputs[1:]}
            if homes != {"parameter"}:
                _lock_all(found, graph, node.inputs[0])
                _lock_all(found, graph, node.name)
        case TensorProduct() | Convolution():
            _add_product(found, view, node)
        case _:
            for name in (*node.inputs, node.name):
                _lock_all(found, graph, name)


def product_inputs(node: Node) -> tuple[str, str | None, str | None]:
    """The values that are x, y and w of a product or convolution; None for what is made inside.

    Args:
        node: a product or convolution.
    """
    if isinstance(node.operation, Convolution):
        given = node.operation.by_name(node.inputs)
        return given["x"], given.get("y"), given.get("w")
    return node.inputs[0], node.inputs[1], node.inputs[2] if len(node.inputs) > 2 else None


def weight_home(view: View, name: str) -> str | None:
    """Whether weights can be cut: "parameter", or "mlp" for a last layer's; None if they cannot.

    Args:
        view: of the graph.
        name: of the weights.
    """
    if not view.is_read_once(name):
        return None
    match view.nodes[name].operation:
        case Parameter():
            return "parameter"
        case ScalarMLP(columns=()):
            return "mlp" if view.is_read_once(view.nodes[name].inputs[-1]) else None
        case _:
            return None


def can_cut_weights(view: View, node: Node) -> bool:
    """Whether some weights of a product can be left out.

    Args:
        view: of the graph.
        node: a product or convolution.
    """
    operation = node.operation
    if isinstance(operation, Convolution) and operation.radial is not None:
        last = operation.by_name(node.inputs)["last"]
        return not operation.radial.columns and weight_home(view, last) == "parameter"
    w = product_inputs(node)[2]
    return w is None or weight_home(view, w) is not None


def _add_product(found: Channels, view: View, node: Node) -> None:
    """Ties what a product's paths couple channel by channel; locks what it cannot cut."""
    product = node.operation.product if isinstance(node.operation, Convolution) else node.operation
    if not isinstance(product, TensorProduct):
        return
    x, y, _ = product_inputs(node)
    can_cut = can_cut_weights(view, node)
    for ins in product.instructions:
        left, out = (x, ins.i_in1), (node.name, ins.i_out)
        right = None if y is None else (y, ins.i_in2)  # harmonics made inside have one channel
        loose = [left, right, out]
        match ins.mode:
            case "uvu" if can_cut:
                found._tie(out, left)
                loose = [right]
            case "uvv" if can_cut and right is not None:
                found._tie(out, right)
                loose = [left]
            case "uuu" if can_cut and right is not None:
                found._tie(out, left)
                found._tie(out, right)
                loose = []
            case "uvw" if can_cut:
                loose = []
            case _:
                pass
        for name, segment in (place for place in loose if place is not None):
            found._lock(name, [segment])
