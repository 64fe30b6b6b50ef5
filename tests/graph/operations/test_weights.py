"""Weights made of weights: values, gradients, text form, and what is refused."""

import numpy as np
import pytest
import torch

from tvm_equi.errors import GraphError
from tvm_equi.graph import GraphBuilder, TensorProductGraph, from_json, interpret, to_json
from tvm_equi.graph.operations import ComposedWeights, WeightPart, WeightTerm
from tvm_equi.nn.graph_module import GraphModule


def merged() -> TensorProductGraph:
    """A linear layer whose weights are 2 A B + the last columns of C."""
    build = GraphBuilder(dtype="float64")
    x = build.input("x", "3x1o", rows="node")
    a, b, c = (build.parameter(name, 6) for name in "abc")
    terms = (
        WeightTerm(
            2.0, "uv,vw->uw", (WeightPart.whole(0, 0, (3, 2)), WeightPart.whole(1, 0, (2, 1)))
        ),
        WeightTerm(1.0, "uw->uw", (WeightPart(2, 0, 6, 2, 1, 2, (3, 1)),)),
    )
    weights = build.add("weights", ComposedWeights((terms,), 3), a, b, c)
    layer = build.linear("z", x, "1x1o")
    graph = build.graph(layer)
    nodes = tuple(
        type(node)(node.name, node.operation, (x, weights)) if node.name == "z" else node
        for node in graph.nodes
        if node.name != "z.weight"
    )
    return TensorProductGraph(nodes, graph.outputs)


def test_values_and_gradients() -> None:
    graph = merged()
    assert from_json(to_json(graph)) == graph
    assert graph.cost("weights").multiply_adds == 6 + 3
    module = GraphModule(graph)
    x = torch.randn(4, 9, dtype=torch.float64)
    out = module(x)
    arrays = {name: value.detach().numpy() for name, value in module.named_parameters()}
    wanted = interpret(graph, {"x": x.numpy(), **arrays})["z"]
    np.testing.assert_allclose(out.detach().numpy(), wanted, atol=1e-12)
    matrix = 2 * arrays["a"].reshape(3, 2) @ arrays["b"][:2].reshape(2, 1)
    matrix = matrix + arrays["c"].reshape(3, 2)[:, 1:]
    by_hand = np.einsum("nui,uw->nwi", x.numpy().reshape(4, 3, 3), matrix).reshape(4, 3)
    np.testing.assert_allclose(wanted, by_hand / 3**0.5, atol=1e-12)
    first = torch.autograd.grad(out.square().sum(), list(module.parameters()), create_graph=True)
    second = torch.autograd.grad(sum(g.square().sum() for g in first), list(module.parameters()))
    assert all(torch.isfinite(g).all() and g.abs().max() > 0 for g in second)


@pytest.mark.parametrize(
    ("terms", "message"),
    [
        ([WeightTerm(1.0, "uv->uv", (WeightPart.whole(0, 2, (2, 3)),))], "expected a part of 6"),
        ([WeightTerm(1.0, "uv->uv", (WeightPart.whole(3, 0, (2, 3)),))], "expected a slot below 1"),
        ([WeightTerm(1.0, "u->u", (WeightPart.whole(0, 0, (2, 3)),))], "expected 2 indices, got"),
        ([WeightTerm(1.0, "u,v->u", (WeightPart.whole(0, 0, (2,)),))], "expected 1 operands, got"),
        ([WeightTerm(1.0, "uu->u", (WeightPart.whole(0, 0, (2, 3)),))], "expected extent 2 of 'u'"),
        (
            [
                WeightTerm(1.0, "u->u", (WeightPart.whole(0, 0, (2,)),)),
                WeightTerm(1.0, "u->u", (WeightPart.whole(0, 0, (3,)),)),
            ],
            "expected terms of one size",
        ),
    ],
)
def test_refusals(terms: list[WeightTerm], message: str) -> None:
    build = GraphBuilder()
    name = build.parameter("w", 6)
    with pytest.raises(GraphError, match=message):
        build.add("c", ComposedWeights((tuple(terms),), 1), name)
