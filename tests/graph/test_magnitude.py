"""Sizes: estimates against measurements on normal data, and scores by hand."""

import numpy as np
import pytest

from tests.passes import COUNTS, random_arrays
from tvm_equi.graph import GraphBuilder, TensorProductGraph
from tvm_equi.graph.instructions import channelwise
from tvm_equi.graph.magnitude import magnitudes, path_weights


def many_rows(graph: TensorProductGraph, monkeypatch: pytest.MonkeyPatch) -> dict:
    """Random arrays with so many rows that means are near what is expected."""
    monkeypatch.setitem(COUNTS, "node", 4000)
    return random_arrays(graph, 0)


@pytest.mark.parametrize("layout", ["mul_ir", "ir_mul"])
def test_estimates_are_what_is_measured(monkeypatch: pytest.MonkeyPatch, layout: str) -> None:
    build = GraphBuilder(dtype="float64", layout=layout)
    x = build.input("x", "3x0e+2x1o", rows="node")
    y = build.spherical_harmonics("y", build.input("v", "1o", rows="node"), range(3))
    out, paths = channelwise("3x0e+2x1o", "0e+1o+2e", "0e+1o+2e")
    build.tensor_product("t", x, y, out, paths)
    build.linear("l", x, "4x0e+3x1o", biases=True)
    other = build.input("other", "3x0e+2x1o", rows="node")  # sizes add up if independent
    build.combine("sum", (0.5, "l"), (2.0, build.linear("m", other, "4x0e+3x1o")))
    build.concat("cat", build.slice("part", "l", [(1, 1, 3)]), x)
    graph = build.graph("t", "sum", "cat")
    arrays = many_rows(graph, monkeypatch)
    parameters = {name: arrays[name] for name in graph.parameters}
    inputs = {name: arrays[name] for name in graph.inputs}
    estimated = magnitudes(graph, parameters)
    measured = magnitudes(graph, parameters, inputs)
    for name in ("t", "l", "sum", "cat", "y"):
        for mine, theirs in zip(estimated.sizes[name], measured.sizes[name], strict=True):
            np.testing.assert_allclose(mine, theirs, rtol=0.12)


def test_scores_by_hand() -> None:
    build = GraphBuilder(dtype="float64")
    x, y = build.input("x", "2x0e+2x1o", rows="node"), build.input("y", "0e", rows="node")
    paths = [(0, 0, 0, "uvu", True, 1.0), (1, 0, 1, "uvu", True, 1.0)]
    graph = build.graph(
        build.linear("z", build.tensor_product("t", x, y, "2x0e+2x1o", paths), "0e")
    )
    values = {"t.weight": np.array([3.0, -4.0, 1.0, 2.0]), "z.weight": np.array([1.0, 2.0])}
    found = magnitudes(graph, values)
    scores = found.product_scores(graph.node("t"))
    np.testing.assert_allclose(scores[0], [3, 4])
    np.testing.assert_allclose(scores[1], [3**0.5, 2 * 3**0.5])
    (score,) = found.linear_scores(graph.node("z"))
    np.testing.assert_allclose(score, [np.hypot(3, 8) / 2**0.5])
    assert found.product_scores(graph.node("z")) == found.linear_scores(graph.node("t")) == []


def test_weights_of_a_perceptron_are_columns() -> None:
    build = GraphBuilder(dtype="float64")
    x, y = build.input("x", "2x0e", rows="node"), build.input("y", "0e", rows="node")
    w = build.mlp("fc", build.input("r", "4x0e", rows="node"), [4, 2])
    graph = build.graph(
        build.tensor_product("t", x, y, "2x0e", [(0, 0, 0, "uvu", True, 1.0)], weights=w)
    )
    matrix = np.arange(8.0)
    found = magnitudes(graph, {"fc.layer0.weight": matrix})
    (block,) = path_weights(found, graph.node("t"), graph.node("t").operation)
    wanted = np.sqrt((matrix.reshape(4, 2) ** 2).mean(axis=0))
    np.testing.assert_allclose(block[:, 0], wanted)
    np.testing.assert_allclose(found.product_scores(graph.node("t"))[0], wanted)
