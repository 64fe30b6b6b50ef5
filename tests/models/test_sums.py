"""Sums over receivers in graphs of forwards."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import fx

from tvm_equi.models.sums import Zeros, calls, readers, summed, zeros


def graph_of(function: Callable[..., Any]) -> tuple[fx.Graph, dict[str, fx.Node]]:
    graph = fx.symbolic_trace(function).graph
    return graph, {node.name: node for node in graph.nodes}


def index_add(z: Any, r: Any, n: Any) -> Any:
    return torch.zeros((n, 4)).index_add(0, r, z)


def index_add_in_place(z: Any, r: Any, n: Any) -> Any:
    return torch.zeros((n, 4)).index_add_(0, r, source=z)


def scatter_add(z: Any, r: Any, n: Any) -> Any:
    return z.new_zeros(n, z.shape[1]).scatter_add(0, r.unsqueeze(-1).expand_as(z), z)


def scatter_expand(z: Any, r: Any, n: Any) -> Any:
    index = r.view(-1, 1).expand(z.size(0), z.size(-1))
    return torch.scatter_add(torch.zeros((n, 4)), 0, index, z)


def scatter_reduce(z: Any, r: Any, n: Any) -> Any:
    index = r[:, None].expand(z.shape)
    return torch.zeros((n, 4)).scatter_reduce(0, index, z, reduce="sum")


@pytest.mark.parametrize(
    "function", [index_add, index_add_in_place, scatter_add, scatter_expand, scatter_reduce]
)
def test_sums(function: Callable[..., Any]) -> None:
    _, nodes = graph_of(function)
    total = summed(nodes["z"])
    assert total is not None
    assert total.index is nodes["r"]
    assert total.in_place == function.__name__.endswith("in_place")
    assert total.base is not None
    assert zeros(total.base) == Zeros(nodes["n"], "number")


def along_columns(z: Any, r: Any, n: Any) -> Any:
    return torch.zeros((n, 4)).index_add(1, r, z)


def with_alpha(z: Any, r: Any, n: Any) -> Any:
    return torch.zeros((n, 4)).index_add(0, r, z, alpha=2)


def without_base(z: Any, r: Any, n: Any) -> Any:
    index = r[:, None].expand_as(z)
    return torch.zeros((n, 4)).scatter_reduce(0, index, z, "sum", include_self=False)


def largest(z: Any, r: Any, n: Any) -> Any:
    return torch.zeros((n, 4)).scatter_reduce(0, r[:, None].expand_as(z), z, "amax")


def some_columns(z: Any, r: Any, n: Any) -> Any:
    return torch.zeros((n, 4)).scatter_add(0, r[:, None].expand(-1, 2), z)


def other_index(z: Any, r: Any, n: Any) -> Any:
    return torch.zeros((n, 4)).scatter_add(0, r, z)


def read_twice(z: Any, r: Any, n: Any) -> Any:
    return torch.zeros((n, 4)).index_add(0, r, z) + z.sum()


@pytest.mark.parametrize(
    "function",
    [along_columns, with_alpha, without_base, largest, some_columns, other_index, read_twice],
)
def test_no_sums(function: Callable[..., Any]) -> None:
    assert summed(graph_of(function)[1]["z"]) is None


def bases(x: Any, n: Any) -> Any:
    return (
        torch.zeros_like(x),
        x.new_zeros(x.shape),
        x.new_zeros((7, 2)),
        torch.zeros(size=(n, 2)),
        x.new_zeros((n, 2, 2)),
        x + 1,
    )


def test_rows_of_zeros() -> None:
    graph, nodes = graph_of(bases)
    made = next(node for node in graph.nodes if node.op == "output").args[0]
    found = [zeros(node) for node in made]
    assert found[0] == Zeros(nodes["x"], "tensor")
    assert found[1] is not None
    assert found[1].kind == "shape"
    assert found[2:4] == [Zeros(7, "number"), Zeros(nodes["n"], "number")]
    assert found[4:] == [None, None]


def test_readers_of_numbers() -> None:
    def function(x: Any) -> Any:
        return x.new_zeros(x.shape[0]), x.size(1), x.sin()

    _, nodes = graph_of(function)
    assert [str(node.target) for node in readers(nodes["x"])] == ["sin"]
    assert calls(nodes["sin"], "cos", "sin")
    assert not calls(nodes["x"], "x")
    assert not calls(3, "sin")
