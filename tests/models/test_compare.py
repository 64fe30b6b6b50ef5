"""Comparison of a module with the one whose place it takes."""

import copy

import pytest
import torch
from e3nn import o3

from tests.models.networks import product
from tvm_equi import nn
from tvm_equi.errors import ArtifactError
from tvm_equi.models.compare import (
    compare_convolution,
    compare_modules,
    has_known_dtypes,
    known_example,
    tensor_like,
)
from tvm_equi.models.e3nn import counterpart
from tvm_equi.models.edges import attach_convolution

EXAMPLE = nn.Linear("4x0e", "4x0e")


def compared(new: torch.nn.Module, old: torch.nn.Module) -> float:
    like = tensor_like(old, torch.empty(0))
    example = known_example(EXAMPLE, like)
    assert example is not None
    return compare_modules("layers.0", new, old, example, like)


def test_error_of_a_module() -> None:
    old = o3.Linear("4x0e", "4x0e")
    new = counterpart(old)
    assert new is not None
    assert compared(new, old) < 1e-14


class Wrong(nn.Linear):
    """The right value, and a gradient that is wrong."""

    def forward(self, features: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        out = super().forward(features)
        return out + 0.01 * (out - out.detach())


def test_wrong_gradient() -> None:
    old = o3.Linear("4x0e", "4x0e")
    new = Wrong.from_e3nn(old)
    with pytest.raises(ArtifactError, match=r"layers.0: expected the gradient to argument 0 w"):
        compared(new, old)


def test_wrong_shape() -> None:
    old = o3.Linear("4x0e", "4x0e")
    new = nn.Linear.from_e3nn(o3.Linear("4x0e", "3x0e"))
    message = r"layers.0: expected output 0 of shape \[4, 4\] as the original has, got \[4, 3\]"
    with pytest.raises(ArtifactError, match=message):
        compared(new, old)


def test_wrong_parameter() -> None:
    old = o3.Linear("4x0e", "4x0e")
    new = nn.Linear.from_e3nn(copy.deepcopy(old))
    with torch.no_grad():
        new.weight[3] *= 1 + 1e-6
    with pytest.raises(ArtifactError, match=r"accelerate\(model, check=False\) skips"):
        compared(new, old)


def test_constants_that_were_made_in_float32() -> None:
    torch.set_default_dtype(torch.float32)
    old = o3.FullyConnectedTensorProduct("1o", "1o", "1e").double()
    new = counterpart(old)
    assert isinstance(new, nn.TensorProduct)
    like = tensor_like(old, torch.empty(0))
    assert like.dtype == torch.float64
    example = known_example(new, like)
    assert example is not None
    assert 1e-12 < compare_modules("tp", new, old, example, like) < 1e-6


def test_error_of_a_convolution() -> None:
    old = product()
    tp = nn.TensorProduct.from_e3nn(old)
    attach_convolution(tp)
    like = torch.empty(0, dtype=torch.float64)
    assert compare_convolution("tp", tp, old, like) < 1e-13
    heavy = nn.TensorProduct.from_e3nn(
        o3.TensorProduct(
            old.irreps_in1,
            old.irreps_in2,
            old.irreps_out,
            [(*ins[:5], 2.0) for ins in old.instructions],
            shared_weights=False,
            internal_weights=False,
        )
    )
    attach_convolution(heavy)
    with pytest.raises(ArtifactError, match="tp: expected output 0 within 1e-10"):
        compare_convolution("tp", heavy, old, like)


def test_random_numbers_of_the_user_are_left_alone() -> None:
    old = o3.Linear("4x0e", "4x0e")
    new = counterpart(old)
    assert new is not None
    before = torch.get_rng_state()
    compared(new, old)
    assert torch.equal(before, torch.get_rng_state())


def test_dtypes_that_have_a_tolerance() -> None:
    assert has_known_dtypes(o3.Linear("2x0e", "2x0e"))
    assert not has_known_dtypes(o3.Linear("2x0e", "2x0e").half())


def test_no_example_of_other_modules() -> None:
    assert known_example(torch.nn.Linear(2, 2), torch.empty(0)) is None
