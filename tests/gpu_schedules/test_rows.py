"""Kernels on rows, run as OpenCL: every mode, weight kind, layout and derivative."""

from collections.abc import Callable

import pytest
import torch

from tests.gpu_schedules.oracle import CASES
from tests.lower.test_primfunc import derivatives, product
from tvm_equi.algebra.products import WeightRows, linear_kernel
from tvm_equi.algebra.symmetric_kernel import symmetric_kernel

Check = Callable[..., list[torch.Tensor]]


@pytest.mark.parametrize(("mode", "u", "v", "w", "weight_rows"), CASES)
def test_equals_the_oracle(
    mode: str, u: int, v: int, w: int, weight_rows: WeightRows, check: Check
) -> None:
    for kernel in derivatives(product(mode, (u, v, w), weight_rows)):
        check(kernel)


@pytest.mark.parametrize("mode", ["uvu", "uvw", "uuu", "uvu<v"])
def test_float32(mode: str, check: Check) -> None:
    muls = {"uvu": (5, 1, 5), "uvw": (3, 2, 4), "uuu": (5, 5, 5), "uvu<v": (4, 4, 6)}[mode]
    for kernel in derivatives(product(mode, muls, "row")):
        check(kernel, dtype=torch.float32)


@pytest.mark.parametrize("weight_rows", ["row", "shared"])
@pytest.mark.parametrize("mode", ["uvu", "uvw"])
def test_storage_in_bfloat16(mode: str, weight_rows: WeightRows, check: Check) -> None:
    muls = {"uvu": (9, 1, 9), "uvw": (3, 2, 4)}[mode]
    for kernel in derivatives(product(mode, muls, weight_rows)):
        check(kernel, dtype=torch.bfloat16, rows=200)


@pytest.mark.parametrize("mode", ["uvu", "uvw", "uuu", "u<vw"])
def test_ir_mul(mode: str, check: Check) -> None:
    muls = {"uvu": (5, 1, 5), "uvw": (3, 2, 4), "uuu": (5, 5, 5), "u<vw": (4, 4, 3)}[mode]
    for kernel in derivatives(product(mode, muls, "row", "ir_mul")):
        check(kernel)


@pytest.mark.parametrize("weight_rows", ["row", "shared"])
@pytest.mark.parametrize("mul", [1, 3, 5, 33, 64, 300])
def test_sizes(mul: int, weight_rows: WeightRows, check: Check) -> None:
    for kernel in derivatives(product("uvu", (mul, 1, mul), weight_rows))[:2]:
        for rows in (1, 2, 37, 130, 1025):
            check(kernel, rows=rows)


@pytest.mark.parametrize("mode", ["uvv", "uvuv", "uuu"])
def test_shared_outputs_in_several_chunks(mode: str, check: Check) -> None:
    muls = {"uvv": (3, 20, 20), "uvuv": (9, 2, 18), "uuu": (9, 9, 9)}[mode]
    for kernel in derivatives(product(mode, muls, "shared"))[1:]:
        for rows in (130, 1025):
            check(kernel, rows=rows)


@pytest.mark.parametrize("muls", [(1, 1), (7, 65), (130, 20)])
def test_matrices(muls: tuple[int, int], check: Check) -> None:
    u, w = muls
    segments = (((u, 0), (u, 2)), ((w, 0), (w, 2)))
    kernel = linear_kernel(*segments, ((0, 0, 0.5), (1, 1, 0.7)), weight_rows="shared")
    for one in derivatives(kernel):
        for rows in (1, 130, 1025):
            check(one, rows=rows)


def test_third_derivative(check: Check) -> None:
    second = derivatives(product("uvu", (3, 1, 3), "row"))[2]
    check(derivatives(second)[1])


@pytest.mark.parametrize("weight_rows", ["row", "shared"])
def test_symmetric_contraction(weight_rows: WeightRows, check: Check) -> None:
    irreps = ((0, 1), (1, -1))
    kernel = symmetric_kernel(irreps, irreps, 3, 5, weight_rows=weight_rows)
    for one in derivatives(kernel):
        check(one)
