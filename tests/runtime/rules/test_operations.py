"""Every operation, against the interpreter; in torch, as tests/jax/test_library.py is in JAX."""

import numpy as np
import pytest
import torch

from tests.operation_graphs import GRAPHS, Make
from tvm_equi.algebra.contraction import LAYOUTS, Layout
from tvm_equi.graph import DEFAULT_PIPELINE, GraphBuilder, TensorProductGraph, interpret
from tvm_equi.graph.fuse import regions
from tvm_equi.graph.instructions import channelwise
from tvm_equi.graph.operations import OPERATIONS
from tvm_equi.nn.graph_compare import random_inputs
from tvm_equi.nn.graph_module import GraphModule


def assert_runs_like_the_interpreter(graph: TensorProductGraph) -> None:
    module = GraphModule(graph)
    inputs = random_inputs(module, 5, seed=1)
    with torch.no_grad():
        found = module(**inputs)
    found = found if isinstance(found, dict) else {graph.outputs[0]: found}
    arrays = {name: value.numpy() for name, value in inputs.items()}
    arrays |= {name: value.detach().numpy() for name, value in module.named_parameters()}
    for name, expected in interpret(graph, arrays).items():
        np.testing.assert_allclose(found[name].numpy(), expected, atol=1e-10)


def test_every_operation_is_among_the_graphs() -> None:
    used = {type(node.operation).__name__ for make in GRAPHS for node in make("mul_ir").nodes}
    assert used == set(OPERATIONS)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("make", GRAPHS)
def test_every_operation(make: Make, layout: Layout) -> None:
    assert_runs_like_the_interpreter(make(layout))


def test_no_live_path_gives_zeros() -> None:
    build = GraphBuilder(dtype="float64")
    x = build.input("x", "2x0e", rows="node")
    build.tensor_product("tp", x, x, "2x1o", [(0, 0, 0, "uuu", False, 1.0)])
    build.linear("lin", "tp", "2x0e", instructions=[])
    assert_runs_like_the_interpreter(build.graph("tp", "lin"))


def test_some_columns_of_a_perceptron() -> None:
    build = GraphBuilder(dtype="float64")
    x, y = build.input("x", "2x0e+2x1o", rows="edge"), build.input("y", "1o", rows="edge")
    w = build.mlp("fc", build.input("b", "3x0e", rows="edge"), [3, 4])
    paths = [(0, 0, 1, "uvu", True, 1.0), (1, 0, 0, "uvu", True, 1.0)]
    build.tensor_product("t", x, y, "2x0e+2x1o", paths, weights=w)
    graph = DEFAULT_PIPELINE(build.graph(build.linear("z", "t", "1x0e")))
    assert graph.types["fc"].dim == 2
    assert_runs_like_the_interpreter(graph)


@pytest.mark.parametrize("layout", ["mul_ir", "ir_mul"])
def test_layers_over_edges(layout: str) -> None:
    build = GraphBuilder(dtype="float64", layout=layout)
    x = build.input("x", "2x0e+2x1o", rows="node")
    build.spherical_harmonics("y", build.input("v", "1o", rows="edge"), (0, 1))
    i, j = (build.index(name, rows="edge", into="node") for name in "ij")
    for layer in range(2):
        out, paths = channelwise("2x0e+2x1o", "0e+1o", "0e+1o")
        sent = build.gather(f"sent{layer}", x, i)
        messages = build.tensor_product(f"tp{layer}", sent, "y", out, paths)
        total = build.scatter_sum(f"sum{layer}", messages, j, factor=0.5)
        x = build.linear(f"mix{layer}", total, "2x0e+2x1o")
    graph = DEFAULT_PIPELINE(build.graph(x))
    assert [region.linear for region in regions(graph)] == ["mix0", "mix1"]
    assert_runs_like_the_interpreter(graph)
