"""Products with scalars, against torch."""

import numpy as np
import pytest
import torch

from tvm_equi.errors import GraphError
from tvm_equi.graph import GraphBuilder, interpret
from tvm_equi.graph.scale import add_norm_activation, add_scale


def test_scale_per_row_and_per_channel() -> None:
    build = GraphBuilder(dtype="float64")
    x = build.input("x", "2x0o+3x1o", rows="node")
    one, each = (build.input(n, i, rows="node") for n, i in (("a", "0e"), ("b", "2x0e+3x0e")))
    graph = build.graph(add_scale(build, "by_row", x, one), add_scale(build, "by_channel", x, each))
    given = {
        n: np.random.default_rng(0).normal(size=(4, d)) for n, d in (("x", 11), ("a", 1), ("b", 5))
    }
    found = interpret(graph, given)
    np.testing.assert_allclose(found["by_row"], given["x"] * given["a"], atol=1e-14)
    factors = np.concatenate([given["b"][:, :2], np.repeat(given["b"][:, 2:], 3, axis=1)], 1)
    np.testing.assert_allclose(found["by_channel"], given["x"] * factors, atol=1e-14)


def test_norm_activation() -> None:
    build = GraphBuilder(dtype="float64")
    x = build.input("x", "2x0o+3x1o", rows="node")
    graph = build.graph(add_norm_activation(build, "z", x, "sigmoid"))
    rows = torch.randn(4, 11, dtype=torch.float64)
    scalars, vectors = rows[:, :2], rows[:, 2:].reshape(4, 3, 3)
    turned = vectors * torch.sigmoid(vectors.norm(dim=2, keepdim=True))
    expected = torch.cat([scalars * torch.sigmoid(scalars.abs()), turned.reshape(4, 9)], 1)
    found = interpret(graph, {"x": rows.numpy()})["z"]
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-14)


def test_other_factors() -> None:
    build = GraphBuilder()
    x, y = (build.input(name, "2x1o", rows="node") for name in "xy")
    with pytest.raises(GraphError, match=r"node 'z' \(scale\): factors: expected 1x0e or 2x0e, go"):
        add_scale(build, "z", x, y)
