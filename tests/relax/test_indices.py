import pytest
import torch
import tvm

from tvm_equi.deploy.index_error import register_index_error
from tvm_equi.relax.indices import check_range, compact, sum_rows

register_index_error()


def compiled(function: tvm.tirx.PrimFunc) -> tvm.runtime.Module:
    return tvm.compile(function.with_attr("global_symbol", "f"), target="llvm")["f"]


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32])
def test_an_index_is_copied_or_refused(dtype: torch.dtype) -> None:
    check = compiled(check_range("batch", str(dtype)[6:]))
    index, result = torch.tensor([0, 4, 2], dtype=dtype), torch.zeros(3, dtype=torch.int64)
    check(index, 5, result)
    assert result.tolist() == [0, 4, 2]
    with pytest.raises(IndexError, match="batch: expected indices from 0 to 3, got 4"):
        check(index, 4, result)


@pytest.mark.parametrize("columns", [1, 3, 64, 100])
def test_rows_are_summed_in_double_precision(columns: int) -> None:
    index = torch.randint(0, 5, (4000,))
    values = torch.rand(4000, columns)
    sums, exact = torch.empty(5, columns), torch.empty(5, columns, dtype=torch.float64)
    compiled(sum_rows("float32", columns))(index, values, sums, exact)
    wanted = torch.zeros(5, columns, dtype=torch.float64).index_add(0, index, values.double())
    assert torch.equal(sums, wanted.float())


def test_a_copy_has_no_strides() -> None:
    copy = compiled(compact("float64", [2, None]))
    for value in (torch.randn(5, 2, dtype=torch.float64).t(), torch.zeros(2, 0).double()):
        result = torch.empty(tuple(value.shape), dtype=torch.float64)
        result = result.as_strided(result.shape, (result.shape[1], 1))
        copy(value, result)
        assert torch.equal(result, value)
