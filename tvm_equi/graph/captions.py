"""The texts of a picture: what a box says of its operation, and a leg of its value.

In: a graph and one of its nodes. Out: lines.
"""

from __future__ import annotations

from tvm_equi.graph.graph import TensorProductGraph
from tvm_equi.graph.node import Node
from tvm_equi.graph.operations import Convolution, Input, Parameter
from tvm_equi.graph.types import IndexType, ValueType, parse_irreps, simplify_irreps

LABEL_WIDTH = 36
"""Characters of a line of a leg's label."""


def box_lines(graph: TensorProductGraph, node: Node) -> tuple[str, ...]:
    """The text of a box: name, operation with what was fused, indices, parameters, cost.

    Args:
        graph: that holds the node.
        node: to describe.
    """
    lines = [node.name, what_it_does(node)]
    indices = [name for name in node.inputs if isinstance(graph.types[name], IndexType)]
    if indices:
        lines.append("over " + ", ".join(indices))
    numbers = sum(
        operation.size
        for name in node.inputs
        if isinstance(operation := graph.node(name).operation, Parameter)
    )
    if numbers:
        lines.append(f"{numbers:,} parameters")
    cost = graph.cost(node.name)
    rows = graph.types[node.name].rows
    if isinstance(node.operation, Convolution):
        rows = graph.types[node.inputs[-1]].rows
    each = "call" if rows == "shared" else rows
    if cost.multiply_adds:
        lines.append(f"{cost.multiply_adds:,} multiply-adds per {each}")
    if cost.node_multiply_adds:
        lines.append(f"{cost.node_multiply_adds:,} multiply-adds per node")
    if cost.row_bytes and node.inputs:
        lines.append(f"{cost.row_bytes:,} bytes per {each}")
    if cost.node_bytes:
        lines.append(f"{cost.node_bytes:,} bytes per node")
    return tuple(lines)


def what_it_does(node: Node) -> str:
    """The operation of a node; for a convolution, the operations that were fused into it.

    Args:
        node: to describe.
    """
    operation = node.operation
    if isinstance(operation, Input):
        return "input"
    if not isinstance(operation, Convolution):
        return node.kind
    inside = ["gather"]
    inside += ["harmonics"] if operation.harmonics is not None else []
    inside += ["radial layer"] if operation.radial is not None else []
    inside.append(f"product ({len(operation.product.instructions)} paths)")
    return f"Convolution = {' + '.join([*inside, 'sum'])}"


def leg_label(graph: TensorProductGraph, name: str) -> str:
    """The type of a value, short: "64x(0e+1o) [node]", in lines of `LABEL_WIDTH`.

    Args:
        graph: that holds the value.
        name: of the value.
    """
    kind = graph.types[name]
    if not isinstance(kind, ValueType):
        return str(kind)
    segments = parse_irreps(simplify_irreps(kind.irreps))
    muls = {irrep.mul for irrep in segments}
    parts = [str(irrep) for irrep in segments] or ["nothing"]
    if len(muls) == 1 and len(segments) > 1:
        (mul,) = muls
        counts: dict[str, int] = {}
        for irrep in segments:
            text = str(irrep).partition("x")[2]
            counts[text] = counts.get(text, 0) + 1
        inside = [text if count == 1 else f"{count}*{text}" for text, count in counts.items()]
        parts = inside if mul == 1 else [f"{mul}x({inside[0]}", *inside[1:-1], f"{inside[-1]})"]
        if mul != 1 and len(inside) == 1:
            parts = [f"{mul}x({inside[0]})"]
    lines = [""]
    for number, part in enumerate(parts):
        piece = part if number == 0 else f"+{part}"
        if len(lines[-1]) + len(piece) > LABEL_WIDTH:
            lines.append("")
        lines[-1] += piece
    lines[-1] += f" [{kind.rows}]"
    return "\n".join(lines)
