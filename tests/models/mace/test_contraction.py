"""Symmetric contractions of mace-torch, over both of its bases."""

from typing import Any

import pytest
import torch
from e3nn import o3

from tvm_equi.errors import ArgumentError
from tvm_equi.models.mace.contraction import Contraction

ONE_HOT = torch.eye(3)[[2, 0, 2, 2, 0]]


def reference(correlation: int, out: str = "2x0e + 2x1o", reduced: bool = False) -> Any:
    contraction = pytest.importorskip("mace.modules.symmetric_contraction")
    return contraction.SymmetricContraction(
        irreps_in=o3.Irreps("2x0e + 2x1o + 2x2e"),
        irreps_out=o3.Irreps(out),
        correlation=correlation,
        num_elements=3,
        use_reduced_cg=reduced,
    )


def derivatives(module: Any, x: torch.Tensor, y: torch.Tensor) -> list[torch.Tensor]:
    """Values, and first and second derivatives."""
    x = x.clone().requires_grad_()
    out = module(x, y)
    (first,) = torch.autograd.grad(out.pow(3).sum(), x, create_graph=True)
    parameters = [p for p in module.parameters() if p.requires_grad]
    loss = first.square().sum() + out.sum()
    return [out, first, *torch.autograd.grad(loss, parameters)]


@pytest.mark.parametrize("y", [ONE_HOT, torch.rand(5, 3)], ids=["one-hot", "not one-hot"])
@pytest.mark.parametrize("reduced", [True, False], ids=["reduced", "full"])
@pytest.mark.parametrize("correlation", [1, 2, 3])
def test_contraction_is_mace_torchs(correlation: int, reduced: bool, y: torch.Tensor) -> None:
    old = reference(correlation, reduced=reduced)
    new = Contraction(old)
    assert new.state_dict().keys() == old.state_dict().keys()
    assert [n for n, _ in new.named_parameters()] == [n for n, _ in old.named_parameters()]
    x, y = torch.randn(5, 2, 9), y.to(torch.float64)
    for got, wanted in zip(derivatives(new, x, y), derivatives(old, x, y), strict=True):
        scale = max(1.0, float(wanted.abs().max()))
        assert torch.allclose(got, wanted, rtol=0, atol=1e-11 * scale)


def test_flat_features_are_taken_as_they_are() -> None:
    new = Contraction(reference(2))
    x, y = torch.randn(5, 2, 9), ONE_HOT.to(torch.float64)
    flat = torch.cat([part.flatten(1) for part in x.split([1, 3, 5], dim=2)], dim=1)
    assert torch.equal(new(flat, y), new(x, y))


def test_tensors_in_another_basis_are_refused() -> None:
    old = reference(2)
    old.contractions[0].U_matrix_2[..., 0] += torch.rand(9, 9)
    with pytest.raises(ArgumentError, match="expected equivariant polynomials in e3nn's basis"):
        Contraction(old)
