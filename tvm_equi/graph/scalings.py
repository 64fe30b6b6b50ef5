"""Products with one scalar per row: where they may act.

    S = (x * y) * a   <->   x * (y * a)   <->   (x * a) * y

An envelope or an attention weight a multiplies messages of all channels; the harmonics have no
channels, and take it for a hundredth of the work. A linear layer without biases between them does
not mind. In: a graph and one of its nodes. Out: every graph that one move gives.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from math import sqrt

from tvm_equi.graph.fuse import is_movable
from tvm_equi.graph.graph import TensorProductGraph
from tvm_equi.graph.node import Node
from tvm_equi.graph.operations import Instruction, Linear, TensorProduct
from tvm_equi.graph.rewriting import View, replaced
from tvm_equi.graph.types import ValueType, parse_irreps


def scaling_factors(product: TensorProduct) -> tuple[float, ...] | None:
    """What each segment of x is multiplied by, beside the scalar y; None if it is no scaling.

    Args:
        product: to look at.
    """
    num = len(parse_irreps(product.irreps_in1))
    is_scaling = (
        product.irreps_in2 == "1x0e"
        and product.weights == "none"
        and product.irreps_in1 == product.irreps_out
        and sorted(ins.i_in1 for ins in product.instructions) == list(range(num))
        and all(ins.i_in1 == ins.i_out and ins.mode == "uvu" for ins in product.instructions)
    )
    if not is_scaling:
        return None
    factors = [0.0] * num
    for ins in product.instructions:
        degree = product.irreps_of(ins).left.degree
        factors[ins.i_in1] = ins.coefficient / sqrt(2 * degree + 1)
    return tuple(factors)


def scaling(irreps: str, layout: str) -> TensorProduct:
    """The product of a value with one scalar per row, and nothing else.

    Args:
        irreps: of the value.
        layout: of the value.
    """
    segments = parse_irreps(irreps)
    instructions = tuple(
        Instruction(k, 0, k, "uvu", False, sqrt(2 * irrep.degree + 1))
        for k, irrep in enumerate(segments)
    )
    return TensorProduct(irreps, "1x0e", irreps, instructions, layout=layout)  # type: ignore[arg-type]


def scaling_inwards(
    graph: TensorProductGraph, view: View, node: Node
) -> Iterator[TensorProductGraph]:
    """(x * y) * a -> x * (y * a) and (x * a) * y, through linear layers.

    Args:
        graph: to rewrite.
        view: of it.
        node: that may move.
    """
    factors = scaling_factors(node.operation) if isinstance(node.operation, TensorProduct) else None
    if factors is None:
        return
    scalar = node.inputs[1]
    chain: list[Node] = []
    name = node.inputs[0]
    while view.is_read_once(name):
        source = view.nodes[name]
        chain.append(source)
        match source.operation:
            case TensorProduct():
                for slot in (1, 0):
                    yield _rebuilt(graph, view, node, chain, factors, (slot, scalar))
                return
            case Linear() as linear if is_movable(linear):
                yield _rebuilt(graph, view, node, chain, factors, (0, scalar))
                name = source.inputs[0]
            case _:
                return


def _rebuilt(
    graph: TensorProductGraph,
    view: View,
    node: Node,
    chain: Sequence[Node],
    factors: tuple[float, ...],
    place: tuple[int, str],
) -> TensorProductGraph:
    """The chain anew, its deepest operation reading a scaled input, its first with the factors."""
    slot, scalar = place
    deepest = chain[-1]
    target = deepest.inputs[slot]
    kind = graph.types[target]
    irreps = kind.irreps if isinstance(kind, ValueType) else ""
    layout = kind.layout if isinstance(kind, ValueType) else "mul_ir"
    scaled = view.fresh(f"{node.name}.scaled")
    new = [Node(scaled, scaling(irreps, layout), (target, scalar))]
    source = scaled
    for number, link in reversed(list(enumerate(chain))):
        inputs = list(link.inputs)
        inputs[slot if link is deepest else 0] = source
        operation = link.operation if number else _times(link.operation, factors)
        source = view.fresh(f"{link.name}.moved") if number else node.name
        new.append(Node(source, operation, tuple(inputs)))  # type: ignore[arg-type]
    return replaced(graph, {node.name: new})


def _times(operation: object, factors: tuple[float, ...]) -> object:
    """An operation whose segments are multiplied by factors."""
    match operation:
        case TensorProduct(instructions=instructions):
            scaled = tuple(
                replace(ins, coefficient=ins.coefficient * factors[ins.i_out])
                for ins in instructions
            )
            return replace(operation, instructions=scaled)
        case Linear(paths=paths):
            return replace(
                operation,
                paths=tuple(
                    path._replace(coefficient=path.coefficient * factors[path.i_out])
                    for path in paths
                ),
            )
        case _:
            return operation


def scaling_outwards(
    graph: TensorProductGraph, view: View, node: Node
) -> Iterator[TensorProductGraph]:
    """X * (y * a) and (x * a) * y -> (x * y) * a.

    Args:
        graph: to rewrite.
        view: of it.
        node: that may move.
    """
    product = node.operation
    if not isinstance(product, TensorProduct) or scaling_factors(product) is not None:
        return
    for slot in (0, 1):
        source = view.nodes[node.inputs[slot]]
        inner = source.operation
        factors = scaling_factors(inner) if isinstance(inner, TensorProduct) else None
        if factors is None or node.inputs[0] == node.inputs[1]:
            continue
        instructions = tuple(
            replace(ins, coefficient=ins.coefficient * factors[ins.i_in2 if slot else ins.i_in1])
            for ins in product.instructions
        )
        name = view.fresh(f"{node.name}.moved")
        inputs = list(node.inputs)
        inputs[slot] = source.inputs[0]
        new = [
            Node(name, replace(product, instructions=instructions), tuple(inputs)),
            Node(
                node.name,
                scaling(product.irreps_out, product.layout),
                (name, source.inputs[1]),
            ),
        ]
        yield replaced(graph, {node.name: new})
