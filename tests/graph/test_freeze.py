"""Folded constants: the same function, from fewer operations."""

import numpy as np

from tests.passes import assert_equivariant, assert_same_values, random_arrays
from tvm_equi.graph import GraphBuilder, TensorProductGraph, interpret
from tvm_equi.graph.freeze import freeze
from tvm_equi.graph.instructions import fully_connected
from tvm_equi.graph.order import Order


def frozen(graph: TensorProductGraph) -> tuple[TensorProductGraph, dict]:
    arrays = random_arrays(graph, 0)
    after, values = freeze(graph, arrays)
    both = {**arrays, **values}
    assert set(values) == set(after.parameters)
    assert all(len(values[name]) == after.types[name].dim for name in values)
    wanted, got = interpret(graph, arrays), interpret(after, both)
    for name in graph.outputs:
        np.testing.assert_allclose(got[name], wanted[name], rtol=1e-10, atol=1e-10)
    assert_equivariant(after, both)
    again, same = freeze(after, values)
    assert again == after
    assert all(np.array_equal(same[name], values[name]) for name in values)
    return after, values


def test_merged_layers_become_one_parameter() -> None:
    build = GraphBuilder(dtype="float64")
    x = build.input("x", "8x0e+8x1o", rows="node")
    graph = build.graph(
        build.linear("b", build.linear("a", x, "8x0e+8x1o"), "8x0e+8x1o", biases=True)
    )
    merged = Order()(graph)
    assert "ComposedWeights" in [node.kind for node in merged.nodes]
    after, values = frozen(merged)
    assert [node.kind for node in after.nodes if node.inputs] == ["Linear"]
    assert set(values) == {"b.merged", "b.bias"}
    assert all(path.coefficient == 1.0 for path in after.node("b").operation.paths)


def test_factors_of_sums_and_paths() -> None:
    build = GraphBuilder(dtype="float64")
    x = build.input("x", "2x0e+2x1o", rows="edge")
    y = build.input("y", "2x0e+1o", rows="edge")
    build.input("n", "0e", rows="node")
    i = build.index("i", rows="edge", into="node")
    out, paths = fully_connected("2x0e+2x1o", "2x0e+1x1o", "3x0e+1x1o")
    t = build.tensor_product("t", x, y, out, paths)
    z = build.linear("z", build.scatter_sum("s", t, i, factor=0.1), "2x0e")
    after, _ = frozen(build.graph(z))
    assert after.node("s").operation.factor == 1.0
    assert all(ins.coefficient == 1.0 for ins in after.node("t").operation.instructions)


def test_shared_parameters_and_outputs_stay() -> None:
    build = GraphBuilder(dtype="float64")
    x = build.input("x", "2x0e", rows="node")
    build.linear("a", x, "2x0e")
    build.add("b", build.graph("a").node("a").operation, "a", "a.weight")
    kept = build.slice("kept", "a.weight", [(0, 0, 2)])
    graph = build.graph("b", kept)
    after, _ = frozen(graph)
    assert after.node("kept").kind == "Slice"
    assert after.node("a").operation.paths[0].coefficient != 1.0
    assert_same_values(graph, after, random_arrays(graph, 0))
