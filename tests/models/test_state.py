"""What a counterpart keeps of the module whose place it takes."""

import pytest
import torch
from e3nn import o3
from torch.nn.utils import parametrize

from tvm_equi import nn
from tvm_equi.errors import UnsupportedError
from tvm_equi.models.state import Constants, has_hooks, share_state, unusual


def full() -> o3.FullyConnectedTensorProduct:
    """A product with a Wigner 3j symbol in its state dict."""
    return o3.FullyConnectedTensorProduct("2x1o", "1o", "2x1e + 0e")


def shared(old: o3.TensorProduct) -> nn.TensorProduct:
    new = nn.TensorProduct.from_e3nn(old)
    share_state(new, old)
    return new


def test_constants_of_generated_code_stay_in_the_state_dict() -> None:
    old = full()
    new = shared(old)
    name = "_compiled_main_left_right._w3j_1_1_1"
    assert name in old.state_dict()
    assert list(new.state_dict()) == list(old.state_dict())
    assert new.state_dict()[name].data_ptr() == old.state_dict()[name].data_ptr()
    full().load_state_dict(new.state_dict())
    new.load_state_dict(full().state_dict())
    assert new.double().state_dict()[name].dtype == torch.float64


def test_parameters_buffers_and_mode_are_the_same_objects() -> None:
    old = full().eval()
    new = shared(old)
    assert new.weight is old.weight
    assert new.output_mask is old.output_mask
    assert not new.training


def test_attributes_of_the_user_come_along() -> None:
    old = full()
    old.label, old.irreps_in1_name = "first", "x"
    new = shared(old)
    assert new.label == "first"
    assert new.instructions[0].path_weight == old.instructions[0].path_weight
    assert type(new.instructions[0]) is not type(old.instructions[0])  # its own are kept


def test_handles_of_hooks_stay_valid() -> None:
    old, seen = full(), []
    handle = old.register_forward_hook(lambda module, *_: seen.append(module))
    new = shared(old)
    x, y = torch.randn(2, 6), torch.randn(2, 3)
    new(x, y)
    assert seen == [new]
    handle.remove()
    new(x, y)
    assert len(seen) == 1


def test_buffers_outside_the_state_dict_stay_outside() -> None:
    old = torch.nn.Module()
    old.register_buffer("kept", torch.ones(1))
    old.register_buffer("table", torch.ones(1), persistent=False)
    new = torch.nn.Module()
    share_state(new, old)
    assert list(new.state_dict()) == ["kept"]
    assert new.table is old.table


def test_constants_compute_nothing() -> None:
    with pytest.raises(UnsupportedError, match="holds state only"):
        Constants(torch.nn.Module())()


def test_hooks_that_see_values() -> None:
    module = torch.nn.Linear(2, 2)
    module.register_state_dict_pre_hook(lambda *_: None)
    assert not has_hooks(module)
    module.register_full_backward_hook(lambda *_: None)
    assert has_hooks(module)


def test_unusual_modules() -> None:
    assert unusual(torch.nn.Linear(2, 2)) == ""
    assert "TorchScript" in unusual(torch.jit.script(torch.nn.Linear(2, 2)))
    replaced = torch.nn.Linear(2, 2)
    replaced.forward = lambda x: x  # type: ignore[method-assign]
    assert "replaced on the instance" in unusual(replaced)
    bound = torch.nn.Linear(2, 2)
    parametrize.register_parametrization(bound, "weight", torch.nn.Identity())
    assert "parametrized" in unusual(bound)
