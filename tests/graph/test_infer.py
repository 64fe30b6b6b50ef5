"""Types of all values, and errors that name the node."""

import pytest

from tvm_equi.errors import GraphError
from tvm_equi.graph.infer import infer_types
from tvm_equi.graph.node import Node
from tvm_equi.graph.operations import Gather, Input, Norm
from tvm_equi.graph.types import IndexType, ValueType, canonical_irreps

X = Node("x", Input(ValueType(canonical_irreps("4x1o"), "node")))
INDEX = Node("i", Input(IndexType("edge", "node")))


def test_types_follow_the_nodes() -> None:
    types = infer_types([X, INDEX, Node("g", Gather(), ("x", "i")), Node("n", Norm(), ("g",))])
    assert {name: str(kind) for name, kind in types.items()} == {
        "x": "4x1o [node]",
        "i": "index edge -> node",
        "g": "4x1o [edge]",
        "n": "4x0e [edge]",
    }


@pytest.mark.parametrize(
    ("nodes", "message"),
    [
        ([X, X], "node 'x': name: expected a new name, got one used before"),
        (
            [Node("n", Norm(), ("x",)), X],
            "node 'n' (Norm): inputs: expected nodes that come before it, got 'x'",
        ),
        (
            [X, INDEX, Node("g", Gather(), ("i", "i"))],
            "node 'g' (Gather): x: expected a value, got index edge -> node",
        ),
    ],
)
def test_errors_name_the_node(nodes: list[Node], message: str) -> None:
    with pytest.raises(GraphError) as error:
        infer_types(nodes)
    assert str(error.value) == message
