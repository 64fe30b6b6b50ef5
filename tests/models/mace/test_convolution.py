"""The convolution in the form of mace-torch's hook, against e3nn and a sum at receivers."""

import pytest
import torch
from e3nn import o3

from tvm_equi.errors import ArgumentError, IndexRangeError
from tvm_equi.models.mace.convolution import Convolution
from tvm_equi.models.mace.radial import RadialWeights
from tvm_equi.runtime import topology_cache

EDGES = torch.tensor([[0, 1, 2, 2, 0, 1], [1, 2, 1, 0, 2, 1]])


def product() -> o3.TensorProduct:
    instructions = [(0, 0, 0, "uvu", True), (1, 1, 0, "uvu", True), (0, 1, 1, "uvu", True)]
    return o3.TensorProduct(
        "4x0e + 4x1o",
        "0e + 1o",
        "4x0e + 4x1o",
        instructions,
        shared_weights=False,
        internal_weights=False,
    )


def test_convolution_is_gather_product_sum() -> None:
    reference = product()
    found = Convolution(reference)
    assert found.state_dict().keys() == reference.state_dict().keys()
    assert found.weight_numel == reference.weight_numel == 12
    x, y, hidden, last = (torch.randn(size) for size in ((3, 16), (6, 4), (6, 5), (5, 12)))
    edges = reference(x[EDGES[0]], y, hidden @ last)
    wanted = torch.zeros(3, 16).index_add(0, EDGES[1], edges)
    for weights in (hidden @ last, RadialWeights(hidden, last)):
        assert torch.allclose(found(x, y, weights, EDGES), wanted, rtol=0, atol=1e-12)


def test_the_topology_is_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    real = topology_cache.Topology
    monkeypatch.setattr(
        topology_cache, "Topology", lambda *given: made.append(given) or real(*given)
    )
    layers, index = (Convolution(product()), Convolution(product())), EDGES.clone()
    x, y, w = torch.randn(3, 16), torch.randn(6, 4), torch.randn(6, 12)
    for layer in layers:
        layer(x, y, w, index)
    assert len(made) == 1
    index[0, 0] = 1
    layers[0](x, y, w, index)
    assert len(made) == 2


def test_wrong_inputs() -> None:
    found = Convolution(product())
    x, y, w = torch.randn(3, 16), torch.randn(6, 4), torch.randn(6, 12)
    with pytest.raises(IndexRangeError, match="expected senders"):
        found(x, y, w, EDGES + 2)
    with pytest.raises(ArgumentError, match=r"weight: expected shape \[..., 12\]|expected shape"):
        found(x, y, w[:, :5], EDGES)
