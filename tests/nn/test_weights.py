"""State and views that modules with weights share."""

import re

import pytest
import torch

from tvm_equi.errors import ArgumentError
from tvm_equi.nn import Linear, TensorProduct

PRODUCT = ("2x1o", "1x1o", "2x1e", [(0, 0, 0, "uvu", True)])


def test_own_weights_are_a_parameter() -> None:
    assert [name for name, _ in TensorProduct(*PRODUCT).named_parameters()] == ["weight"]
    without = TensorProduct(*PRODUCT, internal_weights=False)
    assert not list(without.parameters())
    assert without.weight.shape == (0,)
    assert [name for name, _ in Linear("0e", "0e", biases=True).named_parameters()] == [
        "weight",
        "bias",
    ]


def test_mask_of_outputs_that_are_computed() -> None:
    module = TensorProduct("2x1o", "1x1o", "2x0e + 2x1e", [(0, 0, 1, "uvu", True)])
    assert module.output_mask.tolist() == [0.0] * 2 + [1.0] * 6


def test_views_of_given_weights() -> None:
    module = TensorProduct(*PRODUCT, shared_weights=False)
    (view,) = module.weight_views(torch.arange(6.0).reshape(3, 2))
    assert view.shape == (3, 2, 1)


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        (
            None,
            "weight: expected a tensor of shape [..., 2] where internal_weights is False, got None",
        ),
        (torch.zeros(3), "weight: expected shape [..., 2], got [3]"),
    ],
)
def test_no_views(weight: torch.Tensor | None, message: str) -> None:
    module = TensorProduct(*PRODUCT, internal_weights=False)
    with pytest.raises(ArgumentError, match=f"^{re.escape(f'TensorProduct: {message}')}$"):
        list(module.weight_views(weight))
