"""Merged layers compute the same, and gradients reach the parameters they were made of."""

import pytest
import torch

from tests.passes import assert_equivariant, assert_same_values, random_arrays
from tvm_equi.graph import GraphBuilder, TensorProductGraph
from tvm_equi.graph.instructions import fully_connected
from tvm_equi.graph.merges import merge_into_product, merge_linear
from tvm_equi.graph.rewriting import View
from tvm_equi.nn.graph_module import GraphModule


def merged(rule: object, graph: TensorProductGraph, name: str) -> list[TensorProductGraph]:
    view = View.of(graph.nodes, graph.outputs)
    found = list(rule(graph, view, graph.node(name)))
    arrays = random_arrays(graph, 2)
    for after in found:
        assert_same_values(graph, after, arrays)
        assert_equivariant(after, arrays)
    return found


def test_two_layers_with_bias_and_gradients() -> None:
    build = GraphBuilder(dtype="float64")
    x = build.input("x", "3x0e+2x1o+2x0e", rows="node")
    inner = build.linear("a", x, "4x0e+2x1o+1x0e")
    graph = build.graph(build.linear("z", inner, "2x0e+3x1o", biases=True))
    (after,) = merged(merge_linear, graph, "z")
    old, new = GraphModule(graph), GraphModule(after)
    new.load_state_dict(old.state_dict())
    data = torch.randn(5, 11, dtype=torch.float64)
    grads = []
    for module in (old, new):
        loss = module(data).pow(3).sum()
        first = torch.autograd.grad(loss, list(module.parameters()), create_graph=True)
        second = torch.autograd.grad(
            torch.stack([g.square().sum() for g in first]).sum(), list(module.parameters())
        )
        grads.append([*first, *second])
    names = [name for name, _ in old.named_parameters()]
    assert names == [name for name, _ in new.named_parameters()]
    for before, now in zip(*grads, strict=True):
        torch.testing.assert_close(now, before, rtol=1e-10, atol=1e-10)


def test_a_layer_with_bias_inside_stays() -> None:
    build = GraphBuilder()
    inner = build.linear("a", build.input("x", "3x0e", rows="node"), "2x0e", biases=True)
    assert merged(merge_linear, build.graph(build.linear("z", inner, "1x0e")), "z") == []


@pytest.mark.parametrize("mode", ["uvw", "uvu", "uvv"])
@pytest.mark.parametrize("layout", ["mul_ir", "ir_mul"])
def test_legs_of_products(mode: str, layout: str) -> None:
    build = GraphBuilder(dtype="float64", layout=layout)
    x = build.linear("a", build.input("x", "3x0e+2x1o", rows="node"), "2x0e+2x1o")
    y = build.linear("b", build.input("y", "1x0e+3x1o", rows="node"), "2x0e+2x1o")
    out, paths = fully_connected("2x0e+2x1o", "2x0e+2x1o", "2x0e+2x1o")
    paths = [(i, j, k, mode, True, 1.0) for i, j, k, *_ in paths]
    build.tensor_product("t", x, y, out, paths)
    graph = build.graph(build.linear("z", "t", "4x0e+1x1o"))
    inner = merged(merge_into_product, graph, "t")
    assert len(inner) == {"uvw": 2, "uvu": 1, "uvv": 1}[mode]
    (outer,) = merged(merge_into_product, graph, "z")
    assert outer.node("z").kind == "TensorProduct"


def test_weights_per_row_stay() -> None:
    build = GraphBuilder()
    x = build.linear("a", build.input("x", "3x0e", rows="node"), "2x0e")
    y, w = build.input("y", "0e", rows="node"), build.input("w", "2x0e", rows="node")
    t = build.tensor_product("t", x, y, "2x0e", [(0, 0, 0, "uvu", True, 1)], weights=w)
    assert merged(merge_into_product, build.graph(t), "t") == []
