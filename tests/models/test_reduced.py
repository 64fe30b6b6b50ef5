"""Reduced products by their change of basis: e3nn's numbers and derivatives."""

import pytest
import torch
from e3nn import o3

from tests.models.networks import assert_close
from tvm_equi.models.reduced import MAX_COLUMNS, ReducedTensorProducts


def values(module: torch.nn.Module, xs: list[torch.Tensor]) -> dict[str, torch.Tensor]:
    leaves = [x.clone().requires_grad_() for x in xs]
    out = module(*leaves)
    first = torch.autograd.grad(out.pow(2).sum(), leaves, create_graph=True)
    second = torch.autograd.grad(sum(g.pow(2).sum() for g in first), leaves)
    found = {"out": out.detach()}
    found |= {f"first {n}": g.detach() for n, g in enumerate(first)}
    return found | {f"second {n}": g for n, g in enumerate(second)}


@pytest.mark.parametrize(
    ("formula", "irreps"),
    [("ij=ji", {"i": "1o + 0e"}), ("ij=-ji", {"i": "1o"}), ("ijk=jik=ikj", {"i": "1o"})],
)
def test_same_as_e3nn(formula: str, irreps: dict[str, str]) -> None:
    old = o3.ReducedTensorProducts(formula, **irreps)
    new = ReducedTensorProducts(old)
    assert new.irreps_out == old.irreps_out
    xs = [torch.randn(4, ir.dim) for ir in new.irreps_in]
    assert_close(values(new, xs), values(old, xs), 1e-12)


def test_leading_dimensions_broadcast() -> None:
    old = o3.ReducedTensorProducts("ij=ji", i="1o")
    x, y = torch.randn(3, 1, 3), torch.randn(2, 3)
    got = ReducedTensorProducts(old)(x, y)
    torch.testing.assert_close(got, old(x.expand(3, 2, 3), y.expand(3, 2, 3)))


def test_large_products_are_left() -> None:
    class Large:
        irreps_in = (o3.Irreps("32x1o"), o3.Irreps("32x1o"))

    assert o3.Irreps("32x1o").dim ** 2 > MAX_COLUMNS
    assert not ReducedTensorProducts.takes(Large())
    assert ReducedTensorProducts.takes(o3.ReducedTensorProducts("ij=ji", i="1o"))
