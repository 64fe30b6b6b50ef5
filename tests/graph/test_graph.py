"""Graphs: well formed or not made at all; equal by content; a table."""

import networkx
import pytest

from tvm_equi.errors import GraphError
from tvm_equi.graph import GraphBuilder, TensorProductGraph
from tvm_equi.graph.node import Node
from tvm_equi.graph.operations import Input, Norm, ScatterSum
from tvm_equi.graph.types import IndexType, ValueType, canonical_irreps

X = Node("x", Input(ValueType(canonical_irreps("4x1o"), "node")))


def square() -> TensorProductGraph:
    build = GraphBuilder()
    x = build.input("x", "2x1o", rows="node")
    return build.graph(build.tensor_product("xx", x, x, "2x0e", [(0, 0, 0, "uuu", False, 1.0)]))


def test_equal_by_content() -> None:
    assert square() == square()
    assert hash(square()) == hash(square())
    assert square().key() == square().key()
    assert len(square().key()) == 64
    other = TensorProductGraph(square().nodes, ("x",))
    assert square() != other
    assert square().key() != other.key()


def test_network_is_frozen_and_has_slots() -> None:
    network = square().network
    assert network.edges["x", "xx"]["slots"] == (0, 1)
    with pytest.raises(networkx.NetworkXError, match="Frozen"):
        network.add_node("more")


def test_names() -> None:
    build = GraphBuilder()
    x = build.input("x", "2x1o", rows="node")
    graph = build.graph(build.linear("z", x, "2x1o"))
    assert (graph.inputs, graph.parameters, graph.outputs) == (("x",), ("z.weight",), ("z",))
    assert graph.node("z").inputs == ("x", "z.weight")


def test_table() -> None:
    lines = repr(square()).splitlines()
    assert lines[0].split() == [
        "node", "operation", "reads", "value", "paths", "nnz", "multiply-adds", "bytes",
    ]  # fmt: skip
    assert lines[2].split()[:3] == ["xx", "TensorProduct", "x,"]
    assert lines[2].split()[-4:] == ["1", "3", "12", "56"]
    assert lines[3] == "outputs: xx"


@pytest.mark.parametrize(
    ("nodes", "outputs", "message"),
    [
        ((X,), (), "graph: outputs: expected at least one, got none"),
        ((X,), ("y",), "graph: outputs: expected one of 'x', got 'y'"),
        (
            (Node("i", Input(IndexType("edge", "node"))),),
            ("i",),
            "graph: outputs: expected values, got 'i': index edge -> node",
        ),
        (
            (
                X,
                Node("batch", Input(IndexType("node", "graph"))),
                Node("total", ScatterSum(), ("x", "batch")),
            ),
            ("total",),
            "node 'total': rows: expected an Input with rows 'graph', which tells how many there "
            "are, got none",
        ),
        ((X, Node("n", Norm(), ())), ("n",), "node 'n' (Norm): inputs: expected 1 (x), got 0"),
    ],
)
def test_not_well_formed(nodes: tuple[Node, ...], outputs: tuple[str, ...], message: str) -> None:
    with pytest.raises(GraphError) as error:
        TensorProductGraph(nodes, outputs)
    assert str(error.value) == message


def test_unknown_node() -> None:
    with pytest.raises(GraphError, match="graph: node: expected one of 'x', 'xx', got 'xy'"):
        square().node("xy")
