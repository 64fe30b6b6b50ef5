"""The rules for e3nn's modules: counterparts, and reasons for what is left."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from e3nn import nn as e3nn_nn
from e3nn import o3
from e3nn.util.jit import script as e3nn_script

from tests.models.networks import assert_close
from tvm_equi import nn
from tvm_equi.models.change import Change
from tvm_equi.models.e3nn import counterpart, refusal, swap
from tvm_equi.models.gate import Gate
from tvm_equi.models.reduced import ReducedTensorProducts
from tvm_equi.testing import assert_matches_e3nn

SUPPORTED: dict[str, tuple[Callable[[], torch.nn.Module], type[torch.nn.Module]]] = {
    "TensorProduct": (
        lambda: o3.TensorProduct("2x1o", "1o", "2x1e", [(0, 0, 0, "uvu", True, 0.3)]),
        nn.TensorProduct,
    ),
    "FullyConnectedTensorProduct": (
        lambda: o3.FullyConnectedTensorProduct("2x1o", "1o", "2x1e"),
        nn.FullyConnectedTensorProduct,
    ),
    "FullTensorProduct": (lambda: o3.FullTensorProduct("2x1o", "1o"), nn.FullTensorProduct),
    "ElementwiseTensorProduct": (
        lambda: o3.ElementwiseTensorProduct("2x1o", "2x0e"),
        nn.ElementwiseTensorProduct,
    ),
    "TensorSquare": (lambda: o3.TensorSquare("2x1o"), nn.TensorSquare),
    "Linear": (lambda: o3.Linear("2x1o + 3x0e", "3x1o + 2x0e", biases=True), nn.Linear),
    "SphericalHarmonics": (lambda: o3.SphericalHarmonics([0, 1], True), nn.SphericalHarmonics),
    "Gate": (
        lambda: e3nn_nn.Gate("2x0e", [torch.tanh], "3x0e", [torch.sigmoid], "3x1o"),
        Gate,
    ),
    "ReducedTensorProducts": (
        lambda: o3.ReducedTensorProducts("ij=-ji", i="1o + 0e"),
        ReducedTensorProducts,
    ),
}


@pytest.mark.parametrize("name", SUPPORTED)
def test_counterparts_share_their_parameters(name: str) -> None:
    make, kind = SUPPORTED[name]
    old = make()
    new = counterpart(old)
    assert isinstance(new, kind)
    assert list(new.state_dict()) == list(old.state_dict())
    for name, parameter in old.named_parameters():
        assert new.get_parameter(name) is parameter


@pytest.mark.parametrize("name", ["TensorProduct", "Linear", "TensorSquare"])
def test_counterparts_compute_the_same(name: str) -> None:
    old = SUPPORTED[name][0]()
    new: Any = counterpart(old)
    assert_matches_e3nn(new, old, derivatives=1)


def test_a_module_that_torchscript_compiled_is_left() -> None:
    scripted = torch.jit.script(torch.nn.Linear(2, 2))
    assert counterpart(scripted) is None
    assert swap(scripted) is None  # none of e3nn's
    model = torch.nn.Sequential(o3.Linear("2x0e", "2x0e"))
    change = swap(e3nn_script(model))
    assert isinstance(change, Change)
    assert change.note == "TorchScript has compiled it; accelerate the model before that"


class OwnForward(o3.Linear):
    def forward(self, features: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = 2 * super().forward(features)
        return out


class Extended(o3.Linear):
    def largest_weight(self) -> float:
        return float(self.weight.detach().abs().max())


class Renamed(o3.Linear):
    """Computes what its parent does."""


def replaced() -> torch.nn.Module:
    layer = o3.Linear("2x0e", "2x0e")
    layer.forward = lambda x: x
    return layer


def hooked() -> torch.nn.Module:
    gate = SUPPORTED["Gate"][0]()
    gate.act_gates.register_forward_hook(lambda *_: None)
    return gate


LEFT: dict[str, tuple[Callable[[], torch.nn.Module], str]] = {
    "own forward": (lambda: OwnForward("2x0e", "2x0e"), "OwnForward defines its own forward"),
    "more methods": (
        lambda: Extended("2x0e", "2x0e"),
        "Extended adds largest_weight to e3nn's Linear",
    ),
    "replaced forward": (replaced, "its forward was replaced on the instance"),
    "hooks inside": (hooked, "a module inside it has hooks"),
    "right": (
        lambda: o3.FullyConnectedTensorProduct("1o", "1o", "0e", compile_right=True),
        "it was made with compile_right=True, and `right` has no kernel",
    ),
    "features": (
        lambda: o3.Linear("2x0e", "3x0e", f_in=2, f_out=4, internal_weights=False),
        "expected one without f_in, or with its own weights, got Linear",
    ),
    "grid": (
        lambda: e3nn_nn.S2Activation(o3.Irreps("0e + 1o"), torch.tanh, 10),
        "it computes on a grid of the sphere, without tensor products",
    ),
    "perceptron": (
        lambda: e3nn_nn.FullyConnectedNet([2, 2], torch.tanh),
        "matrix products and activations of torch already",
    ),
}


@pytest.mark.parametrize("name", LEFT)
def test_left_with_a_reason(name: str) -> None:
    make, reason = LEFT[name]
    module = make()
    change = swap(module)
    assert isinstance(change, Change)
    assert change.module is module
    assert change.status == "left"
    assert reason in change.note


def test_a_subclass_that_adds_nothing_is_swapped() -> None:
    assert isinstance(counterpart(Renamed("2x0e", "2x0e")), nn.Linear)


def test_plain_torch_is_not_mentioned() -> None:
    for module in (torch.nn.Linear(2, 2), torch.nn.Sequential(), e3nn_nn.Activation("2x0e", [abs])):
        assert swap(module) is None


def test_no_counterpart_of_others() -> None:
    assert counterpart(torch.nn.Linear(2, 2)) is None
    assert refusal(torch.nn.Linear(2, 2)) == "Linear has no counterpart"


def test_norm_activation_is_swapped_inside() -> None:
    import tvm_equi

    old = e3nn_nn.NormActivation(o3.Irreps("2x0e + 3x1o"), torch.sigmoid)
    new = tvm_equi.accelerate(copy.deepcopy(old), quiet=True)
    assert {entry.path for entry in new.tvm_equi_report.entries} == {
        "norm.tp",
        "scalar_multiplier",
    }
    x = torch.randn(4, 11)

    def values(module: torch.nn.Module) -> dict[str, torch.Tensor]:
        leaf = x.clone().requires_grad_()
        out = module(leaf)
        (gradient,) = torch.autograd.grad(out.square().sum(), leaf)
        return {"out": out.detach(), "gradient": gradient}

    assert_close(values(new), values(old), 1e-12)
