"""Radial networks whose last product is left to others."""

import pytest
import torch
from e3nn import nn

from tvm_equi.errors import UnsupportedError
from tvm_equi.models.mace.radial import BiasedRadialNet, RadialNet


@pytest.mark.parametrize("sizes", [[5, 7, 6, 9], [5, 9]])
def test_radial_net_is_e3nns(sizes: list[int]) -> None:
    net = nn.FullyConnectedNet(sizes, torch.nn.functional.silu)
    found = RadialNet(net)
    assert found.state_dict().keys() == net.state_dict().keys()
    assert found.layer0.weight is net.layer0.weight
    x = torch.randn(11, 5)
    weights, cutoff = found(x), torch.rand(11, 1)
    assert torch.allclose(weights.hidden @ weights.last, net(x), rtol=0, atol=1e-13)
    scaled = weights * cutoff
    assert torch.allclose(scaled.hidden @ scaled.last, net(x) * cutoff, rtol=0, atol=1e-13)


def test_other_activations_are_refused() -> None:
    net = nn.FullyConnectedNet([5, 7, 9], torch.nn.functional.silu, out_act=True)
    with pytest.raises(UnsupportedError, match="expected no activation after the last layer"):
        RadialNet(net)
    net = nn.FullyConnectedNet([5, 7, 9], torch.nn.functional.silu)
    net.layer0.act = torch.nn.ReLU()
    with pytest.raises(UnsupportedError, match=r"expected activations that e3nn normalised, got R"):
        RadialNet(net)


class RadialMLP(torch.nn.Module):
    """The shape of mace-torch's."""

    def __init__(self, last: torch.nn.Module) -> None:
        super().__init__()
        self.net = torch.nn.Sequential(
            torch.nn.Linear(5, 7), torch.nn.LayerNorm(7), torch.nn.SiLU(), last
        )
        self.hs = [5, 7, 9]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.net(x)


@pytest.mark.parametrize("bias", [True, False])
def test_biased_radial_net(bias: bool) -> None:
    mlp = RadialMLP(torch.nn.Linear(7, 9, bias=bias))
    found = BiasedRadialNet(mlp)
    assert found.state_dict().keys() == mlp.state_dict().keys()
    x, cutoff = torch.randn(11, 5), torch.rand(11, 1)
    weights = found(x) * cutoff
    assert torch.allclose(weights.hidden @ weights.last, mlp(x) * cutoff, rtol=0, atol=1e-13)


def test_biased_radial_net_wants_a_linear_last_layer() -> None:
    with pytest.raises(UnsupportedError, match="expected a linear last layer, got SiLU"):
        BiasedRadialNet(RadialMLP(torch.nn.SiLU()))
