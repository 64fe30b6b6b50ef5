"""Nodes are data."""

from tvm_equi.graph.node import Node
from tvm_equi.graph.operations import Norm


def test_node() -> None:
    node = Node("length", Norm(), ("x",))
    assert node.kind == "Norm"
    assert node == Node("length", Norm(), ("x",))
    assert hash(node) == hash(Node("length", Norm(), ("x",)))
