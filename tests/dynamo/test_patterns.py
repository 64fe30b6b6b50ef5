"""Gathers, sums, zeros and products are recognised in what dynamo makes of torch's spellings."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from e3nn import o3
from torch import fx

import tvm_equi
from tvm_equi.dynamo.capture import BACKEND
from tvm_equi.dynamo.patterns import (
    extent,
    gather_of,
    identity,
    is_zeros,
    name_of,
    product_of,
    sum_of,
    value_of,
)

SIZES = {"nodes": 4, "edges": 6, "columns": 3}


def graph_of(function: Any, *inputs: Any, is_ours: bool = False) -> list[fx.Node]:
    """The nodes that dynamo makes of a function."""
    graphs: list[fx.GraphModule] = []

    def keep(module: fx.GraphModule, inputs: Any) -> Any:
        graphs.append(module)
        return module.forward

    setattr(keep, BACKEND, is_ours)
    torch.compile(function, backend=keep, fullgraph=True, dynamic=True)(*inputs)
    return list(graphs[0].graph.nodes)


def rows_and_index() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Values of edges, their nodes, and values of nodes."""
    index = torch.tensor([0, 1, 1, 3, 2, 0])
    return torch.randn(6, 3), index, torch.randn(4, 3)


GATHERS: dict[str, Callable[..., Any]] = {
    "getitem": lambda x, index: x[index] + 1,
    "tuple": lambda x, index: x[(index,)] + 1,
    "method": lambda x, index: x.index_select(0, index) + 1,
    "function": lambda x, index: torch.index_select(x, 0, index) + 1,
    "by name": lambda x, index: torch.index_select(x, dim=0, index=index) + 1,
}


@pytest.mark.parametrize("name", GATHERS)
def test_gathers(name: str) -> None:
    _, index, x = rows_and_index()
    (found,) = filter(None, (gather_of(node) for node in graph_of(GATHERS[name], x, index)))
    assert value_of(found.rows).shape[1] == 3
    assert value_of(found.index).dtype == torch.int64


@pytest.mark.parametrize(
    "function",
    [
        lambda x, index: x[:, index % 3],
        lambda x, index: x[x[:, 0] > 0],
        lambda x, index: x.index_select(1, index % 3),
        lambda x, index: x.reshape(2, 2, 3)[index % 2],
    ],
)
def test_no_gathers(function: Any) -> None:
    _, index, x = rows_and_index()
    nodes = graph_of(lambda x, index: function(x, index).sum(), x, index)
    assert not any(gather_of(node) for node in nodes)


def column(index: torch.Tensor) -> torch.Tensor:
    """[edges, 1]."""
    return index.reshape(-1, 1)


SUMS: dict[str, Callable[..., torch.Tensor]] = {
    "index_add": lambda m, i, n: m.new_zeros(n, m.shape[1]).index_add(0, i, m),
    "index_add_": lambda m, i, n: torch.zeros(n, m.shape[1]).index_add_(0, i, m),
    "torch.index_add": lambda m, i, n: torch.index_add(m.new_zeros(n, m.shape[1]), 0, i, m),
    "by name": lambda m, i, n: m.new_zeros(n, m.shape[1]).index_add(dim=0, index=i, source=m),
    "scatter_add": lambda m, i, n: m.new_zeros(n, m.shape[1]).scatter_add(
        0, column(i).expand_as(m), m
    ),
    "scatter_add_": lambda m, i, n: m.new_zeros((n, m.shape[1])).scatter_add_(
        0, i.unsqueeze(-1).expand(-1, m.shape[1]), m
    ),
    "scatter_add repeated": lambda m, i, n: m.new_zeros(n, m.shape[1]).scatter_add(
        0, i[:, None].repeat(1, m.shape[1]), m
    ),
    "scatter_reduce": lambda m, i, n: m.new_zeros(n, m.shape[1]).scatter_reduce(
        0, i.view(-1, 1).expand_as(m), m, "sum"
    ),
    "scatter_reduce by name": lambda m, i, n: m.new_zeros(n, m.shape[1]).scatter_reduce(
        0, i.view(-1, 1).expand_as(m), m, reduce="sum"
    ),
}


@pytest.mark.parametrize("name", SUMS)
def test_sums(name: str) -> None:
    values, index, nodes = rows_and_index()
    graph = graph_of(lambda m, i, x: SUMS[name](m, i, x.shape[0]), values, index, nodes)
    (found,) = filter(None, map(sum_of, graph))
    assert is_zeros(found.base)
    assert value_of(found.index).dim() == 1
    assert extent(value_of(found.index).shape[0]) == extent(value_of(found.values).shape[0])


@pytest.mark.parametrize(
    "function",
    [
        lambda m, i, x: x.scatter_reduce(0, column(i).expand_as(m), m, "amax"),
        lambda m, i, x: x.scatter_reduce(0, column(i).expand_as(m), m, "sum", include_self=False),
        lambda m, i, x: x.index_add(0, i, m, alpha=2),
        lambda m, i, x: x.T.index_add(1, i, m.T),
        lambda m, i, x: x.scatter_add(0, torch.stack([i, i, i], dim=1), m),
        lambda m, i, x: x.scatter_add(0, column(i).expand_as(m)[:2], m),
        lambda m, i, x: x[:, 0].index_add(0, i, m[:, 0]),
    ],
)
def test_no_sums(function: Any) -> None:
    assert not any(map(sum_of, graph_of(function, *rows_and_index())))


def test_zeros() -> None:
    nodes = graph_of(lambda x: (torch.zeros_like(x), x.new_zeros(3), x.new_ones(3)), torch.ones(3))
    assert [is_zeros(node) for node in nodes if name_of(node)] == [True, True, False]


def test_products() -> None:
    theirs = o3.TensorProduct(
        "2x0e", "1x1o", "2x1o", [(0, 0, 0, "uvu", True)], shared_weights=False
    )
    ours = tvm_equi.from_e3nn(theirs)
    x, y, w = torch.randn(5, 2), torch.randn(5, 3), torch.randn(5, 2)
    plans = set()
    for module in (theirs, ours):
        (found,) = filter(None, map(product_of, graph_of(module, x, y, w, is_ours=True)))
        assert [value_of(node).shape[1] for node in (found.x, found.y, found.w)] == [2, 3, 2]
        plans.add(found.plan)
    assert len(plans) == 1


def test_no_products() -> None:
    theirs = o3.TensorProduct(
        "2x0e", "1x1o", "2x1o", [(0, 0, 0, "uvu", True)], shared_weights=False
    )
    layer, square = tvm_equi.Linear("2x0e", "2x0e"), o3.TensorSquare("2x0e")
    x, y, w = torch.randn(5, 2), torch.randn(5, 3), torch.randn(5, 2)
    for function, inputs in (
        (theirs, (x, y[:1], w)),
        (theirs, (x[None], y[None], w[None])),
        (layer, (x,)),
        (square, (x,)),
    ):
        torch._dynamo.reset()
        assert not any(map(product_of, graph_of(function, *inputs, is_ours=True)))


def test_identity() -> None:
    nodes = graph_of(lambda pairs: pairs[0] + pairs[0] + pairs[1], torch.ones(2, 3))
    parts = [identity(node) for node in nodes if name_of(node) == "getitem"]
    assert len(parts) >= 2
    assert len(set(parts)) == 2
