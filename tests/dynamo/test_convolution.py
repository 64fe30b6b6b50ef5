"""The convolution of a fused graph, with weights and with radial features, against its parts."""

import pytest
import torch

import tvm_equi
from tvm_equi.dynamo.convolution import Convolution, edges_of
from tvm_equi.errors import IndexRangeError
from tvm_equi.runtime.topology import Topology


def test_weights_and_radial_features() -> None:
    instructions = [(0, 0, 0, "uvu", True), (0, 1, 1, "uvu", True)]
    product = tvm_equi.TensorProduct(
        "2x0e", "1x0e + 1x1o", "2x0e + 2x1o", instructions, shared_weights=False
    ).double()
    senders, receivers = torch.randint(0, 4, (2, 9))
    edges = edges_of(senders, receivers, 4, 4)
    x, y, radial, last = (
        torch.randn(shape, dtype=torch.float64) for shape in ((4, 2), (9, 4), (9, 3), (3, 4))
    )
    w = radial @ last
    wanted = x.new_zeros(4, 8).index_add(0, receivers, product(x[senders], y, w))
    plain, fused = Convolution(product._plan, 0), Convolution(product._plan, 3)
    torch.testing.assert_close(plain(edges, x, y, w), wanted, rtol=0, atol=1e-12)
    torch.testing.assert_close(fused(edges, x, y, radial, last), wanted, rtol=0, atol=1e-12)


def test_edges_of() -> None:
    edges = edges_of(torch.tensor([0, 1]), torch.tensor([2, 2]), 2, 3)
    assert isinstance(edges, Topology)
    assert (edges.num_edges, edges.num_senders, edges.num_receivers) == (2, 2, 3)
    with pytest.raises(IndexRangeError, match=r"senders \(row 0\) from 0 to 0, got 0 to 1"):
        edges_of(torch.tensor([0, 1]), torch.tensor([2, 2]), 1, 3)
