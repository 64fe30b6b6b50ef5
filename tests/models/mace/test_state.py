"""A new module has the old one's state."""

import torch
from e3nn import o3

from tvm_equi.models.mace.state import take_state


def test_the_same_objects_by_the_same_names() -> None:
    old = o3.FullyConnectedTensorProduct("2x0e + 2x1o", "0e + 1o", "2x0e + 2x1o")
    new = torch.nn.Module()
    take_state(new, old)
    assert new.state_dict().keys() == old.state_dict().keys()
    assert new.weight is old.weight
    assert torch.equal(new.output_mask, old.output_mask)


def test_lists_of_parameters_stay_lists() -> None:
    old = torch.nn.Module()
    old.parts = torch.nn.ModuleList([torch.nn.Module()])
    old.parts[0].weights = torch.nn.ParameterList([torch.zeros(2), torch.ones(3)])
    old.parts[0].register_buffer("hidden", torch.zeros(1), persistent=False)
    old.empty = torch.nn.ReLU()
    new = torch.nn.Module()
    take_state(new, old.eval())
    assert new.parts[0].weights is old.parts[0].weights
    assert list(new.state_dict()) == ["parts.0.weights.0", "parts.0.weights.1"]
    assert new.parts[0].hidden is old.parts[0].hidden
    assert not hasattr(new, "empty")
    assert not new.training
