"""Moves of linear layers: exact, and back again."""

import pytest

from tests.passes import assert_equivariant, assert_same_values, random_arrays
from tvm_equi.graph import GraphBuilder, TensorProductGraph
from tvm_equi.graph.moves import MOVES, Move, linear_over_gather, linear_over_product
from tvm_equi.graph.operations import Slice
from tvm_equi.graph.rewriting import View


def moved(move: Move, graph: TensorProductGraph, name: str) -> list[TensorProductGraph]:
    view = View.of(graph.nodes, graph.outputs)
    found = list(move(graph, view, graph.node(name)))
    arrays = random_arrays(graph, 3)
    for after in found:
        assert_same_values(graph, after, arrays)
        assert_equivariant(after, arrays)
    return found


def base(layout: str = "mul_ir") -> GraphBuilder:
    build = GraphBuilder(dtype="float64", layout=layout)
    build.input("x", "3x0e+2x1o", rows="node")
    build.index("i", rows="edge", into="node")
    build.spherical_harmonics("y", build.input("v", "1o", rows="edge"), range(3))
    return build


@pytest.mark.parametrize("biases", [False, True])
def test_gather(biases: bool) -> None:
    build = base()
    build.linear("z", build.gather("g", "x", "i"), "4x0e+1x1o", biases=biases)
    (after,) = moved(linear_over_gather, build.graph("z"), "z")
    assert after.node("z").kind == "Gather"
    (back,) = moved(linear_over_gather, after, "z")
    assert back.node("z").kind == "Linear"


def test_sum_leaves_biases_alone() -> None:
    build = base()
    edges = build.gather("g", "x", "i")
    build.scatter_sum("a", build.linear("l", edges, "2x0e+1x1o"), "i", factor=0.5)
    build.scatter_sum("b", build.linear("m", edges, "2x0e", biases=True), "i")
    graph = build.graph("a", "b")
    (after,) = moved(MOVES[1], graph, "a")
    assert after.node("a").kind == "Linear"
    (back,) = moved(MOVES[1], after, "a")
    assert back.node("a").kind == "ScatterSum"
    assert moved(MOVES[1], graph, "b") == []


@pytest.mark.parametrize("layout", ["mul_ir", "ir_mul"])
def test_product(layout: str) -> None:
    build = base(layout)
    paths = [(0, 0, 0, "uvu", False, 1), (1, 1, 1, "uvu", False, 1), (0, 1, 2, "uvu", False, 1)]
    build.tensor_product("t", build.gather("g", "x", "i"), "y", "3x0e+2x0e+3x1o", paths)
    graph = build.graph(build.linear("z", "t", "2x0e+1x1o"))
    (after,) = moved(linear_over_product, graph, "z")
    assert after.node("z").kind == "TensorProduct"
    (back,) = moved(linear_over_product, after, "z")
    assert back.node("z").kind == "Linear"


def test_product_of_a_layer_that_several_paths_read_slices_its_weights() -> None:
    build = base()
    mixed = build.linear("l", build.gather("g", "x", "i"), "2x0e+2x1o")
    paths = [(0, 1, 0, "uvu", False, 1), (1, 0, 0, "uvu", False, 1), (0, 0, 1, "uvu", False, 1)]
    graph = build.graph(build.tensor_product("t", mixed, "y", "2x1o+2x0e", paths))
    (after,) = moved(linear_over_product, graph, "t")
    assert isinstance(after.node("t.weight").operation, Slice)


def test_weights_between_are_not_passed() -> None:
    build = base()
    sent = build.gather("g", "x", "i")
    build.tensor_product("t", sent, "y", "3x0e", [(0, 0, 0, "uvu", True, 1)])
    assert moved(linear_over_product, build.graph(build.linear("z", "t", "1x0e")), "z") == []
