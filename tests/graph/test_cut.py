"""Cutting channels is the same as multiplying them by zero."""

import numpy as np
import pytest

from tests.passes import random_arrays
from tvm_equi.graph import GraphBuilder, interpret
from tvm_equi.graph.channels import channel_classes
from tvm_equi.graph.cut import cut_channels
from tvm_equi.graph.instructions import fully_connected


@pytest.mark.parametrize("layout", ["mul_ir", "ir_mul"])
def test_every_mode_and_biases(layout: str) -> None:
    build = GraphBuilder(dtype="float64", layout=layout)
    x = build.linear("a", build.input("x", "3x0e+2x1o", rows="node"), "4x0e+3x1o")
    y = build.linear("b", build.input("y", "3x0e", rows="node"), "4x0e", biases=True)
    out, paths = fully_connected("4x0e+3x1o", "4x0e", "2x0e+2x1o")
    build.tensor_product("uvw", x, y, out, paths)
    build.tensor_product("uuu", x, y, "4x0e", [(0, 0, 0, "uuu", True, 1.0)])
    both = build.concat("cat", "uvw", "uuu", build.slice("part", x, [(0, 1, 4)]))
    graph = build.graph(build.linear("z", both, "2x0e+1x1o"))
    arrays = random_arrays(graph, 0)
    classes = channel_classes(graph)
    dead = {classes.roots("a", 0)[2], classes.roots("a", 1)[0], classes.roots("uvw", 0)[1]}
    assert not any(map(classes.is_locked, dead))
    kept = {
        place: tuple(u for u, root in enumerate(classes.roots(*place)) if root not in dead)
        for place in classes.starts
    }
    # What goes is made zero first, where it is made.
    zeroed = dict(arrays)
    matrices = {"a.weight": ((3, 4), [2]), "b.weight": ((3, 4), [2])}
    for name, (shape, columns) in matrices.items():
        block = zeroed[name][: 3 * 4].reshape(shape).copy()
        block[:, columns] = 0
        zeroed[name] = np.concatenate([block.reshape(-1), zeroed[name][3 * 4 :]])
    vectors = zeroed["a.weight"][12:].reshape(2, 3).copy()
    vectors[:, 0] = 0
    zeroed["a.weight"] = np.concatenate([zeroed["a.weight"][:12], vectors.reshape(-1)])
    zeroed["b.bias"] = zeroed["b.bias"] * np.array([1, 1, 0, 1])
    first = zeroed["uvw.weight"][: 4 * 4 * 2].reshape(16, 2).copy()
    first[:, 1] = 0
    zeroed["uvw.weight"] = np.concatenate([first.reshape(-1), zeroed["uvw.weight"][32:]])
    smaller, values = cut_channels(graph, zeroed, kept)
    assert smaller.types["a"].irreps == "3x0e+2x1o"
    assert smaller.types["uuu"].irreps == "3x0e"
    assert smaller.types["part"].irreps == "2x0e"
    wanted, got = interpret(graph, zeroed), interpret(smaller, {**arrays, **values})
    np.testing.assert_allclose(got["z"], wanted["z"], atol=1e-12)
