"""The gate in plain torch: e3nn's numbers, gradients and gradients of gradients."""

from typing import Any

import pytest
import torch
from e3nn import nn as e3nn_nn
from e3nn import o3

from tests.models.networks import assert_close
from tvm_equi.models.gate import Gate
from tvm_equi.testing import turn

SILU, TANH, SIGMOID = torch.nn.functional.silu, torch.tanh, torch.sigmoid

GATES: dict[str, tuple[Any, ...]] = {
    "usual": ("4x0e", [SILU], "5x0e", [SIGMOID], "2x1o + 3x2e"),
    "odd": ("4x0e + 2x0o", [SILU, TANH], "2x0e + 3x0o", [SIGMOID, TANH], "2x1o + 3x2e"),
    "gates across irreps": ("2x0e", [TANH], "3x0e + 2x0e", [SIGMOID, TANH], "2x1o + 3x1e"),
    "no gates": ("4x0e", [SILU], "", [], ""),
    "no scalars": ("", [], "2x0e", [SIGMOID], "2x1o"),
}


def values(module: torch.nn.Module, x: torch.Tensor) -> dict[str, torch.Tensor]:
    leaf = x.clone().requires_grad_()
    out = module(leaf)
    (first,) = torch.autograd.grad(out.pow(3).sum(), leaf, create_graph=True)
    (second,) = torch.autograd.grad(first.pow(2).sum(), leaf)
    return {"out": out.detach(), "first": first.detach(), "second": second}


@pytest.mark.parametrize("name", GATES)
@pytest.mark.parametrize("shape", [(5,), (2, 3), ()])
def test_same_as_e3nn(name: str, shape: tuple[int, ...]) -> None:
    old = e3nn_nn.Gate(*GATES[name])
    new = Gate(old)
    assert repr(new) == repr(old)
    assert new.irreps_out == old.irreps_out
    x = torch.randn(*shape, old.irreps_in.dim)
    assert_close(values(new, x), values(old, x), 1e-12)


def test_equivariance() -> None:
    new = Gate(e3nn_nn.Gate(*GATES["odd"]))
    x, quaternion = torch.randn(5, new.irreps_in.dim), torch.randn(4)
    for inverted in (False, True):
        turned = turn(x, new.irreps_in, quaternion, inverted=inverted)
        wanted = turn(new(x), new.irreps_out, quaternion, inverted=inverted)
        torch.testing.assert_close(new(turned), wanted, rtol=1e-12, atol=1e-12)


def test_index_follows_casts_and_stays_out_of_the_state() -> None:
    new = Gate(e3nn_nn.Gate(*GATES["usual"])).float()
    assert new.component.dtype == torch.int64
    assert "component" not in new.state_dict()
    assert new(torch.randn(2, o3.Irreps(new.irreps_in).dim).float()).dtype == torch.float32
