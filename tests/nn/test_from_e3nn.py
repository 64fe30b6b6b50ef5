"""`from_e3nn` of every supported class: the same values, weights and flags; others are refused."""

import re
from collections.abc import Callable

import pytest
import torch
from e3nn import o3

from tvm_equi import nn
from tvm_equi.errors import ArgumentError, UnsupportedError
from tvm_equi.testing import assert_matches_e3nn

MAKERS: dict[str, Callable[[], torch.nn.Module]] = {
    "TensorProduct": lambda: o3.TensorProduct(
        "2x1o", "1x1o", "2x1e", [(0, 0, 0, "uvu", True, 0.3)], irrep_normalization="norm"
    ),
    "FullyConnectedTensorProduct": lambda: o3.FullyConnectedTensorProduct(
        "2x1o", "1x1o", "2x1e", shared_weights=False
    ),
    "FullTensorProduct": lambda: o3.FullTensorProduct("2x1o", "1x1o", ["1e"]),
    "ElementwiseTensorProduct": lambda: o3.ElementwiseTensorProduct("2x1o", "1x1o + 1x0e"),
    "TensorSquare": lambda: o3.TensorSquare("2x1o", "2x2e"),
    "Linear": lambda: o3.Linear("2x1o + 3x0e", "3x1o + 2x0e", biases=True),
    "SphericalHarmonics": lambda: o3.SphericalHarmonics("1e + 2e", False, "component"),
}


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("layout", ["mul_ir", "ir_mul"])
def test_same_module(name: str, layout: str) -> None:
    reference = MAKERS[name]()
    module = nn.from_e3nn(reference, layout)
    assert type(module) is getattr(nn, name)
    assert module.layout == layout
    if name != "SphericalHarmonics":
        assert repr(module) == repr(reference)
    assert_matches_e3nn(module, reference)


def test_state_is_copied() -> None:
    reference = o3.Linear("2x0e", "2x0e", biases=True).to(torch.float64).eval()
    reference.weight.requires_grad_(False)
    with torch.no_grad():
        reference.bias.fill_(2.0)
    module = nn.from_e3nn(reference)
    assert isinstance(module, nn.Linear)
    for name, value in module.state_dict().items():
        assert torch.equal(value, reference.state_dict()[name])
        assert value.dtype == torch.float64
        assert value.data_ptr() != reference.state_dict()[name].data_ptr()
    assert not module.weight.requires_grad
    assert module.bias.requires_grad
    assert not module.training


def test_random_state_is_left_alone() -> None:
    reference = MAKERS["FullyConnectedTensorProduct"]()
    before = torch.get_rng_state()
    nn.from_e3nn(reference)
    assert torch.equal(before, torch.get_rng_state())


def test_features_are_read_from_the_weights() -> None:
    reference = o3.Linear("2x0e", "3x0e", f_in=2, f_out=4)
    assert_matches_e3nn(nn.Linear.from_e3nn(reference), reference)


def test_features_without_weights_are_not_known() -> None:
    reference = o3.Linear("2x0e", "3x0e", f_in=2, f_out=4, internal_weights=False)
    message = (
        "Linear.from_e3nn: module: expected one without f_in, or with its own weights, got Linear"
    )
    with pytest.raises(UnsupportedError, match=re.escape(message)):
        nn.from_e3nn(reference)


class Renamed(o3.Linear):
    """Computes what its parent does."""


class Doubled(o3.Linear):
    """Computes something else."""

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return 2 * super().forward(features)


def test_subclass_with_the_same_forward() -> None:
    reference = Renamed("2x0e", "2x0e")
    assert_matches_e3nn(nn.from_e3nn(reference), reference)


def test_subclass_with_another_forward() -> None:
    message = (
        "from_e3nn: module: expected a Linear with e3nn's forward, "
        "got Doubled, which defines its own"
    )
    with pytest.raises(UnsupportedError, match=f"^{re.escape(message)}$"):
        nn.from_e3nn(Doubled("2x0e", "2x0e"))


def test_another_module() -> None:
    message = (
        "from_e3nn: module: expected one of e3nn's ElementwiseTensorProduct, FullTensorProduct, "
        "FullyConnectedTensorProduct, Linear, SphericalHarmonics, TensorProduct, TensorSquare, "
        "got ReLU"
    )
    with pytest.raises(UnsupportedError, match=f"^{re.escape(message)}$"):
        nn.from_e3nn(torch.nn.ReLU())


def test_bad_layout() -> None:
    message = "layout: expected one of 'ir_mul', 'mul_ir', got 'mul_ri'; did you mean 'mul_ir'?"
    with pytest.raises(ArgumentError, match=re.escape(message)):
        nn.from_e3nn(o3.Linear("2x0e", "2x0e"), "mul_ri")
