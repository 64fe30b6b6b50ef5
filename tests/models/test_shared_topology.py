"""One topology for the layers of a model, traced or not."""

import torch
from torch.fx.experimental.proxy_tensor import make_fx

from tvm_equi.models import shared_topology
from tvm_equi.models.shared_topology import shared_topology as topology_of
from tvm_equi.nn.convolution import TensorProductConv


def test_the_cache_serves_what_is_not_traced() -> None:
    edges = torch.randint(0, 5, (2, 12))
    first = topology_of(edges[0], edges[1], 5)
    assert topology_of(edges[0], edges[1], 5) is first
    assert torch.equal(first.edge_index, edges)
    assert not shared_topology._LAST


def test_layers_of_a_traced_model_sort_once() -> None:
    conv = TensorProductConv("2x0e", "1o", "2x1o", [(0, 0, 0, "uvu", False)])
    back = TensorProductConv("2x1o", "1o", "2x0e", [(0, 0, 0, "uvu", False)])

    def model(x: torch.Tensor, y: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
        for layer in (conv, back):
            x = layer(x, y, None, topology_of(index[1], index[0], x.shape[0]))
        return x

    def inputs(nodes: int, edges: int) -> tuple[torch.Tensor, ...]:
        return torch.randn(nodes, 2), torch.randn(edges, 3), torch.randint(0, nodes, (2, edges))

    with torch.no_grad():
        graph = make_fx(model, tracing_mode="symbolic")(*inputs(5, 12))
    targets = [str(node.target) for node in graph.graph.nodes]
    assert sum("sort_edges" in target for target in targets) == 2  # by senders and by receivers
    assert sum("convolve" in target for target in targets) == 2
    again = inputs(9, 20)
    torch.testing.assert_close(graph(*again), model(*again))


def test_other_edges_of_a_trace_are_sorted_anew() -> None:
    conv = TensorProductConv("2x0e", "1o", "2x1o", [(0, 0, 0, "uvu", False)])

    def model(x: torch.Tensor, y: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
        there = conv(x, y, None, topology_of(index[1], index[0], 5))
        return there - conv(x, y, None, topology_of(index[0], index[1], 5))

    inputs = (torch.randn(5, 2), torch.randn(12, 3), torch.randint(0, 5, (2, 12)))
    with torch.no_grad():
        graph = make_fx(model, tracing_mode="symbolic")(*inputs)
    assert sum("sort_edges" in str(node.target) for node in graph.graph.nodes) == 4
    torch.testing.assert_close(graph(*inputs), model(*inputs))
    del graph
    assert not shared_topology._LAST or shared_topology._LAST[0].base() is not None
