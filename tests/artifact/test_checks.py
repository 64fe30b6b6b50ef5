"""Checks of arguments: each fact that a kernel needs is checked, behind one error."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from tvm.script import tirx as T

from tests.kernels import kinds, product
from tvm_equi.artifact.checks import with_one_error
from tvm_equi.artifact.codegen import assembly
from tvm_equi.runtime.kernels import load_kernel

TAKES = (
    r"expected arguments of tvm_equi_kernel\(x: Tensor\(\[n, 60\], float64\), "
    r"y: Tensor\(\[n, 3\], float64\), w: Tensor\(\[n, 40\], float64\), "
    r"z: Tensor\(\[n, 120\], float64\)\), contiguous and on one device, got others"
)


def arguments(rows: int = 5) -> list[torch.Tensor]:
    return [torch.randn(rows, columns, dtype=torch.float64) for columns in (60, 3, 40, 120)]


WRONG: dict[str, Callable[[torch.Tensor], object]] = {
    "columns": lambda tensor: tensor[:, 1:].contiguous(),
    "rows": lambda tensor: tensor[1:],
    "dimensions": lambda tensor: tensor[None],
    "dtype": lambda tensor: tensor.float(),
    "bits": lambda tensor: tensor.long(),
    "strides": lambda tensor: tensor.t().contiguous().t(),
    "steps": lambda tensor: tensor.repeat_interleave(2, 0)[::2],
    "nothing": lambda tensor: None,
    "number": lambda tensor: 1.0,
}


@pytest.mark.parametrize("position", range(4))
@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_argument_is_refused_and_nothing_written(wrong: str, position: int) -> None:
    function, given = load_kernel(product(), torch.float64), arguments()
    before = given[-1].clone()
    call: list[Any] = list(given)
    call[position] = WRONG[wrong](given[position])
    with pytest.raises(ValueError, match=TAKES):
        function(*call)
    assert torch.equal(given[-1], before)
    function(*given)
    assert not torch.equal(given[-1], before)


@pytest.mark.parametrize("count", [0, 3, 5])
def test_a_wrong_number_of_arguments_is_refused(count: int) -> None:
    with pytest.raises(ValueError, match=TAKES):
        load_kernel(product(), torch.float64)(*[*arguments(), torch.zeros(1)][:count])


def test_no_rows() -> None:
    load_kernel(product(), torch.float64)(*arguments(0))


@pytest.mark.parametrize("name", ["uvw gradient", "conv uvu second 0"])
def test_a_kernel_raises_one_error_itself(name: str) -> None:
    text = assembly(kinds()[name], "float64", "x86-64-v3")
    assert text.count("TVMFFIErrorSetRaisedFromCStrParts@PLT") == 1


def test_other_functions_stay_as_they_are() -> None:
    @T.prim_func(private=True)
    def checked(n: T.int32) -> T.int32:
        assert n > 0, "n"
        return n

    assert with_one_error(checked).same_as(checked)
