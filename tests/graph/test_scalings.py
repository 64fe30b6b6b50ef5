"""Scalars per row move to any leg, exactly."""

from tests.passes import assert_equivariant, assert_same_values, random_arrays
from tvm_equi.graph import GraphBuilder
from tvm_equi.graph.operations import TensorProduct
from tvm_equi.graph.rewriting import View
from tvm_equi.graph.scalings import (
    scaling,
    scaling_factors,
    scaling_inwards,
    scaling_outwards,
)


def test_every_place_gives_the_same() -> None:
    build = GraphBuilder(dtype="float64")
    x, v = build.input("x", "3x0e+2x1o", rows="node"), build.input("v", "1o", rows="node")
    a = build.input("a", "0e", rows="node")
    y = build.spherical_harmonics("y", v, range(3))
    paths = [(0, 1, 0, "uvu", False, 1), (1, 1, 1, "uvu", False, 1), (1, 2, 2, "uvu", False, 1)]
    build.tensor_product("t", x, y, "3x1o+2x0e+2x1o", paths)
    build.linear("l", "t", "2x0e+1x1o")
    scale = [(1, 0, 1, "uvu", False, 3.0), (0, 0, 0, "uvu", False, 0.5)]
    graph = build.graph(build.tensor_product("z", "l", a, "2x0e+1x1o", scale))
    view = View.of(graph.nodes, graph.outputs)
    found = list(scaling_inwards(graph, view, graph.node("z")))
    assert [after.node("z").kind for after in found] == ["Linear"] * 3
    arrays = random_arrays(graph, 1)
    for after in found:
        assert_same_values(graph, after, arrays)
        assert_equivariant(after, arrays)
    inside = found[1]
    product = next(node for node in inside.nodes if node.inputs[1:] == ("z.scaled",))
    assert scaling_factors(inside.node("z.scaled").operation) == (1.0, 1.0, 1.0)
    view = View.of(inside.nodes, inside.outputs)
    (back,) = scaling_outwards(inside, view, product)
    assert_same_values(graph, back, arrays)
    assert [node.inputs[1] for node in back.nodes if node.kind == "TensorProduct"] == ["y", "a"]


def test_what_is_no_scaling() -> None:
    unit = scaling("2x0e+1x1o", "mul_ir")
    assert scaling_factors(unit) == (1.0, 1.0)
    two = unit.instructions[:1]
    assert scaling_factors(TensorProduct("2x0e+1x1o", "1x0e", "2x0e+1x1o", two)) is None
    assert scaling_factors(TensorProduct("2x0e", "2x0e", "2x0e", ())) is None
    assert scaling_factors(TensorProduct("2x0e", "1x0o", "2x0o", two)) is None
