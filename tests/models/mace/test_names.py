"""Classes by name."""

import torch

from tvm_equi.models.mace.names import forward_of, is_a


class Own(torch.nn.ReLU):
    """A class that inherits its forward."""


def test_is_a() -> None:
    assert is_a(Own(), "torch.nn.modules.activation.ReLU")
    assert not is_a(torch.nn.ReLU(), f"{__name__}.Own")


def test_forward_of() -> None:
    assert forward_of(Own()) == "torch.nn.modules.activation.ReLU"
