"""torch's functions for rules: everything that they make is where the values are."""

import pytest
import torch

from tests.operation_graphs import rows_and_scalars
from tvm_equi.errors import IndexRangeError
from tvm_equi.graph import GraphBuilder
from tvm_equi.graph.operations import Input, Parameter
from tvm_equi.graph.types import IndexType
from tvm_equi.nn.graph_module import torch_rule
from tvm_equi.nn.torch_library import TORCH
from tvm_equi.runtime.rules.call import Call


def test_operations_stay_on_the_device_of_their_values() -> None:
    # The device "meta" stands for a GPU: numbers of the CPU beside it are refused.
    graph = rows_and_scalars("ir_mul")
    values: dict[str, torch.Tensor] = {}
    for node in graph.nodes:
        kind = graph.types[node.name]
        if isinstance(kind, IndexType):
            values[node.name] = torch.empty(7, dtype=torch.int64, device="meta")
        elif isinstance(node.operation, Input | Parameter):
            shape = (kind.dim,) if kind.rows == "shared" else (5, kind.dim)
            values[node.name] = torch.empty(shape, dtype=torch.float64, device="meta")
        else:
            arguments = [values[name] for name in node.inputs]
            found = torch_rule(graph, node)(Call(arguments, {"node": 5, "edge": 7}))
            assert found.device.type == "meta"
            assert found.shape[-1] == kind.dim
            values[node.name] = found


def test_biases_are_where_their_values_are() -> None:
    build = GraphBuilder()
    x = build.input("x", "2x0e", rows="node")
    name = build.linear("l", x, "1x1o+2x0e+1x0e", instructions=[], biases=True)
    graph = build.graph(name)
    values = [torch.empty(size, device="meta") for size in ((5, 2), (0,), (3,))]
    found = torch_rule(graph, graph.node(name))(Call(values, {"node": 5}))
    assert (found.device.type, found.shape) == ("meta", (5, 6))


def test_indices_are_checked() -> None:
    indices = torch.tensor([0, 1, 2]), torch.tensor([3, 0, 0])
    assert TORCH.topology(indices, (3, 5), None).num_receivers == 5
    with pytest.raises(IndexRangeError, match="expected receivers"):
        TORCH.topology(indices, (3, 3), None)
