import pytest
import tvm_ffi

from tvm_equi.errors import IndexRangeError
from tvm_equi.relax.index_error import register_index_error
from tvm_equi.relax.indices import INDEX_ERROR


def test_the_error_names_index_range_and_number() -> None:
    register_index_error()
    register_index_error()  # again changes nothing
    with pytest.raises(IndexRangeError, match=r"^batch: expected indices from 0 to 4, got -3$"):
        tvm_ffi.get_global_func(INDEX_ERROR)("batch", 5, -3)
