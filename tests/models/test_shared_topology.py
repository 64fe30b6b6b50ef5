"""One topology for the layers of a model."""

import copy

import pytest
import torch
from torch.fx.experimental.proxy_tensor import make_fx

from tvm_equi.errors import IndexRangeError
from tvm_equi.models import shared_topology
from tvm_equi.models.shared_topology import SharedTopology
from tvm_equi.nn.convolution import TensorProductConv


@pytest.fixture
def edges() -> torch.Tensor:
    return torch.randint(0, 5, (2, 12))


def test_same_edges_have_the_same_topology(edges: torch.Tensor) -> None:
    shared = SharedTopology()
    first = shared.of(edges[0], edges[1], 5)
    assert shared.of(edges[0], edges[1], 5) is first
    assert shared.of(edges[0].clone(), edges[1].int(), 5) is first
    assert torch.equal(first.edge_index, edges)


def test_other_edges_have_another(edges: torch.Tensor) -> None:
    shared = SharedTopology()
    first = shared.of(edges[0], edges[1], 5)
    assert shared.of(edges[0], edges[1], 6) is not first
    shorter = shared.of(edges[0, :3], edges[1, :3], 5)
    assert shorter.num_edges == 3
    swapped = shared.of(edges[1], edges[0], 5)
    assert torch.equal(swapped.edge_index, edges.flip(0))


@pytest.mark.parametrize("is_gpu", [False, True])
def test_a_change_in_place_is_seen(
    edges: torch.Tensor, monkeypatch: pytest.MonkeyPatch, is_gpu: bool
) -> None:
    monkeypatch.setattr(shared_topology, "is_on_gpu", lambda tensor: is_gpu)
    shared = SharedTopology()
    first = shared.of(edges[0], edges[1], 5)
    assert shared.of(edges[0], edges[1], 5) is first
    edges[0, 0] = (edges[0, 0] + 1) % 5
    second = shared.of(edges[0], edges[1], 5)
    assert second is not first
    assert torch.equal(second.edge_index, edges)


def test_what_a_gpu_holds_elsewhere_is_other(
    edges: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_topology, "is_on_gpu", lambda tensor: True)
    shared = SharedTopology()
    first = shared.of(edges[0], edges[1], 5)
    assert shared.of(edges[1], edges[0], 5) is not first
    with torch.inference_mode():
        inner = edges.clone()
        second = shared.of(inner[0], inner[1], 5)
        assert shared.of(inner[0], inner[1], 5) is not second  # no count of changes to rely on


def test_indices_are_checked(edges: torch.Tensor) -> None:
    with pytest.raises(IndexRangeError, match="from 0 to 1"):
        SharedTopology().of(edges[0] + 4, edges[1], 2)


def test_copies_remember_nothing(edges: torch.Tensor) -> None:
    shared = SharedTopology()
    first = shared.of(edges[0], edges[1], 5)
    pair = copy.deepcopy([shared, shared])
    assert pair[0] is pair[1] is not shared
    assert pair[0].of(edges[0], edges[1], 5) is not first
    assert copy.copy(shared).of(edges[0], edges[1], 5) is not first


def test_layers_of_a_traced_model_sort_once(edges: torch.Tensor) -> None:
    conv = TensorProductConv("2x0e", "1o", "2x1o", [(0, 0, 0, "uvu", False)])
    back = TensorProductConv("2x1o", "1o", "2x0e", [(0, 0, 0, "uvu", False)])

    def model(x: torch.Tensor, y: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
        shared = SharedTopology()
        for layer in (conv, back):
            x = layer(x, y, None, shared.of(index[1], index[0], x.shape[0]))
        return x

    x, y = torch.randn(5, 2), torch.randn(12, 3)
    with torch.no_grad():
        graph = make_fx(model, tracing_mode="symbolic")(x, y, edges)
    targets = [str(node.target) for node in graph.graph.nodes]
    assert sum("sort_edges" in target for target in targets) == 2  # by senders and by receivers
    assert sum("convolve" in target for target in targets) == 2
    x, y, index = torch.randn(9, 2), torch.randn(20, 3), torch.randint(0, 9, (2, 20))
    torch.testing.assert_close(graph(x, y, index), model(x, y, index))
