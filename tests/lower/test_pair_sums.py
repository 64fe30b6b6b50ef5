"""Gradients to y by sums of pairs: the same values, however the pairs share out over loops."""

from collections.abc import Callable

import pytest

from tests.lower.test_convolution import random_edges
from tests.lower.test_couple import paths
from tvm_equi.algebra.convolution import convolution_kernel
from tvm_equi.algebra.derivative import vjp
from tvm_equi.algebra.products import Instruction, tensor_product_kernel


@pytest.mark.parametrize("sums", [1, 7, 40])
@pytest.mark.parametrize("mul", [1, 13, 33])
def test_gradients_summed_as_pairs(
    mul: int, sums: int, check_kernel: Callable[..., None], decide: Callable[..., None]
) -> None:
    """Pairs of one path in several loops, of one path in one, and of all paths in one."""
    decide(pair_sums=sums)
    kernel = paths(3, mul)
    first = vjp(kernel, (0, 1, 2), (0,))
    for one in (vjp(kernel, (1,), (0,)), first, vjp(first, (0, 1, 2, 3), (0, 1, 2))):
        check_kernel(one)


@pytest.mark.parametrize("mode", ["uuu", "uvu"])
def test_pairs_are_not_summed_where_y_has_channels(
    mode: str, check_kernel: Callable[..., None], decide: Callable[..., None]
) -> None:
    decide(pair_sums=16)
    v = {"uuu": 18, "uvu": 3}[mode]
    path = (Instruction(0, 0, 0, mode, True, 1.0),)
    kernel = tensor_product_kernel(((18, 1),), ((v, 1),), ((18, 2),), path, weight_rows="row")
    check_kernel(vjp(kernel, (0, 1, 2), (0,)))


@pytest.mark.parametrize("sums", [1, 7, 40])
def test_over_the_edges_of_a_graph(
    sums: int, check_convolution: Callable[..., None], decide: Callable[..., None]
) -> None:
    """Edge by edge, whatever the length of runs."""
    decide(pair_sums=sums, row_tile=8, run_edges=4)
    first = vjp(convolution_kernel(paths(2, 19)), (0, 1, 2), (0,))
    for one in (first, vjp(first, (0, 1, 2, 3), (0, 1, 2))):
        check_convolution(one, random_edges(70, 9, 5), (9, 5))
