"""A convolution step by step equals the fused one, which it is a reference for."""

import pytest
import torch

from tests.operation_graphs import convolutions
from tvm_equi.algebra.contraction import LAYOUTS, Layout
from tvm_equi.graph.node import Node
from tvm_equi.graph.operations import Convolution
from tvm_equi.nn.graph_compare import random_inputs
from tvm_equi.nn.graph_module import GraphModule, torch_rule
from tvm_equi.nn.graph_unfused import unfused_rule
from tvm_equi.nn.torch_library import TORCH
from tvm_equi.runtime.rules.call import Rule
from tvm_equi.runtime.rules.operations import operation_rule


@pytest.mark.parametrize("layout", LAYOUTS)
def test_step_by_step(layout: Layout) -> None:
    graph = convolutions(layout)
    unfused = []

    def rule(graph: object, node: Node) -> Rule:
        if not isinstance(node.operation, Convolution):
            return torch_rule(module.graph, node)
        unfused.append(node.name)
        types = [module.graph.types[name] for name in node.inputs]
        product = operation_rule(node.operation.product, [], TORCH)
        return unfused_rule(node.operation, types, product, None)

    module = GraphModule(graph)
    reference = GraphModule(graph, dict(module.named_parameters()), rules=rule)
    assert len(unfused) == 3
    inputs = random_inputs(module, 7, seed=2)
    with torch.no_grad():
        found, wanted = module(**inputs), reference(**inputs)
    torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-12)
