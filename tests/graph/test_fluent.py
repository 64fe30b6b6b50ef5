"""Diagrams grow from inputs, under names of their own, and stay apart from each other."""

import pytest

from tvm_equi.errors import GraphError
from tvm_equi.graph import Graph, GraphBuilder


def test_a_chain_is_the_graph_of_the_builder() -> None:
    graph = Graph(dtype="float64", layout="ir_mul")
    x = graph.input("x", "2x0e+2x1o", rows="node")
    j, i = (graph.index(name, rows="edge", into="node") for name in "ji")
    found = graph.build(x.gather(j).scatter(i, factor=0.5).linear("3x1o").norm().sum())
    build = GraphBuilder(dtype="float64", layout="ir_mul")
    build.input("x", "2x0e+2x1o", rows="node")
    for name in "ji":
        build.index(name, rows="edge", into="node")
    build.scatter_sum("scatter", build.gather("gather", "x", "j"), "i", factor=0.5)
    build.norm("norm", build.linear("linear", "scatter", "3x1o"))
    assert found == build.graph(build.sum("sum", "norm"))


def test_names() -> None:
    graph = Graph()
    x = graph.input("x", "2x0e", rows="node")
    assert [x.norm().name, x.norm().name, x.norm(name="lengths").name] == [
        "norm",
        "norm_2",
        "lengths",
    ]
    with graph.scope("layers"), graph.scope("0"):
        assert x.linear("1x0e").name == "layers.0.linear"
        assert x.linear("1x0e").name == "layers.0.linear_2"
        assert x.linear("1x0e", name="mix").name == "layers.0.mix"
    assert x.linear("1x0e").name == "linear"
    assert "layers.0.mix.weight" in graph.builder.types
    with pytest.raises(GraphError, match="node 'lengths': name: expected a new name"):
        x.norm(name="lengths")


def test_a_scope_ends_with_an_error() -> None:
    graph = Graph()
    x = graph.input("x", "2x1o", rows="node")
    with pytest.raises(GraphError, match=r"node 'inside.activation' \(Activation\)"):  # noqa: SIM117
        with graph.scope("inside"):
            x.activation("silu")
    assert x.norm().name == "norm"


def test_values_of_another_graph_are_refused() -> None:
    one, two = (Graph().input("x", "2x0e", rows="node") for _ in range(2))
    for call in (lambda: one + two, lambda: one.concat(two), lambda: one.tensor_product(two, "0e")):
        with pytest.raises(GraphError, match="expected a value of the same Graph, got 'x' of ano"):
            call()
    with pytest.raises(GraphError, match="build: outputs: expected a value of a Graph, got 'x'"):
        one.graph.build("x")
    with pytest.raises(GraphError, match="expected a value of a Graph, got 2"):
        one + 2
