"""Exchanged factors give the same, and convolutions are found whichever comes first."""

import pytest

from tests.passes import checked
from tvm_equi.graph import GraphBuilder, Pipeline
from tvm_equi.graph.fuse import Fuse
from tvm_equi.graph.swap import Swap

swap = Swap()


@pytest.mark.parametrize("layout", ["mul_ir", "ir_mul"])
@pytest.mark.parametrize("mode", ["uvw", "uvv", "uvuv"])
def test_harmonics_first_becomes_features_first_and_fuses(mode: str, layout: str) -> None:
    build = GraphBuilder(dtype="float64", layout=layout)
    x = build.input("x", "2x0e+2x1o", rows="node")
    y = build.spherical_harmonics("y", build.input("v", "1o", rows="edge"), range(3))
    i, j = (build.index(name, rows="edge", into="node") for name in "ij")
    sent = build.gather("g", x, i)
    paths = [(1, 1, 0, mode, True, 1.0), (2, 1, 1, mode, True, 1.0), (1, 1, 2, mode, True, 1.0)]
    product = build.tensor_product("t", y, sent, "2x0e+2x1o+2x1e", paths)
    graph = build.graph(build.scatter_sum("z", product, j))
    assert "Convolution" not in [node.kind for node in Fuse()(graph).nodes]
    after = checked(swap, graph)
    assert after.node("t").inputs[:2] == ("g", "y")
    assert "Convolution" in [node.kind for node in Pipeline((swap, Fuse()))(graph).nodes]


@pytest.mark.parametrize("mode", ["uvw", "uvu", "uvv", "uuu", "uuw"])
def test_channels_on_both_sides(mode: str) -> None:
    build = GraphBuilder(dtype="float64")
    x = build.input("x", "2x0e+2x1o", rows="node")
    i = build.index("i", rows="edge", into="node")
    y = build.input("y", "2x1o+2x2e", rows="edge")
    paths = [(0, 1, 0, mode, True, 1.0), (0, 0, 1, mode, True, 1.0), (1, 1, 2, mode, True, 1.0)]
    build.tensor_product("t", y, build.gather("g", x, i), "2x1o+2x1o+2x1o", paths)
    after = checked(swap, build.graph("t"))
    assert after.node("t").inputs[0] == "g"
    kinds = [node.kind for node in after.nodes]
    assert ("ComposedWeights" in kinds) == (mode in ("uvw", "uvu", "uvv"))


def test_channels_come_first() -> None:
    build = GraphBuilder(dtype="float64")
    y, x = build.input("y", "0e+1o", rows="node"), build.input("x", "3x1o", rows="node")
    graph = build.graph(build.tensor_product("t", y, x, "3x1e", [(1, 0, 0, "uvv", False, 1.0)]))
    after = checked(swap, graph)
    assert after.node("t").operation.instructions[0].mode == "uvu"
    assert swap(after) == after


def test_what_has_no_other_form_stays() -> None:
    build = GraphBuilder()
    x = build.input("x", "2x0e", rows="node")
    i = build.index("i", rows="edge", into="node")
    y, w = build.input("y", "2x0e", rows="edge"), build.input("w", "4x0e", rows="edge")
    g = build.gather("g", x, i)
    build.tensor_product("a", y, g, "4x0e", [(0, 0, 0, "uvuv", False, 1.0)])
    build.tensor_product("b", y, g, "2x0e", [(0, 0, 0, "uvu", True, 1.0)], weights=w)
    graph = build.graph("a", "b")
    assert swap(graph) == graph
