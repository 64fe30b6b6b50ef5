"""Parameters lose what nothing reads, and the function stays."""

import numpy as np
import pytest

from tests.passes import random_arrays
from tvm_equi.graph import GraphBuilder, Pipeline, interpret
from tvm_equi.graph.compact import compact, cut_columns
from tvm_equi.graph.fuse import Fuse
from tvm_equi.graph.instructions import channelwise
from tvm_equi.graph.prune import Prune


@pytest.mark.parametrize("radial", [False, True])
def test_slices_and_columns_go(radial: bool) -> None:
    build = GraphBuilder(dtype="float64")
    x = build.input("x", "2x0e+2x1o", rows="node")
    y = build.spherical_harmonics("y", build.input("v", "1o", rows="edge"), range(2))
    i = build.index("i", rows="edge", into="node")
    out, paths = channelwise("2x0e+2x1o", "0e+1o", "0e+1o")
    w = build.mlp("fc", build.input("r", "3x0e", rows="edge"), [3, 5, 2 * len(paths)])
    sent = build.gather("g", x, i)
    t = build.scatter_sum("s", build.tensor_product("t", sent, y, out, paths, weights=w), i)
    graph = build.graph(build.linear("z", build.linear("l", t, "3x0e+1x1o"), "1x0e"))
    pruned = Pipeline((Prune(), Fuse(radial=radial)))(graph)
    arrays = random_arrays(pruned, 0)
    smaller, values = compact(pruned, arrays)
    assert smaller.types["fc.layer1.weight"].dim == 5 * 4
    assert smaller.types["l.weight"].dim == len(values["l.weight"]) == 12
    assert not any(node.kind == "Slice" for node in smaller.nodes)
    assert set(values) == set(smaller.parameters)
    before, after = interpret(pruned, arrays), interpret(smaller, {**arrays, **values})
    np.testing.assert_allclose(after["z"], before["z"], atol=1e-12)
    assert compact(smaller, values)[0] == smaller


def test_what_several_read_stays() -> None:
    build = GraphBuilder()
    w = build.parameter("w", 4)
    x = build.input("x", "2x0e", rows="node")
    layer = build.graph(build.linear("l", x, "1x0e")).node("l").operation
    build.add("a", layer, x, build.slice("first", w, [(0, 0, 2)]))
    build.add("b", layer, x, build.slice("second", w, [(0, 1, 3)]))
    graph = build.graph("a", "b")
    assert compact(graph, random_arrays(graph, 0))[0] == graph


def test_columns() -> None:
    assert cut_columns(np.arange(6.0), 2, np.array([0, 2])).tolist() == [0, 2, 3, 5]
