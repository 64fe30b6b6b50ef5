"""The call in the place of gather, product and sum: one kernel, or the steps where it must be."""

import pytest
import torch
from e3nn import o3

from tests.models.networks import assert_close, edges_of_layer, product
from tvm_equi import nn
from tvm_equi.errors import IndexRangeError
from tvm_equi.models import edges
from tvm_equi.models.edges import attach_convolution, convolve_edges


@pytest.fixture(scope="module")
def tp() -> nn.TensorProduct:
    made = nn.TensorProduct.from_e3nn(product())
    attach_convolution(made)
    return made


def steps(
    tp: nn.TensorProduct,
    x: torch.Tensor,
    s: torch.Tensor,
    y: torch.Tensor,
    w: torch.Tensor,
    r: torch.Tensor,
    n: int,
) -> torch.Tensor:
    messages = tp(x[s], y, w)
    return messages.new_zeros((n, messages.shape[1])).index_add(0, r, messages)


def test_same_as_the_steps_and_nothing_is_added_to_the_module(tp: nn.TensorProduct) -> None:
    given = edges_of_layer()
    s, r = given["edge_index"]
    assert list(tp.children()) == []
    assert set(tp.state_dict()) == {"weight", "output_mask"}
    for receivers in (5, 7):
        arguments = (tp, given["x"], s, given["y"], given["weight"], r, receivers)
        assert_close({"": convolve_edges(*arguments)}, {"": steps(*arguments)}, 1e-12)


def test_number_of_receivers_from_the_index(tp: nn.TensorProduct) -> None:
    given = edges_of_layer()
    s, r = given["edge_index"]
    out = convolve_edges(tp, given["x"], s, given["y"], given["weight"], r, None)
    assert out.shape[0] == int(r.max()) + 1
    none = torch.zeros(0, dtype=torch.int64)
    empty = convolve_edges(tp, given["x"], none, given["y"][:0], given["weight"][:0], none, None)
    assert empty.shape == (0, 28)


def test_one_row_of_edge_attributes_runs_in_steps(
    tp: nn.TensorProduct, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = edges_of_layer()
    s, r = given["edge_index"]
    monkeypatch.setattr(edges, "topology_for", None)
    arguments = (tp, given["x"], s, given["y"][:1], given["weight"], r, 5)
    assert_close({"": convolve_edges(*arguments)}, {"": steps(*arguments)}, 1e-12)
    wide = r[:, None].expand(-1, 28)
    got = convolve_edges(tp, given["x"], s, given["y"], given["weight"], wide, 5)
    wanted = steps(tp, given["x"], s, given["y"], given["weight"], r, 5)
    assert_close({"": got}, {"": wanted}, 1e-12)


def test_indices_are_checked(tp: nn.TensorProduct) -> None:
    given = edges_of_layer()
    s, r = given["edge_index"]
    with pytest.raises(IndexRangeError, match="receivers"):
        convolve_edges(tp, given["x"], s, given["y"], given["weight"], r, 2)


def test_own_weights_are_read_at_the_call() -> None:
    tp = nn.TensorProduct.from_e3nn(o3.FullyConnectedTensorProduct("2x1o", "1o", "2x1e + 0e"))
    weight = tp.weight
    attach_convolution(tp)
    assert tp.weight is weight
    given = edges_of_layer()
    s, r = given["edge_index"]
    x, y = torch.randn(5, 6), torch.randn(s.shape[0], 3)
    with torch.no_grad():
        weight.mul_(2.0)
    messages = tp(x[s], y)
    wanted = messages.new_zeros((5, messages.shape[1])).index_add(0, r, messages)
    assert_close({"": convolve_edges(tp, x, s, y, None, r, 5)}, {"": wanted}, 1e-12)
