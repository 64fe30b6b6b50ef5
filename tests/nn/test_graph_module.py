"""Graphs as modules: binding of inputs, checks, names of parameters."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from tvm_equi.errors import ArgumentError, ArgumentTypeError
from tvm_equi.graph import GraphBuilder
from tvm_equi.nn.graph_module import GraphModule


def small() -> GraphModule:
    """Sum of neighbours' lengths: no kernel, so nothing is compiled."""
    build = GraphBuilder()
    x = build.input("x", "2x1o", rows="node")
    senders = build.index("senders", rows="edge", into="node")
    receivers = build.index("receivers", rows="edge", into="node")
    sent = build.gather("sent", build.norm("n", x), senders)
    build.scatter_sum("total", sent, receivers)
    return GraphModule(build.graph("total"))


X = torch.randn(3, 6)
SENDERS, RECEIVERS = torch.tensor([0, 1, 2, 2]), torch.tensor([1, 0, 0, 1])


def test_by_place_and_by_name() -> None:
    module = small()
    expected = module(X, SENDERS, RECEIVERS)
    torch.testing.assert_close(module(X, receivers=RECEIVERS, senders=SENDERS), expected)
    lengths = X.reshape(3, 2, 3).norm(dim=-1)
    torch.testing.assert_close(
        expected, torch.zeros(3, 2).index_add(0, RECEIVERS, lengths[SENDERS])
    )


def test_no_rows() -> None:
    empty = torch.zeros(0, dtype=torch.int64)
    assert small()(X, empty, empty).shape == (3, 2)
    assert small()(X[:0], empty, empty).shape == (0, 2)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda m: m(X, SENDERS, RECEIVERS, RECEIVERS),
            ArgumentError,
            "graph: inputs: expected 3 (x, senders, receivers), got 4",
        ),
        (lambda m: m(X, SENDERS), ArgumentError, "graph: receivers: expected a tensor, got none"),
        (
            lambda m: m(X, SENDERS, RECEIVERS, x=X),
            ArgumentError,
            "graph: x: expected it once, got it twice",
        ),
        (
            lambda m: m(X, SENDERS, recievers=RECEIVERS),
            ArgumentError,
            "graph: inputs: expected one of 'receivers', 'senders', 'x', got 'recievers'; "
            "did you mean 'receivers'?",
        ),
        (
            lambda m: m([1.0], SENDERS, RECEIVERS),
            ArgumentTypeError,
            "graph: x: expected a tensor, got list",
        ),
        (
            lambda m: m(X.double(), SENDERS, RECEIVERS),
            ArgumentTypeError,
            "graph: x: expected torch.float32, got torch.float64; cast it with .to(torch.float32)",
        ),
        (
            lambda m: m(X, SENDERS.int(), RECEIVERS),
            ArgumentTypeError,
            "graph: senders: expected torch.int64, got torch.int32; cast it with .to(torch.int64)",
        ),
        (
            lambda m: m(X[:, :5], SENDERS, RECEIVERS),
            ArgumentError,
            "graph: x: expected shape [nodes, 6], got [3, 5]",
        ),
        (
            lambda m: m(X, SENDERS[None], RECEIVERS),
            ArgumentError,
            "graph: senders: expected shape [edges], got [1, 4]",
        ),
        (
            lambda m: m(X, SENDERS, RECEIVERS[:3]),
            ArgumentError,
            "graph: receivers: expected 4 rows like the other values on edges, got 3",
        ),
        (
            lambda m: m(X, SENDERS, RECEIVERS + 2),
            ArgumentError,
            "graph: receivers: expected indices from 0 to 2 (nodes), got 2 to 3",
        ),
        (
            lambda m: m(X, SENDERS - 1, RECEIVERS),
            ArgumentError,
            "graph: senders: expected indices from 0 to 2 (nodes), got -1 to 1",
        ),
        (
            lambda m: m(X.to("meta"), SENDERS, RECEIVERS),
            ArgumentError,
            "graph: x: expected a tensor on the CPU or a CUDA device, got one on meta; move the "
            "module and its inputs to one device",
        ),
    ],
)
def test_wrong_inputs(call: Callable[[Any], Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error) as caught:
        call(small())
    assert str(caught.value) == message


def with_parameters() -> GraphBuilder:
    build = GraphBuilder()
    basis = build.input("basis", "2x0e", rows="edge")
    build.linear("layers.0.lin", build.mlp("layers.0.fc", basis, [2, 3, 4]), "2x0e", biases=True)
    return build


def test_parameters_have_the_names_of_their_nodes() -> None:
    graph = with_parameters().graph("layers.0.lin")
    module = GraphModule(graph, {"layers.0.lin.weight": torch.ones(4, 2, dtype=torch.float64)})
    assert set(module.state_dict()) == set(graph.parameters)
    assert module.get_parameter("layers.0.lin.weight").dtype == torch.float32
    assert torch.equal(module.get_parameter("layers.0.lin.weight"), torch.ones(8))
    assert not module.get_parameter("layers.0.lin.bias").any()
    other = GraphModule(graph)
    other.load_state_dict(module.state_dict())
    assert "layers.0.lin" in repr(other)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"layers.0.lin.w": torch.ones(8)}, "graph: parameters: expected one of"),
        (
            {"layers.0.lin.weight": torch.ones(7)},
            "graph: parameters: layers.0.lin.weight: expected 8 numbers, got shape [7]",
        ),
    ],
)
def test_wrong_parameters(parameters: dict[str, torch.Tensor], message: str) -> None:
    with pytest.raises(ArgumentError) as error:
        GraphModule(with_parameters().graph("layers.0.lin"), parameters)
    assert str(error.value).startswith(message)
