"""Products of a value with itself: what vanishes is zero, what merges is the same."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.passes import checked, random_arrays
from tvm_equi.graph import GraphBuilder, TensorProductGraph, interpret
from tvm_equi.graph.instructions import fully_connected
from tvm_equi.graph.prune import Prune
from tvm_equi.graph.symmetrize import Symmetrize
from tvm_equi.graph.totals import total_cost

symmetrize = Symmetrize()


def square(irreps: str, mode: str, has_weight: bool, out: str | None = None) -> TensorProductGraph:
    build = GraphBuilder(dtype="float64")
    x = build.input("x", irreps, rows="node")
    out, paths = fully_connected(irreps, irreps, out or irreps)
    return build.graph(
        build.tensor_product("t", x, x, out, [(*p[:3], mode, has_weight, 1.0) for p in paths])
    )


def test_cross_product_of_a_vector_with_itself() -> None:
    graph = square("3x1o", "uuu", True, "3x1e+3x0e+3x2e")
    product = symmetrize(graph).node("t").operation
    assert [ins.coefficient == 0 for ins in product.instructions] == [True, False, False]
    after = Prune()(checked(symmetrize, graph))
    assert len(after.node("t").operation.instructions) == 2
    assert not np.any(interpret(graph, random_arrays(graph, 0))["t"][:, :9].round(12))


def test_a_full_product_of_many_channels_keeps_its_odd_part() -> None:
    graph = square("2x1o", "uvw", True, "2x1e")
    assert symmetrize(graph) == graph  # channels 0 and 1 have a cross product
    one = square("1x1o", "uvw", True, "2x1e")
    assert symmetrize(one).node("t").operation.instructions[0].coefficient == 0


@pytest.mark.parametrize("mode", ["uuu", "uvw"])
@pytest.mark.parametrize("has_weight", [False, True])
def test_equal_paths_merge(mode: str, has_weight: bool) -> None:
    if mode == "uvw" and not has_weight:
        return
    graph = square("2x0e+2x1o+2x2e", mode, has_weight)
    after = checked(symmetrize, graph)
    pruned = Prune()(after)
    before = graph.node("t").operation.instructions
    assert len(after.node("t").operation.instructions) < len(before)
    assert total_cost(pruned) < total_cost(graph)


def test_weights_per_row_stay() -> None:
    build = GraphBuilder(dtype="float64")
    x = build.input("x", "2x0e+2x1o", rows="node")
    w = build.input("w", "4x0e", rows="node")
    paths = [(0, 1, 0, "uuu", True, 1.0), (1, 0, 0, "uuu", True, 1.0)]
    graph = build.graph(build.tensor_product("t", x, x, "2x1o", paths, weights=w))
    assert symmetrize(graph) == graph
    plain = [(0, 1, 0, "uuu", False, 1.0)]
    other = build.graph(build.tensor_product("s", x, build.concat("c", x), "2x1o", plain))
    assert symmetrize(other) == other


def test_opposite_paths_cancel() -> None:
    build = GraphBuilder(dtype="float64")
    x = build.input("x", "2x1o+2x1e", rows="node")
    paths = [(0, 1, 0, "uuu", False, 1.0), (1, 0, 0, "uuu", False, 1.0)]
    graph = build.graph(build.tensor_product("t", x, x, "2x1o", paths))
    after = checked(symmetrize, graph)
    (ins,) = after.node("t").operation.instructions
    assert ins.coefficient == 0  # a x b + b x a
    assert not np.any(interpret(graph, random_arrays(graph, 0))["t"].round(12))


IRREPS = st.lists(
    st.tuples(st.integers(1, 2), st.sampled_from(["0e", "1o", "1e", "2e"])), min_size=1, max_size=3
).map(lambda items: "+".join(f"{mul}x{ir}" for mul, ir in items))


@given(IRREPS, st.integers(1, 2), st.integers(0, 99))
def test_any_square(irreps: str, mul: int, seed: int) -> None:
    checked(symmetrize, square(irreps, "uvw", True, f"{mul}x0e+{mul}x1e+{mul}x1o"), seed)
