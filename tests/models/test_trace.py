"""Graphs of forwards, and what refuses to be one."""

import pytest
import torch

from tvm_equi.errors import UnsupportedError
from tvm_equi.models.trace import traced


class Zeros(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = torch.nn.Sequential(torch.nn.Linear(2, 2))
        self.register_buffer("mask", torch.ones(2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = torch.zeros(x.shape[0], 2, dtype=x.dtype) + (1 - self.mask)
        return out + self.inner(x) if self.training else out


class Branches(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x if x.sum() > 0 else -x


class Freezes(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + torch.rand(2)


class Optional(torch.nn.Module):
    def forward(self, x: torch.Tensor, own: torch.Tensor | None = None) -> torch.Tensor:
        return x.sin() if own is None else x + own


class Variadic(torch.nn.Module):
    def forward(self, *xs: torch.Tensor) -> torch.Tensor:
        return xs[0]


def targets(module: torch.nn.Module, given: dict[str, None] | None = None) -> list[str]:
    return [str(node.target) for node in traced(module, given).nodes]


def test_children_are_nodes_and_buffers_are_read() -> None:
    module = Zeros()
    found = targets(module)
    assert "inner" in found
    assert "mask" in found
    assert not any("inner.0" in target for target in found)


def test_mode_of_the_trace() -> None:
    assert "inner" not in targets(Zeros().eval())


def test_zeros_is_put_back() -> None:
    before = torch.zeros
    traced(Zeros())
    with pytest.raises(UnsupportedError):
        traced(Branches())
    assert torch.zeros is before


def test_a_branch_on_numbers_is_refused() -> None:
    message = "torch.fx cannot trace its forward: symbolically traced variables cannot be used"
    with pytest.raises(UnsupportedError, match=message):
        traced(Branches())


def test_a_tensor_of_no_input_is_refused_and_not_left_behind() -> None:
    module = Freezes()
    with pytest.raises(UnsupportedError, match="makes a tensor of no input"):
        traced(module)
    assert not [name for name in vars(module) if "constant" in name]


def test_given_arguments_are_constants() -> None:
    assert targets(Optional(), {"own": None}) == ["x", "own", "sin", "output"]
    assert "sin" not in targets(Optional())


def test_any_number_of_arguments_is_refused() -> None:
    with pytest.raises(UnsupportedError, match="takes any number of arguments"):
        traced(Variadic())
