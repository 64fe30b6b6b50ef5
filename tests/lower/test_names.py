"""Names that other modules look up."""

from tvm_equi.algebra.products import linear_kernel
from tvm_equi.lower.names import FUNCTION, ROWS_BLOCK
from tvm_equi.lower.primfunc import Decisions, lower


def test_function_and_block_have_their_names() -> None:
    kernel = linear_kernel(((2, 0),), ((3, 0),), ((0, 0, 1.0),), weight_rows="shared")
    function = lower(kernel, "float32", Decisions(4, 4, 16))
    assert function.attrs["global_symbol"] == FUNCTION
    assert f'T.sblock("{ROWS_BLOCK}")' in function.script()
