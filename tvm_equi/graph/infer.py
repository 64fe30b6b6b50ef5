"""The type of every value, from the typing rules of the operations.

    x: 8x1o [node], i: index edge -> node     x: 8x1o [node], i: index edge -> node
    g = Gather(x, i)                     ->   g = Gather(x, i): 8x1o [edge]

In: nodes in order. Out: their types. Refused: inputs that do not fit; the error names the node.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tvm_equi.errors import GraphError
from tvm_equi.graph.node import Node
from tvm_equi.graph.types import Type


def infer_type(node: Node, types: Mapping[str, Type]) -> Type:
    """The type of one node's value.

    Args:
        node: to type.
        types: of its inputs, by name.

    Raises:
        GraphError: the inputs do not fit; names the node.
    """
    for name in node.inputs:
        if name not in types:
            raise GraphError(
                f"node {node.name!r} ({node.kind}): inputs: expected nodes that come before it, "
                f"got {name!r}"
            )
    try:
        return node.operation.infer([types[name] for name in node.inputs])
    except GraphError as error:
        raise GraphError(f"node {node.name!r} ({node.kind}): {error}") from error


def infer_types(nodes: Sequence[Node]) -> dict[str, Type]:
    """The type of every node's value.

    Args:
        nodes: each after its inputs.

    Raises:
        GraphError: two nodes have one name, an input comes later or is missing, or does not fit.
    """
    types: dict[str, Type] = {}
    for node in nodes:
        if node.name in types:
            raise GraphError(f"node {node.name!r}: name: expected a new name, got one used before")
        types[node.name] = infer_type(node, types)
    return types
