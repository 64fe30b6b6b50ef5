"""Operators and their fake implementations; with the library in C++: `tests/deploy_runtimes`."""

import warnings

import torch

from tvm_equi.runtime.registration import LIBRARY, register


def test_an_operator() -> None:
    def double(x: torch.Tensor) -> torch.Tensor:
        return 2 * x

    assert register("test_double(Tensor x) -> Tensor", double, torch.empty_like) is LIBRARY
    x = torch.rand(3)
    assert torch.equal(torch.ops.tvm_equi.test_double(x), 2 * x)
    with torch._subclasses.FakeTensorMode():
        assert torch.ops.tvm_equi.test_double(torch.rand(5)).shape == (5,)


def test_an_operator_that_is_there_is_replaced_without_a_warning() -> None:
    other = torch.library.Library("tvm_equi", "FRAGMENT")
    other.define("test_there(Tensor x) -> Tensor")
    other.impl("test_there", lambda x: x, "CPU")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        register("test_there(Tensor x) -> Tensor", lambda x: x + 1, torch.empty_like)
    assert torch.equal(torch.ops.tvm_equi.test_there(torch.zeros(2)), torch.ones(2))
