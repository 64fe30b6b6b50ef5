"""Channels relabelled and summed: pairs u < v, and uuw without weights."""

from collections.abc import Callable

import pytest

from tvm_equi.algebra.derivative import vjp
from tvm_equi.algebra.products import Instruction, tensor_product_kernel


@pytest.mark.parametrize("n", [2, 3, 13])
def test_pairs(n: int, check_kernel: Callable[..., None]) -> None:
    path = (Instruction(0, 0, 0, "uvu<v", True, 1.0),)
    pairs = n * (n - 1) // 2
    kernel = tensor_product_kernel(((n, 1),), ((n, 1),), ((pairs, 2),), path, weight_rows="row")
    check_kernel(kernel)
    check_kernel(vjp(kernel, (0, 1, 2), (0,)))


def test_sum_over_channels(check_kernel: Callable[..., None]) -> None:
    path = (Instruction(0, 0, 0, "uuw", False, 1.0),)
    kernel = tensor_product_kernel(((6, 1),), ((6, 1),), ((1, 2),), path, weight_rows="none")
    check_kernel(kernel)
    check_kernel(vjp(kernel, (0, 1), (0,)))
