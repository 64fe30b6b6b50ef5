"""Linear layers by element, against e3nn's product with one-hot attributes."""

from typing import Any

import pytest
import torch
from e3nn import o3

from tvm_equi.errors import UnsupportedError
from tvm_equi.models.mace.elements import ElementLinear, elements_of, index_of, one_hot

ONE_HOT = torch.eye(4)[[2, 0, 2, 2, 3, 0, 2]]


def product() -> Any:
    return o3.FullyConnectedTensorProduct("3x0e + 2x1o + 2x2e", "4x0e", "2x0e + 3x1o + 2x0e")


def derivatives(module: Any, x: torch.Tensor, y: torch.Tensor) -> list[torch.Tensor]:
    """Values, first and second derivatives."""
    x = x.clone().requires_grad_()
    out = module(x, y)
    (first,) = torch.autograd.grad(out.pow(3).sum(), x, create_graph=True)
    (to_weight,) = torch.autograd.grad(first.square().sum() + out.sum(), module.weight)
    return [out, first, to_weight]


@pytest.mark.parametrize(
    "y",
    [
        ONE_HOT,
        ONE_HOT[ONE_HOT.argmax(1).sort().indices],
        torch.eye(4)[[1, 1, 1, 1, 1, 1, 1]],
        torch.rand(7, 4),
        2 * ONE_HOT,
    ],
    ids=["shuffled", "sorted", "one element", "not one-hot", "doubled"],
)
def test_element_linear_is_e3nns(y: torch.Tensor) -> None:
    reference, x = product(), torch.randn(7, 19)
    found = ElementLinear(reference)
    assert found.weight is reference.weight
    assert found.state_dict().keys() == reference.state_dict().keys()
    y = y.to(x.dtype)
    for got, wanted in zip(derivatives(found, x, y), derivatives(reference, x, y), strict=True):
        assert torch.allclose(got, wanted, rtol=0, atol=1e-12 * float(wanted.abs().max()))


def test_an_index_gives_what_its_one_hot_form_gives() -> None:
    reference, x = product(), torch.randn(7, 19)
    found, y = ElementLinear(reference), ONE_HOT.to(x.dtype)
    assert index_of(y) is None
    with one_hot(y, y.argmax(1)):
        assert index_of(y.clone()) is None
        got = derivatives(found, x, y)
    assert index_of(y) is None
    for value, wanted in zip(got, derivatives(reference, x, y), strict=True):
        assert torch.allclose(value, wanted, rtol=0, atol=1e-12 * float(wanted.abs().max()))


def test_attributes_that_need_a_gradient_get_one() -> None:
    reference, x = product(), torch.randn(7, 19)
    found, gradients = ElementLinear(reference), []
    for module in (found, reference):
        y = ONE_HOT.to(x.dtype).clone().requires_grad_()
        gradients += torch.autograd.grad(module(x, y).square().sum(), y)
    assert torch.allclose(*gradients, rtol=0, atol=1e-12)


def test_elements() -> None:
    found = elements_of(ONE_HOT)
    assert found is not None
    assert found.counts == (2, 4, 1)
    assert found.chosen.argmax(1).tolist() == [0, 2, 3]
    assert found.of_rows.argmax(1).tolist() == [1, 0, 1, 1, 2, 0, 1]
    assert found.order is not None
    assert found.inverse is not None
    assert found.order[found.inverse].tolist() == list(range(7))
    assert elements_of(ONE_HOT) is found
    for other in (torch.zeros(3, 4), torch.zeros(0, 4), ONE_HOT + 1e-3, -ONE_HOT):
        assert elements_of(other) is None
    two = ONE_HOT.clone()
    two[0, 3] = 1
    assert elements_of(two) is None


@pytest.mark.parametrize("second", ["4x0o", "2x0e + 1o", "2x0e + 2x0e"])
def test_other_second_inputs_are_refused(second: str) -> None:
    other = o3.FullyConnectedTensorProduct("2x0e + 2x0o + 2x1o", second, "2x0e + 2x0o + 2x1o")
    with pytest.raises(UnsupportedError, match="a second input of even scalars, got Fully"):
        ElementLinear(other)
