"""The CPU rule: what it decides, and that its schedule runs rows in parallel."""

import pytest

from tvm_equi.algebra.derivative import vjp
from tvm_equi.algebra.kernel import Kernel
from tvm_equi.algebra.products import linear_kernel
from tvm_equi.schedule.cpu import CHUNK_BYTES, ROW_TILE, decide, schedule
from tvm_equi.schedule.targets import cpu_target


def linear(mul: int) -> Kernel:
    return linear_kernel(((mul, 1),), ((mul, 1),), ((0, 0, 1.0),), weight_rows="shared")


@pytest.mark.parametrize("mul", [1, 30, 3000])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_chunks_are_whole_tiles_of_bounded_size(mul: int, dtype: str) -> None:
    decisions = decide(linear(mul), dtype, cpu_target("x86-64-v4"))
    assert decisions.lanes == (16 if dtype == "float32" else 8)
    assert decisions.chunk_rows % decisions.row_tile == 0
    assert ROW_TILE <= decisions.chunk_rows <= 256
    row_bytes = 6 * mul * (4 if dtype == "float32" else 8)
    assert decisions.chunk_rows == ROW_TILE or decisions.chunk_rows * row_bytes <= CHUNK_BYTES


def test_chunks_run_in_parallel() -> None:
    kernel = linear(3)
    target = cpu_target("x86-64-v3")
    decisions = decide(kernel, "float32", target)
    assert "T.parallel((n + " in schedule(kernel, "float32", decisions).script()
    gradient = vjp(kernel, (1,), (0,))
    decisions = decide(gradient, "float32", target)
    assert "T.parallel(num_chunks)" in schedule(gradient, "float32", decisions).script()
