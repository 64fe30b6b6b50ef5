"""Convolutions, run as OpenCL: every mode and derivative, shared nodes, nodes without edges."""

from collections.abc import Callable

import pytest
import torch

from tests.gpu_schedules.oracle import CASES
from tests.lower.test_convolution import COUNTS, EDGES, fused, random_edges
from tests.lower.test_primfunc import derivatives, product
from tvm_equi.algebra.convolution import NODE_ROWS, convolution_kernel, stages
from tvm_equi.algebra.products import WeightRows

Check = Callable[..., list[torch.Tensor]]


@pytest.mark.parametrize(("mode", "u", "v", "w", "weight_rows"), CASES)
def test_equals_the_oracle(
    mode: str, u: int, v: int, w: int, weight_rows: WeightRows, check: Check
) -> None:
    for kernel in derivatives(stages(product(mode, (u, v, w), weight_rows)).edges):
        check(kernel, EDGES, COUNTS)


@pytest.mark.parametrize("mode", ["uvu", "uuu"])
def test_float32_and_ir_mul(mode: str, check: Check) -> None:
    muls = {"uvu": (5, 1, 5), "uuu": (5, 5, 5)}[mode]
    for kernel in derivatives(convolution_kernel(product(mode, muls, "row", "ir_mul"))):
        check(kernel, EDGES, COUNTS)
        check(kernel, EDGES, COUNTS, dtype=torch.float32)


def test_storage_in_bfloat16(check: Check) -> None:
    edges = random_edges(600, 7, 5)
    edges[1, :300] = 2
    for kernel in derivatives(convolution_kernel(product("uvu", (9, 1, 9), "row"))):
        check(kernel, edges, (7, 5), dtype=torch.bfloat16)


@pytest.mark.parametrize("weight_rows", ["row", "shared"])
@pytest.mark.parametrize("mul", [5, 40, 130])
def test_nodes_in_several_parts(mul: int, weight_rows: WeightRows, check: Check) -> None:
    edges = random_edges(3000, 40, 30, 3)
    edges[:, 100:1900] = torch.tensor([[3], [8]])  # in both orders, one node has most edges
    kernel = convolution_kernel(product("uvu", (mul, 1, mul), weight_rows))
    for one in derivatives(kernel)[: 3 if mul == 5 else 2]:
        check(one, edges, (41, 32))


@pytest.mark.parametrize("num_edges", [1, 31, 32, 33, 65])
def test_ends_of_segments(num_edges: int, check: Check) -> None:
    edges = torch.stack([torch.arange(num_edges) % 3, torch.ones(num_edges, dtype=torch.int64)])
    for kernel in derivatives(convolution_kernel(product("uvu", (5, 1, 5), "row")))[:2]:
        check(kernel, edges, (3, 4))


def test_nodes_without_edges_are_zero(check: Check) -> None:
    counts = (20, 50)
    for kernel in derivatives(convolution_kernel(product("uvu", (5, 1, 5), "row"))):
        for name, found in zip(kernel.outputs, check(kernel, EDGES, counts), strict=True):
            if kernel.operand(name).rows in NODE_ROWS:
                nodes = EDGES[NODE_ROWS.index(kernel.operand(name).rows)]
                without = torch.ones(len(found), dtype=torch.bool).index_fill(0, nodes, False)
                assert without.sum() > 10
                assert (found[without] == 0).all()


def test_equal_in_every_run(check: Check) -> None:
    edges = random_edges(2000, 20, 30, 1)
    edges[1, :900] = 5
    for kernel in derivatives(convolution_kernel(product("uvu", (19, 1, 19), "row")))[:2]:
        first = check(kernel, edges, (20, 30), dtype=torch.float32)
        for _ in range(9):
            again = check(kernel, edges, (20, 30), dtype=torch.float32)
            assert all(map(torch.equal, first, again))


@pytest.mark.parametrize(("radial", "harmonics"), [(True, False), (False, True), (True, True)])
def test_values_computed_inside(radial: bool, harmonics: bool, check: Check) -> None:
    for kernel in derivatives(fused(radial=radial, harmonics=harmonics)):
        check(kernel, EDGES, COUNTS)


def test_third_derivative(check: Check) -> None:
    second = derivatives(convolution_kernel(product("uvu", (3, 1, 3), "row")))[2]
    check(derivatives(second)[1], EDGES, COUNTS)
