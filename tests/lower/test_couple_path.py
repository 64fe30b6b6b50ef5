"""One path in one block of lanes: loops over the other letter, unrolled and not."""

from collections.abc import Callable

import pytest

from tvm_equi.algebra.derivative import vjp
from tvm_equi.algebra.products import Instruction, tensor_product_kernel
from tvm_equi.lower.decisions import Decisions

MAX_UNROLLED = Decisions(1, 1, 1).max_unrolled


@pytest.mark.parametrize("other", [MAX_UNROLLED, MAX_UNROLLED + 1])
@pytest.mark.parametrize("mode", ["uvu", "uvv", "uvuv"])
def test_loop_over_the_other_letter(
    mode: str, other: int, check_kernel: Callable[..., None]
) -> None:
    u, v = (other, 18) if mode == "uvv" else (18, other)
    out = {"uvu": u, "uvv": v, "uvuv": u * v}[mode]
    path = (Instruction(0, 0, 0, mode, True, 1.0),)
    kernel = tensor_product_kernel(((u, 1),), ((v, 1),), ((out, 1),), path, weight_rows="row")
    check_kernel(kernel)
    check_kernel(vjp(kernel, (0, 1, 2), (0,)), rows=9)
