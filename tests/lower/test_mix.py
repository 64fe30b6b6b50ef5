"""Weight matrices: strips, tiles, transposed copies and partial sums."""

from collections.abc import Callable
from typing import Literal

import pytest

from tvm_equi.algebra.derivative import vjp
from tvm_equi.algebra.products import linear_kernel


@pytest.mark.parametrize("weight_rows", ["row", "shared"])
@pytest.mark.parametrize(
    ("mul_in", "mul_out", "degree"), [(1, 1, 0), (33, 123, 0), (13, 19, 1), (3, 70, 4)]
)
def test_products_and_gradients(
    mul_in: int,
    mul_out: int,
    degree: int,
    weight_rows: Literal["row", "shared"],
    check_kernel: Callable[..., None],
) -> None:
    kernel = linear_kernel(
        ((mul_in, degree),), ((mul_out, degree),), ((0, 0, 0.5),), weight_rows=weight_rows
    )
    first = vjp(kernel, (0, 1), (0,))
    for one in (kernel, first, vjp(kernel, (0,), (0,)), vjp(kernel, (1,), (0,))):
        check_kernel(one, rows=19)
    check_kernel(vjp(first, (0, 1, 2), (0, 1)), "float32", 19)


def test_several_paths_into_one_output(check_kernel: Callable[..., None]) -> None:
    kernel = linear_kernel(
        ((5, 1), (7, 1)), ((9, 1),), ((0, 0, 1.0), (1, 0, 2.0)), weight_rows="shared"
    )
    check_kernel(kernel)
    check_kernel(vjp(kernel, (0, 1), (0,)))
