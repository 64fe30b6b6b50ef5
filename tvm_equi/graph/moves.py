"""Single rewrites that move an operation past another, each exact; `order` chooses among them.

    Linear(Gather(x, i))         <->  Gather(Linear(x), i)          a layer acts on each row alone
    ScatterSum(Linear(x), i)     <->  Linear(ScatterSum(x, i))      and is linear
    Linear(TensorProduct(x, y))  <->  TensorProduct(Linear(x), y)   where no weights are between

In: a graph and one of its nodes. Out: every graph that one move gives. Where a move has to compute
something twice, since something else reads it too, the count tells that it costs more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TypeAlias

from tvm_equi.graph.fuse import is_movable
from tvm_equi.graph.graph import TensorProductGraph
from tvm_equi.graph.node import Node
from tvm_equi.graph.operations import (
    Gather,
    Instruction,
    Linear,
    LinearPath,
    ScatterSum,
    Slice,
    TensorProduct,
)
from tvm_equi.graph.regions import couples
from tvm_equi.graph.rewriting import View, replaced
from tvm_equi.graph.types import Irrep, ValueType, format_irreps, parse_irreps

Move: TypeAlias = Callable[[TensorProductGraph, View, Node], Iterator[TensorProductGraph]]


def linear_over_gather(
    graph: TensorProductGraph, view: View, node: Node
) -> Iterator[TensorProductGraph]:
    """Linear(Gather(x)) <-> Gather(Linear(x)).

    Args:
        graph: to rewrite.
        view: of it.
        node: that may move.
    """
    if not node.inputs:
        return
    source = view.nodes[node.inputs[0]]
    match node.operation, source.operation:
        case (Linear(weights="shared"), Gather()) | (Gather(), Linear(weights="shared")):
            yield _exchanged(graph, view, node, source)
        case _:
            return


def linear_over_sum(
    graph: TensorProductGraph, view: View, node: Node
) -> Iterator[TensorProductGraph]:
    """ScatterSum(Linear(x)) <-> Linear(ScatterSum(x)).

    Args:
        graph: to rewrite.
        view: of it.
        node: that may move.
    """
    if not node.inputs:
        return
    source = view.nodes[node.inputs[0]]
    match node.operation, source.operation:
        case (ScatterSum(), Linear() as linear) | (Linear() as linear, ScatterSum()):
            if is_movable(linear):
                yield _exchanged(graph, view, node, source)
        case _:
            return


def _exchanged(
    graph: TensorProductGraph, view: View, node: Node, source: Node
) -> TensorProductGraph:
    """The graph in which a node acts before the one that it reads, each with its other inputs."""
    inner = view.fresh(f"{node.name}.moved")
    first = Node(inner, node.operation, (source.inputs[0], *node.inputs[1:]))
    second = Node(node.name, source.operation, (inner, *source.inputs[1:]))
    return replaced(graph, {node.name: [first, second]})


def linear_over_product(
    graph: TensorProductGraph, view: View, node: Node
) -> Iterator[TensorProductGraph]:
    """Linear(TensorProduct(x, y)) <-> TensorProduct(Linear(x), y), where paths keep x's channels.

    Args:
        graph: to rewrite.
        view: of it.
        node: that may move.
    """
    if not node.inputs:
        return
    source = view.nodes[node.inputs[0]]
    match node.operation, source.operation:
        case Linear() as linear, TensorProduct() as product if is_movable(linear):
            if _keeps_channels(product) and view.is_read_once(source.name):
                yield from _linear_first(graph, view, (node, source), (linear, product))
        case TensorProduct() as product, Linear() as linear if is_movable(linear):
            if _keeps_channels(product) and node.inputs[0] != node.inputs[1]:
                yield from _product_first(graph, view, (node, source), (product, linear))
        case _:
            return


def _keeps_channels(product: TensorProduct) -> bool:
    """Whether every path is x's channels times one channel of y, without weights."""
    right = parse_irreps(product.irreps_in2)
    return product.weights == "none" and all(
        ins.mode == "uvu" and right[ins.i_in2].mul == 1 and couples(product, ins)
        for ins in product.instructions
    )


def _linear_first(
    graph: TensorProductGraph,
    view: View,
    nodes: tuple[Node, Node],
    operations: tuple[Linear, TensorProduct],
) -> Iterator[TensorProductGraph]:
    """Each path of the layer acts on x, for a segment of its own that the product then couples."""
    (node, source), (linear, product) = nodes, operations
    by_target: dict[int, list[Instruction]] = {}
    for ins in product.instructions:
        by_target.setdefault(ins.i_out, []).append(ins)
    if any(len(by_target.get(path.i_in, [])) != 1 for path in linear.paths) or not linear.paths:
        return
    left, out = parse_irreps(product.irreps_in1), parse_irreps(linear.irreps_out)
    segments, paths, instructions = [], [], []
    for number, path in enumerate(linear.paths):
        (ins,) = by_target[path.i_in]
        segments.append(replace(left[ins.i_in1], mul=out[path.i_out].mul))
        paths.append(LinearPath(ins.i_in1, number, path.coefficient))
        instructions.append(replace(ins, i_in1=number, i_out=path.i_out))
    mixed = format_irreps(tuple(segments))
    name = view.fresh(f"{node.name}.moved")
    first = Linear(product.irreps_in1, mixed, tuple(paths), layout=linear.layout)
    second = replace(
        product,
        irreps_in1=mixed,
        irreps_out=linear.irreps_out,
        instructions=tuple(instructions),
    )
    new = [
        Node(name, first, (source.inputs[0], node.inputs[1])),
        Node(node.name, second, (name, source.inputs[1])),
    ]
    yield replaced(graph, {node.name: new})


def _product_first(
    graph: TensorProductGraph,
    view: View,
    nodes: tuple[Node, Node],
    operations: tuple[TensorProduct, Linear],
) -> Iterator[TensorProductGraph]:
    """Each path couples x as it is, for a segment of its own that the layer then mixes."""
    (node, source), (product, linear) = nodes, operations
    left, out = parse_irreps(linear.irreps_in), parse_irreps(product.irreps_out)
    sizes = linear.weight_sizes()
    starts = [sum(sizes[:number]) for number in range(len(sizes))]
    segments: list[Irrep] = []
    instructions, paths, weights = [], [], []
    for ins in product.instructions:
        for number, path in enumerate(linear.paths):
            if path.i_out == ins.i_in1:
                target = out[ins.i_out]
                instructions.append(replace(ins, i_in1=path.i_in, i_out=len(segments)))
                paths.append(LinearPath(len(segments), ins.i_out, path.coefficient))
                segments.append(replace(target, mul=left[path.i_in].mul))
                weights.append((0, starts[number], starts[number] + sizes[number]))
    kind = graph.types[source.inputs[1]]
    if not paths or not isinstance(kind, ValueType) or len(kind.segments) != 1:
        return
    coupled = format_irreps(tuple(segments))
    first = replace(
        product,
        irreps_in1=linear.irreps_in,
        irreps_out=coupled,
        instructions=tuple(instructions),
    )
    second = Linear(coupled, product.irreps_out, tuple(paths), layout=linear.layout)
    name = view.fresh(f"{node.name}.moved")
    new = [Node(name, first, (source.inputs[0], node.inputs[1]))]
    weight = source.inputs[1]
    if [part[1] for part in weights] != starts:
        weight = view.fresh(f"{node.name}.weight")
        new.append(Node(weight, Slice(tuple(weights)), (source.inputs[1],)))
    yield replaced(graph, {node.name: [*new, Node(node.name, second, (name, weight))]})


MOVES: tuple[Move, ...] = (linear_over_gather, linear_over_sum, linear_over_product)
"""Moves of linear layers."""
