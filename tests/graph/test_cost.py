"""Counts, against counts by hand and those of the literature."""

import pytest

from tvm_equi.algebra.derivative import vjp
from tvm_equi.graph import GraphBuilder
from tvm_equi.graph.cost import Cost, kernel_cost
from tvm_equi.graph.fuse import Fuse
from tvm_equi.graph.instructions import channelwise
from tvm_equi.graph.operations import TensorProduct
from tvm_equi.graph.regions import kernel_of


def channelwise_product(features: str, out: str) -> tuple[GraphBuilder, Cost]:
    build = GraphBuilder()
    x = build.input("x", features, rows="edge")
    y = build.input("y", "0e+1o+2e+3o", rows="edge")
    irreps, instructions = channelwise(features, "0e+1o+2e+3o", out)
    num = sum(build.value(x).segments[ins[0]].mul for ins in instructions)
    w = build.input("w", f"{num}x0e", rows="edge")
    name = build.tensor_product("tp", x, y, irreps, instructions, weights=w)
    return build, build.graph(name).cost(name)


def test_combine_first_is_counted_once_for_all_channels() -> None:
    out = "0e+1o+2e+3o"
    _, many = channelwise_product("128x0e+128x1o+128x2e+128x3o", out)
    assert (many.paths, many.nonzeros) == (23, 353)
    _, more = channelwise_product("256x0e+256x1o+256x2e+256x3o", out)
    per_channel = (more.multiply_adds - many.multiply_adds) / 128
    assert per_channel == pytest.approx(386, abs=30)  # 311 multiply-adds, and the weights


def test_bytes_by_hand() -> None:
    build, cost = channelwise_product("2x0e", "1o")
    assert cost.row_bytes == 4 * (2 + 16 + 2 + 6)
    assert build.graph("tp").cost("x") == Cost()


def test_shared_weights_count_per_call() -> None:
    build = GraphBuilder(dtype="float64")
    x = build.input("x", "4x0e+4x1o", rows="node")
    cost = build.graph(build.linear("z", x, "2x1o")).cost("z")
    assert cost == Cost(1, 3, 4 * 2 * 3, 8 * (16 + 6), 8 * 8)


def test_derivatives_cost_more() -> None:
    build, _ = channelwise_product("4x0e+4x1o", "0e+1o")
    operation = build.graph("tp").node("tp").operation
    assert isinstance(operation, TensorProduct)
    kernel = kernel_of(operation)
    forward, backward = kernel_cost(kernel), kernel_cost(vjp(kernel, (0, 1, 2), (0,)))
    assert forward.multiply_adds < backward.multiply_adds < 10 * forward.multiply_adds
    assert backward.paths == 3 * forward.paths


def test_scalar_operations() -> None:
    build = GraphBuilder()
    x = build.input("x", "8x0e", rows="edge")
    build.mlp("m", x, [8, 16, 4])
    build.combine("c", (1, "m"), (2, "m"))
    graph = build.graph("c")
    assert graph.cost("m").multiply_adds == 8 * 16 + 16 * 4
    assert graph.cost("c").multiply_adds == 8
    r = build.input("r", "0e", rows="node")
    assert build.graph(build.cutoff("k", r, cutoff=3.0)).cost("k").multiply_adds == 4


def fused(weights: str, fuse: Fuse) -> Cost:
    """The cost of a convolution of 4x0e with a vector per edge, and 6 radial features."""
    build = GraphBuilder()
    x, v = build.input("x", "4x0e", rows="node"), build.input("v", "1o", rows="edge")
    y = build.spherical_harmonics("y", v, [1])
    j, i = (build.index(name, rows="edge", into="node") for name in "ji")
    build.gather("g", x, j)
    w = None
    if weights == "row":
        w = build.mlp("fc", build.input("h", "6x0e", rows="edge"), [6, 4])
    mode, out = ("uvu", "4x1o") if weights == "row" else ("uvw", "2x1o")
    build.tensor_product("t", "g", y, out, [(0, 0, 0, mode, True, 1.0)], weights=w)
    return fuse(build.graph(build.scatter_sum("z", "t", i))).cost("z")


def test_a_convolution_has_no_values_of_edges_to_write() -> None:
    whole = fused("row", Fuse())
    assert (whole.paths, whole.nonzeros) == (1, 3)
    assert whole.row_bytes == 4 * (4 + 3 + 4) + 2 * 8
    assert (whole.node_bytes, whole.shared_bytes, whole.node_multiply_adds) == (4 * 12, 0, 0)


def test_what_is_computed_inside_is_counted() -> None:
    whole, inside = fused("row", Fuse()), fused("row", Fuse(radial=True, harmonics=True))
    assert inside.multiply_adds == whole.multiply_adds + 6 * 4 + 2 * 3
    assert inside.row_bytes == whole.row_bytes + 4 * (6 - 4)
    assert inside.shared_bytes == 4 * 6 * 4


def test_shared_matrices_act_on_nodes() -> None:
    cost = fused("shared", Fuse())
    assert cost.node_multiply_adds in (4 * 2, 4 * 2 * 3)  # before edges, or after them
    assert cost.shared_bytes == 4 * 4 * 2
    assert cost.multiply_adds < 40
