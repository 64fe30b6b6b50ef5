"""Batch norm of all irreps at once: e3nn's numbers, derivatives and running statistics."""

import copy
from typing import Any

import pytest
import torch
from e3nn import nn as e3nn_nn

import tvm_equi
from tests.models.networks import assert_close
from tvm_equi.models.batch_norm import BatchNorm
from tvm_equi.models.e3nn import counterpart, refusal

IRREPS = "3x0e + 2x0o + 2x1o + 2x0e + 1x2e"

OPTIONS: list[dict[str, Any]] = [
    {},
    {"normalization": "norm", "momentum": 0.3, "eps": 1e-3},
    {"affine": False},
    {"include_bias": False},
]


def values(module: torch.nn.Module, x: torch.Tensor) -> dict[str, torch.Tensor]:
    leaf = x.clone().requires_grad_()
    leaves = [leaf, *module.parameters()]
    out = module(leaf)
    first = torch.autograd.grad(out.pow(3).sum(), leaves, create_graph=True)
    second = torch.autograd.grad(first[0].pow(2).sum(), leaf)
    found = {"out": out, "second": second[0], **{f"first {n}": g for n, g in enumerate(first)}}
    return {name: value.detach() for name, value in found.items()} | {
        name: value.clone() for name, value in module.named_buffers() if "running" in name
    }


@pytest.mark.parametrize("options", OPTIONS, ids=lambda options: "-".join(options) or "default")
@pytest.mark.parametrize("training", [True, False])
def test_same_as_e3nn(options: dict[str, Any], training: bool) -> None:
    try:
        old = e3nn_nn.BatchNorm(IRREPS, **options)
    except TypeError:
        pytest.skip("this e3nn has no such option")
    for value in (*old.parameters(), old.running_mean, old.running_var):
        value.data.uniform_(0.5, 1.5)
    new = counterpart(copy.deepcopy(old).train(training))
    assert isinstance(new, BatchNorm)
    assert repr(new) == repr(old)
    old.train(training)
    for shape in ((6,), (4, 3)):
        x = torch.randn(*shape, new.irreps.dim)
        assert_close(values(new, x), values(old, x), 1e-12)


def test_comparing_moves_no_statistics() -> None:
    model = torch.nn.Sequential(e3nn_nn.BatchNorm(IRREPS))
    state = copy.deepcopy(model.state_dict())
    tvm_equi.accelerate(model, quiet=True)
    assert isinstance(model[0], BatchNorm)
    assert list(model.state_dict()) == list(state)
    for name, value in model.state_dict().items():
        assert torch.equal(value, state[name])
    model(torch.randn(4, 18))
    assert not torch.equal(model.state_dict()["0.running_var"], state["0.running_var"])


@pytest.mark.parametrize("options", [{"instance": True}, {"reduce": "max"}])
def test_others_are_left(options: dict[str, Any]) -> None:
    old = e3nn_nn.BatchNorm(IRREPS, **options)
    assert counterpart(old) is None
    assert refusal(old) == "only means over the batch have a counterpart"
