"""The checks find what they are for: wrong values, wrong derivatives, broken symmetry."""

import pytest
import torch
from e3nn import o3

from tvm_equi import nn
from tvm_equi.testing import (
    assert_equivariant,
    assert_matches_e3nn,
    change_layout,
    random_operands,
    relative_error,
    turn,
)

UVU = ("2x1o", "1x1o", "2x1e", [(0, 0, 0, "uvu", True)])


def _pair() -> tuple[nn.TensorProduct, o3.TensorProduct]:
    reference = o3.TensorProduct(*UVU)
    return nn.TensorProduct.from_e3nn(reference), reference


class Skewed(nn.TensorProduct):
    """Adds a little of the second component to the first."""

    def forward(self, x: torch.Tensor, y: torch.Tensor, weight: object = None) -> torch.Tensor:
        return super().forward(x + 1e-3 * x.roll(1, -1), y)


class Detached(nn.TensorProduct):
    """Loses the gradient to y."""

    def forward(self, x: torch.Tensor, y: torch.Tensor, weight: object = None) -> torch.Tensor:
        return super().forward(x, y.detach())


def test_accepts_a_correct_module() -> None:
    ours, reference = _pair()
    assert_matches_e3nn(ours, reference)
    assert_matches_e3nn(ours, reference, dtype=torch.float32)
    assert_equivariant(ours)
    assert_equivariant(ours, dtype=torch.float32)


def test_finds_other_weights() -> None:
    ours, reference = _pair()
    with torch.no_grad():
        ours.weight[0] += 1e-4
    with pytest.raises(AssertionError, match="output: expected a relative error <= 1e-12, got"):
        assert_matches_e3nn(ours, reference)
    assert_matches_e3nn(ours, reference, tolerance=1e-2)


def test_finds_a_lost_gradient() -> None:
    reference = o3.TensorProduct(*UVU)
    module = Detached.from_e3nn(reference)
    assert_matches_e3nn(module, reference, derivatives=0)
    with pytest.raises(AssertionError, match="order 1, to y: expected a relative error"):
        assert_matches_e3nn(module, reference, derivatives=1)


def test_finds_weights_of_another_kind() -> None:
    ours, _ = _pair()
    with pytest.raises(
        AssertionError, match=r"expected a reference with own \['weight'\], got one with \[\]"
    ):
        assert_matches_e3nn(ours, o3.TensorProduct(*UVU, internal_weights=False))


def test_finds_another_shape() -> None:
    reference = o3.SphericalHarmonics("0e + 1o", True)
    with pytest.raises(AssertionError, match=r"output: expected shape \[5, 4\], got \[5, 9\]"):
        assert_matches_e3nn(nn.SphericalHarmonics([0, 1, 2], True), reference)


def test_finds_broken_symmetry() -> None:
    module = Skewed.from_e3nn(o3.TensorProduct(*UVU))
    with pytest.raises(AssertionError, match="turned, inverted=False: expected a relative error"):
        assert_equivariant(module)


def test_constants_of_the_reference_are_not_rounded() -> None:
    """e3nn under a default dtype of float32 rounds them, which is no error of ours."""
    reference = o3.FullTensorProduct("2x1o", "2x2e")
    assert_matches_e3nn(nn.FullTensorProduct.from_e3nn(reference), reference, derivatives=0)


def test_operands() -> None:
    layer = nn.Linear("2x0e", "3x0e", f_in=2, f_out=4, shared_weights=False, biases=True)
    shapes = {name: tuple(value.shape) for name, value in random_operands(layer, 5).items()}
    assert shapes == {"features": (5, 2, 2), "weight": (5, 2, 4, 6), "bias": (4, 3)}
    assert random_operands(nn.SphericalHarmonics(1, True), 2).keys() == {"x"}
    assert random_operands(nn.TensorSquare("1o"), 2).keys() == {"x"}


def test_layouts_are_inverse() -> None:
    irreps = o3.Irreps("2x1o + 3x0e + 0x2e + 1x2o")
    x = torch.randn(4, irreps.dim)
    changed = change_layout(x, irreps, to="ir_mul")
    assert not torch.equal(changed, x)
    assert torch.equal(change_layout(changed, irreps, to="mul_ir"), x)
    assert change_layout(x[:, :0], o3.Irreps(""), to="ir_mul").shape == (4, 0)


def test_turning_is_e3nns_matrix() -> None:
    irreps = o3.Irreps("2x1o + 1x2e")
    quaternion = torch.tensor([0.5, -0.1, 0.3, 0.7], dtype=torch.float64)
    x = torch.randn(3, irreps.dim, dtype=torch.float64)
    turned = turn(x, irreps, quaternion, inverted=True)
    torch.testing.assert_close(turned.norm(dim=-1), x.norm(dim=-1))
    back = turn(turned, irreps, quaternion * torch.tensor([1, -1, -1, -1]), inverted=True)
    torch.testing.assert_close(back, x)


def test_relative_error() -> None:
    zero, one = torch.zeros(2), torch.ones(2)
    assert relative_error(zero, zero) == 0.0
    assert relative_error(zero[:0], zero[:0]) == 0.0
    assert relative_error(1.5 * one, one) == 0.5
    assert relative_error(one, zero) > 1e100
