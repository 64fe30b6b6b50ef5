"""Tiles of edges: full ones, partial ones, and what their rows past the last edge must not do."""

from collections.abc import Callable

import pytest
import torch

from tests.lower.test_convolution import COUNTS, fused, random_edges
from tests.lower.test_primfunc import derivatives, product
from tvm_equi.algebra.convolution import convolution_kernel

Check = Callable[..., None]


@pytest.mark.parametrize("degree", [0, 1, 15, 16, 17, 33])
def test_degrees_at_the_edges_of_tiles(degree: int, check_convolution: Check) -> None:
    receivers = torch.arange(6).repeat_interleave(degree)
    senders = torch.arange(len(receivers)) * 5 % 7
    kernel = convolution_kernel(product("uvu", (19, 1, 19), "row"))
    for one in derivatives(kernel)[:2] if degree else []:
        check_convolution(one, torch.stack([senders, receivers]), (7, 6))


def test_inner_matrix_of_single_channels(check_convolution: Check) -> None:
    """Rows past the last edge of a tile, edges in lanes, add nothing to the matrix's gradient."""
    for kernel in derivatives(fused(radial=True, harmonics=True, mul=1)):
        for num_edges in (7, 45):
            check_convolution(kernel, random_edges(num_edges, 7, 4), COUNTS)
